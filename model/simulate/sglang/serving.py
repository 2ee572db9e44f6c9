"""A trace served by one simulated SGLang server."""

from __future__ import annotations

import numpy as np

from model.simulate.costs import StepCosts
from model.simulate.log import Served, closed, new_book
from model.simulate.names import with_whole_names
from model.simulate.sglang.clock import serve_sglang
from model.simulate.sglang.server import SglangSettings, compiled_flags, new_engine
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
    requests = trace.requests() if trace.turns is None else with_whole_names(trace.requests())
    longest = int((trace.prompt + trace.output).max())
    # without chunks a batch ends with the first prompt that exceeds it
    most = settings.chunked_prefill_size or settings.max_prefill_tokens + longest
    drafted = settings.speculation.tokens if settings.speculation else 0
    table = _reaching(costs, max(most, settings.max_num_seqs * (1 + drafted)))
    flags, engine = compiled_flags(settings), new_engine(settings, requests)
    book = new_book(len(trace))
    served = closed(serve_sglang(flags, requests, table, trace.arrivals(), is_skipping, engine, book))
    stuck = np.flatnonzero(np.isnan(served.last_s))
    if len(stuck):
        what = "SGLang runs out of KV cache, or lets it wait for ever"
        raise InputError.at(f"request {int(stuck[0]) + 1}", what, "a larger KV cache, or fewer max_running_requests")
    return served


def _reaching(costs: StepCosts, tokens: int) -> StepCosts:
    """Costs of steps of up to so many tokens: beyond their table as its upper half goes on."""
    last = len(costs.tokens) - 1
    if tokens <= last:
        return costs
    slope = (costs.tokens[last] - costs.tokens[last // 2]) / max(last - last // 2, 1)
    beyond = costs.tokens[last] + slope * np.arange(1, tokens - last + 1)
    return costs._replace(tokens=np.concatenate([costs.tokens, beyond]))
