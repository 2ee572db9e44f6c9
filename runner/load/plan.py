"""What is sent and when: a workload made complete, and its requests drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from perfdb.errors import InputError
from perfdb.lengths import lengths_of
from perfdb.records import Arrival, Workload
from runner.vocabulary import words

CLIENT = "servecast"
"""How this client is called in `Workload.client`."""
_LEAST_REQUESTS = 16
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its prompt, how many tokens it asks for, and when it is due, seconds after the window opened."""

    index: int
    prompt: str
    max_tokens: int
    due_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """How many tokens `n` made-up words become: `base + per_word * n`. The tiny model's is exact: 0 and 1."""

    base: float = 0.0
    per_word: float = 1.0

    def words_for(self, tokens: int) -> int:
        """Words whose text has about `tokens` tokens, at least one."""
        return max(1, round((tokens - self.base) / self.per_word))


def complete(workload: Workload) -> Workload:
    """The workload as this client runs it: arrival, lengths and their means, request and warm-up counts, client.

    Closed loop unless a request rate (Poisson) or a batch size (static batches) is given; four rounds of the
    concurrency, at least 16 requests; one warm-up round of at most 4.

    Raises:
        InputError: lengths are missing, or the load of its arrival process is.
    """
    lengths = lengths_of(workload)
    arrival = workload.arrival or _arrival(workload)
    rate_needed = arrival in {Arrival.POISSON, Arrival.CONSTANT}
    if rate_needed and not (workload.request_rate or 0) > 0:
        raise InputError.at("workload", f"{arrival} arrivals without a request_rate", "requests per second above 0")
    if arrival is Arrival.BATCH and not (workload.batch_size or 0) > 0:
        raise InputError.at("workload", "static batches without a batch_size", "a batch_size of at least 1")
    level = workload.concurrency if workload.concurrency is not None else (None if rate_needed else 1)
    if level is not None and level < 1:
        raise InputError.at("workload", f"concurrency is {level}", "at least 1")
    width = workload.batch_size if arrival is Arrival.BATCH else level
    counts = _counts(workload, width or 1)
    shape = workload.lengths or f"D({lengths.isl:.0f},{lengths.osl:.0f})"
    concurrency = workload.concurrency if arrival is Arrival.BATCH else level
    return replace(
        workload,
        isl=lengths.isl,
        osl=lengths.osl,
        arrival=arrival,
        concurrency=concurrency,
        lengths=shape,
        requests=counts[0],
        warmup_requests=counts[1],
        client=CLIENT,
    )


def _arrival(workload: Workload) -> Arrival:
    if workload.request_rate is not None:
        return Arrival.POISSON
    return Arrival.BATCH if workload.batch_size is not None else Arrival.CLOSED


def _counts(workload: Workload, width: int) -> tuple[int, int]:
    requests = max(_LEAST_REQUESTS, _ROUNDS * width) if workload.requests is None else workload.requests
    warmup = min(width, 4) if workload.warmup_requests is None else workload.warmup_requests
    if requests < 1 or warmup < 0:
        raise InputError.at("workload", f"{requests} requests and {warmup} warm-up requests", "at least 1 and 0")
    return requests, warmup


def draw(
    workload: Workload, seed: int, tokenizer: Tokenizer, count: int | None = None, window: str = ""
) -> list[Request]:
    """The requests of a complete workload: distinct prompts, lengths and due times, the same for the same seed.

    `count` other than the workload's is for warm-up, whose prompts differ from the measured ones. `window` names the
    window on its server: other words of the same lengths, so that no prefix cache knows the prompts of the one before.
    """
    total = workload.requests or 0 if count is None else count
    stream = f"{seed} {'measured' if count is None else 'warm-up'}"
    lengths = lengths_of(workload).sample(total, seed if count is None else ~seed)
    due = _due(workload, total, stream)
    return [
        Request(i, words(tokenizer.words_for(isl), f"{stream} {window} {i}"), osl, due[i])
        for i, (isl, osl) in enumerate(lengths)
    ]


def _due(workload: Workload, total: int, stream: str) -> list[float]:
    """Seconds from the start at which each request is due, the first at once; zero in closed loops and batches."""
    rate = workload.request_rate
    if rate is None or workload.arrival not in {Arrival.POISSON, Arrival.CONSTANT}:
        return [0.0] * total
    if workload.arrival is Arrival.CONSTANT:
        return [i / rate for i in range(total)]
    generator = random.Random(f"arrivals {stream}")
    due, now = [], 0.0
    for _ in range(total):
        due.append(now)
        now += generator.expovariate(rate)
    return due
