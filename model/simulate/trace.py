"""Requests to serve: when each may arrive, how long it is, and which of its tokens others share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.simulate.blocks import Ints
from model.simulate.costs import Floats
from model.simulate.state import NO_SHARING, Requests
from perfdb.errors import InputError
from perfdb.lengths import lengths_of
from perfdb.records import Arrival, Workload

MOST_SAMPLED = 10_000_000


@dataclass(frozen=True)
class Trace:
    """n requests in the order of their arrival: `arrival_s` ascending, `prompt` and `output` tokens, all `n`.

    The first `shared[r]` tokens of a request are known to others as well: they fall into chunks of `chunk_tokens`, and
    chunk c is named `chunks[first_chunk[r] + c]` (a name stands for its chunk and all before it). `cap` is the most
    requests in flight, 0 for none.
    """

    arrival_s: Floats
    prompt: Ints
    output: Ints
    shared: Ints
    first_chunk: Ints
    chunks: Ints
    chunk_tokens: int = NO_SHARING
    cap: int = 0

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def shares(self) -> bool:
        """Whether any two requests may have tokens in common."""
        return bool(self.shared.any())

    def requests(self, priority: Ints | None = None) -> Requests:
        """As the scheduler takes them."""
        none = np.zeros(len(self), dtype=np.int64)
        return Requests(
            self.prompt,
            self.output,
            none if priority is None else priority,
            self.shared,
            self.first_chunk,
            self.chunks,
            self.chunk_tokens,
        )


def unshared(arrival_s: Floats, prompt: Ints, output: Ints, cap: int = 0) -> Trace:
    """Requests that have nothing in common."""
    nothing = np.zeros(len(prompt), dtype=np.int64)
    return Trace(arrival_s, prompt, output, nothing, nothing, nothing[:1], cap=cap)


def sampled(workload: Workload, requests: int, seed: int = 0) -> Trace:
    """`requests` requests of a workload: lengths from its distribution, arrivals from its process.

    Raises:
        InputError: the workload lacks its lengths or its load, or the number of requests is out of range.
    """
    if not 1 <= requests <= MOST_SAMPLED:
        raise InputError.at("requests", f"{requests}", f"1 to {MOST_SAMPLED:,}")
    lengths = lengths_of(workload)
    pairs = np.array(lengths.sample(requests, seed), dtype=np.int64)
    arrival = workload.arrival or (Arrival.POISSON if workload.request_rate else Arrival.CLOSED)
    if arrival in {Arrival.POISSON, Arrival.CONSTANT}:
        rate = workload.request_rate
        if rate is None or not rate > 0:
            raise InputError.at("workload", f"request_rate is {rate}", "requests per second above 0")
        gaps = np.full(requests, 1.0 / rate)
        if arrival is Arrival.POISSON:
            gaps = np.random.default_rng(seed).exponential(1.0 / rate, requests)
        return unshared(np.cumsum(gaps), pairs[:, 0].copy(), pairs[:, 1].copy())
    cap = workload.batch_size if arrival is Arrival.BATCH else workload.concurrency
    if cap is None or cap < 1:
        raise InputError.at("workload", f"its load ({arrival}) is {cap}", "at least 1")
    return unshared(np.zeros(requests), pairs[:, 0].copy(), pairs[:, 1].copy(), cap)
