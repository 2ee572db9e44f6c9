"""One simulated run: a trace served by an engine at given step costs, and what its users would have measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model.simulate.blocks import Ints
from model.simulate.clock import serve
from model.simulate.costs import Floats, StepCosts
from model.simulate.fleet import new_fleet
from model.simulate.fleet_clock import serve_fleet
from model.simulate.log import Served, closed, new_book
from model.simulate.sglang.server import AnySettings, SglangSettings
from model.simulate.sglang.serving import check_sglang, served_by_sglang
from model.simulate.state import EngineSettings, compiled, new_state
from model.simulate.trace import Trace
from perfdb.errors import InputError

PERCENTILES = (50, 90, 95, 99)
KEEPS_UP = 0.98
"""Share of the pace of requests that must be kept for a rate to count as served."""


@dataclass(frozen=True)
class Run:
    """A trace that was served, with what happened."""

    trace: Trace
    settings: AnySettings
    served: Served

    @property
    def emitted(self) -> Ints:
        """Tokens that each request generated, n."""
        return np.minimum(self.trace.output, np.maximum(self.settings.max_model_len - self.trace.prompt, 1))

    def latencies(self, request_s: float = 0.0, token_s: float = 0.0) -> dict[str, Floats]:
        """Seconds per request as a client sees them, n each: ttft_s, e2e_s, and tpot_s (of two tokens or more).

        `request_s` and `token_s` are what the front end adds to a request and to each of its output tokens.
        """
        emitted = self.emitted
        ttft = self.served.first_s - self.served.arrived + request_s
        e2e = self.served.last_s - self.served.arrived + request_s + token_s * (emitted - 1)
        several = emitted > 1
        tpot = (e2e - ttft)[several] / (emitted[several] - 1)
        return {"ttft_s": ttft, "tpot_s": tpot, "e2e_s": e2e}

    def gaps(self) -> tuple[Floats, Floats]:
        """(seconds between two tokens of one request, how often), of all tokens but first ones."""
        steps = self.served.steps.astype(np.int64)
        at = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
        slope = (self.served.gap_last - self.served.gap_first) / np.maximum(steps - 1, 1)
        gaps = np.repeat(self.served.gap_first, steps) + at * np.repeat(slope, steps)
        weights = np.repeat(self.served.emitted, steps)
        late = self.served.late
        gaps, weights = np.concatenate([gaps, late]), np.concatenate([weights, np.ones(len(late))])
        if self.settings.speculation is None:
            return gaps, weights
        together = float((self.emitted - 1).sum() - weights.sum())  # drafts that were right come with what they follow
        return np.append(gaps, 0.0), np.append(weights, together)

    def kept_up(self) -> float:
        """Share of the pace at which requests came that answers began at: 1 where waits do not grow during the run, and
        in closed loops. Waits of the last tenth of the requests are held against the median of the first half; of a
        conversation, whose turns come the later the longer the answers before them took, all of its waits together."""
        arrived, waits, turns = self.served.arrived, self.served.first_s - self.served.arrived, self.trace.turns
        if turns is not None:
            owners, waited = np.unique(turns.owners(), return_inverse=True)
            arrived, waits = arrived[owners], np.bincount(waited, waits).astype(np.float64)
        order = np.argsort(arrived, kind="stable")
        came = float(arrived[order[-1]] - arrived[order[0]])
        if self.trace.cap or came == 0:
            return 1.0
        n, waits = len(order), waits[order]
        grown = float(waits[-max(n // 10, 1) :].mean() - np.median(waits[: (n + 1) // 2]))
        return came / (came + max(grown, 0.0))


def simulate(trace: Trace, settings: AnySettings, costs: StepCosts, is_skipping: bool = True) -> Run:
    """Serve a trace.

    Raises:
        InputError: a request can never be served: its prompt is longer than the model's context or the cache.
    """
    check(trace, settings)
    return finished(trace, settings, served_alone(trace, settings, costs, is_skipping))


def finished(trace: Trace, settings: AnySettings, served: Served) -> Run:
    """The run of a trace that was served.

    Raises:
        InputError: not all of it was.
    """
    stuck = np.flatnonzero(np.isnan(served.last_s))
    if len(stuck):
        raise InputError.at(
            f"request {int(stuck[0]) + 1}",
            "it can never run again once it was preempted without chunked prefill",
            "chunked prefill, or max_num_batched_tokens for a prompt and its answer",
        )
    return Run(trace, settings, served)


def served_alone(trace: Trace, settings: AnySettings, costs: StepCosts, is_skipping: bool) -> Served:
    """All requests advanced together where nothing can be found in the cache, else block by block.

    A request that was preempted finds its own blocks again: that is known only once one was. SGLang has a scheduler of
    its own.
    """
    if isinstance(settings, SglangSettings):
        return served_by_sglang(trace, settings, costs, is_skipping)
    flags, requests = compiled(settings), trace.requests()
    if is_plain(trace, settings):
        fleet = new_fleet(requests, settings.max_num_seqs, settings.num_blocks, settings.block_size)
        served = closed(serve_fleet(flags, requests, costs, trace.arrivals(), is_skipping, fleet, new_book(len(trace))))
        if not served.preemptions or not settings.enable_prefix_caching:
            return served
    engine, book = new_state(settings, len(trace)), new_book(len(trace))
    return closed(serve(flags, requests, costs, trace.arrivals(), is_skipping, engine, book))


def is_plain(trace: Trace, settings: EngineSettings) -> bool:
    """Whether all requests can be advanced together: see `model.simulate.fleet`."""
    shares = settings.enable_prefix_caching and trace.shares
    special = settings.is_priority or settings.long_prefill_token_threshold or settings.speculation
    return not (special or shares) and settings.max_num_seqs <= settings.max_num_batched_tokens


def summary(run: Run, request_s: float = 0.0, token_s: float = 0.0) -> dict[str, Mapping[str, float] | float]:
    """Mean and percentiles of ttft_s, tpot_s, itl_s and e2e_s; rates, preemptions and the peak use of the cache.

    Answers of one token have no time between tokens: where there are no others, all of tpot_s and itl_s is NaN.
    """
    answer: dict[str, Mapping[str, float] | float] = {
        name: _described_alike(seconds) for name, seconds in run.latencies(request_s, token_s).items()
    }
    gaps, weights = run.gaps()
    answer["itl_s"] = _described(gaps + token_s, weights)
    emitted = run.emitted.sum()
    window = float(run.served.last_s.max() - run.served.arrived.min())
    answer |= {
        "output_tps": float(emitted / window),
        "total_tps": float((emitted + run.trace.prompt.sum()) / window),
        "request_tps": len(run.trace) / window,
        "kept_up": run.kept_up(),
        "duration_s": window,
        "requests": len(run.trace),
        "steps": int(run.served.steps.sum()),
        "preemptions": int(run.served.preemptions),
        "kv_peak": float(run.served.peak / run.settings.num_blocks),
    }
    return answer


def _described_alike(values: Floats) -> dict[str, float]:
    """The same as `_described` of values that all weigh one, which need not be in order for that."""
    if not len(values):
        return _described(values, values)
    places = np.ceil(np.array(PERCENTILES) / 100.0 * len(values)).astype(np.int64) - 1
    found = np.partition(values, places)[places]
    return {"mean": float(values.mean()), **{f"p{p}": float(v) for p, v in zip(PERCENTILES, found, strict=True)}}


def _described(values: Floats, weights: Floats) -> dict[str, float]:
    """Mean and percentiles of weighted values: the least value that so many percent of the weight do not exceed; NaN
    where there is no weight."""
    if not weights.sum() > 0:
        return dict.fromkeys(("mean", *(f"p{p}" for p in PERCENTILES)), np.nan)
    order = np.argsort(values)
    ordered, reached = values[order], np.cumsum(weights[order])
    places = np.searchsorted(reached, np.array(PERCENTILES) / 100.0 * reached[-1])
    found = ordered[np.minimum(places, len(ordered) - 1)]
    mean = float(np.average(values, weights=weights))
    return {"mean": mean, **{f"p{p}": float(v) for p, v in zip(PERCENTILES, found, strict=True)}}


def check(trace: Trace, settings: AnySettings) -> None:
    """Refuse what an engine so set can never serve.

    Raises:
        InputError: a request is too long, or conversations meet priorities.
    """
    if isinstance(settings, SglangSettings):
        return check_sglang(trace, settings)
    if trace.turns is not None and settings.is_priority:
        raise InputError.at("trace", "conversations under the priority policy", "the policy fcfs")
    longest = int(trace.prompt.max())
    row = int(trace.prompt.argmax()) + 1
    if longest >= settings.max_model_len:
        raise InputError.at(
            f"request {row}", f"a prompt of {longest} tokens", f"fewer than max_model_len ({settings.max_model_len})"
        )
    most = np.minimum(trace.prompt + trace.output, settings.max_model_len)
    need = -(-int(most.max()) // settings.block_size)
    if need > settings.num_blocks:
        row = int(most.argmax()) + 1
        raise InputError.at(
            f"request {row}", f"it needs {need} blocks of the KV cache", f"at most {settings.num_blocks}"
        )
    if not settings.enable_chunked_prefill and longest > settings.max_num_batched_tokens:
        raise InputError.at(
            f"request {row}",
            f"a prompt of {longest} tokens without chunked prefill",
            f"at most max_num_batched_tokens ({settings.max_num_batched_tokens})",
        )
