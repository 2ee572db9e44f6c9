"""A trace served by one simulated SGLang server."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.simulate.costs import Floats, StepCosts
from model.simulate.log import Served, closed, new_book
from model.simulate.names import with_whole_names
from model.simulate.routing import new_desk
from model.simulate.sglang.clock import serve_sglang
from model.simulate.sglang.ranks import new_ranks
from model.simulate.sglang.ranks_clock import new_course, serve_ranks
from model.simulate.sglang.server import SglangSettings, compiled_flags, new_engine
from model.simulate.stages import PipelineCosts
from model.simulate.state import Requests
from model.simulate.trace import Trace
from perfdb.errors import InputError


def check_sglang(trace: Trace, settings: SglangSettings) -> None:
    """Refuse what SGLang itself refuses, or would cut short for want of KV cache.

    Raises:
        InputError: a prompt or a sequence is too long.
    """
    row = int(trace.prompt.argmax())
    if trace.prompt[row] >= settings.longest_prompt:
        what, right = f"a prompt of {trace.prompt[row]} tokens", f"fewer than {settings.longest_prompt}"
        raise InputError.at(f"request {row + 1}", what, f"{right}: 7 below context_length and the KV cache")
    most = np.minimum(trace.prompt + trace.output, settings.context_length - 2)
    row = int(most.argmax())
    if most[row] > settings.max_model_len:
        what = f"it needs {most[row]} tokens of the KV cache"
        raise InputError.at(f"request {row + 1}", what, f"at most {settings.max_model_len}")


def served_by_sglang(trace: Trace, settings: SglangSettings, costs: StepCosts, is_skipping: bool) -> Served:
    """What happened to the requests.

    Raises:
        InputError: not all of them can be answered.
    """
    requests = _requests(trace)
    flags, engine, table = compiled_flags(settings), new_engine(settings, requests), _reaching(costs, trace, settings)
    book = new_book(len(trace))
    served = closed(serve_sglang(flags, requests, table, trace.arrivals(), is_skipping, engine, book))
    return _answered(served)


def served_by_ranks(trace: Trace, settings: SglangSettings, costs: PipelineCosts, count: int) -> Served:
    """The same of `count` ranks that share experts, or a pipeline, or both; requests go to the ranks in turn. Micro-
    batches share the sequences of a rank, and steps of a pipeline do not overlap.

    Raises:
        InputError: not all of them can be answered.
    """
    whole, stages, requests = costs.whole, costs.stages, _requests(trace)
    if stages > 1:
        settings = replace(settings, max_num_seqs=settings.max_num_seqs // stages, overlaps=False)
    own = _reaching(whole.own, trace, settings)
    reached = PipelineCosts(whole._replace(own=own, experts=_going_on(whole.experts, len(own.tokens) - 1)), stages)
    ranks, course = new_ranks(settings, requests, count, stages), new_course(count, stages)
    flags, desk, book = compiled_flags(settings), new_desk(count, by_load=False), new_book(len(trace))
    return _answered(closed(serve_ranks(flags, requests, reached, trace.arrivals(), ranks, course, desk, book)))


def _requests(trace: Trace) -> Requests:
    return trace.requests() if trace.turns is None else with_whole_names(trace.requests())


def _answered(served: Served) -> Served:
    stuck = np.flatnonzero(np.isnan(served.last_s))
    if len(stuck):
        what = "SGLang runs out of KV cache, or lets it wait for ever"
        raise InputError.at(f"request {int(stuck[0]) + 1}", what, "a larger KV cache, or fewer max_running_requests")
    return served


def _reaching(costs: StepCosts, trace: Trace, settings: SglangSettings) -> StepCosts:
    """Costs of all steps that can come."""
    longest = int((trace.prompt + trace.output).max())
    # without chunks a batch ends with the first prompt that exceeds it
    most = settings.chunked_prefill_size or settings.max_prefill_tokens + longest
    drafted = settings.speculation.tokens if settings.speculation else 0
    return costs._replace(tokens=_going_on(costs.tokens, max(most, settings.max_num_seqs * (1 + drafted))))


def _going_on(seconds: Floats, tokens: int) -> Floats:
    """Seconds of up to so many tokens: beyond the table as its upper half goes on."""
    last = len(seconds) - 1
    if tokens <= last:
        return seconds
    slope = (seconds[last] - seconds[last // 2]) / max(last - last // 2, 1)
    return np.concatenate([seconds, seconds[last] + slope * np.arange(1, tokens - last + 1)])
