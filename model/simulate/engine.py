"""From a config's parameters to the settings of the scheduler that is simulated."""

from __future__ import annotations

from collections.abc import Mapping

from model.closed_form.reserving import RANKS_CONSERVATIVE
from model.feasibility import longest, says_longest, says_memory
from model.flags import is_switched
from model.memory import memory
from model.points import Points
from model.simulate.sglang.server import POLICIES, AnySettings, SglangSettings
from model.simulate.speculation import Speculation
from model.simulate.state import EngineSettings
from model.simulate.trace import Trace
from model.steps.step import drafting_share
from perfdb.errors import InputError, RefusedError
from perfdb.facts.engines import EngineParameter
from perfdb.records import Scalar

_SIMULATED = ("vllm", "sglang")
"""Engines whose own schedulers are simulated."""


def scheduled_by(engine: str) -> tuple[str, ...]:
    """What stands in for the scheduler of an engine, in a sentence; nothing where its own is simulated."""
    if engine in _SIMULATED:
        return ()
    return (f"{engine}'s scheduler is not simulated: vLLM's rules stand in for it; whatif answers in closed form",)


def unheeded(trace: Trace, points: Points, config: Mapping[str, Scalar]) -> tuple[str, ...]:
    """A sentence where the priorities of a trace count for nothing."""
    if trace.priority is None or _is_priority(points, config):
        return ()
    return ("the trace's priorities count for nothing; vLLM heeds them with scheduling_policy=priority",)


def engine_settings(points: Points, config: Mapping[str, Scalar], trace: Trace) -> AnySettings:
    """The scheduler's settings of the one config in `points`; `config` holds what it says by the engine's names.

    The blocks of the KV cache are what the memory leaves, unless the config says how many there are.

    Raises:
        RefusedError: no block is left. InputError: a request is too long, or a flag's value cannot be right.
    """
    if points.engine.name == "sglang":
        # two tokens of the context stay empty, and a prompt's last five
        return _sglang_settings(points, config, _context(points, trace, 7), _blocks(points))
    return vllm_settings(points, config, trace)


def _blocks(points: Points) -> int:
    found = memory(points)
    if found.blocks[0] < 1:
        raise RefusedError(says_memory(points, found, 0))
    return int(found.blocks[0])


def vllm_settings(points: Points, config: Mapping[str, Scalar], trace: Trace) -> EngineSettings:
    """The same as vLLM's scheduler would take it, whatever the engine.

    Raises:
        RefusedError: no block is left. InputError: a request is too long, or a flag's value cannot be right.
    """
    caches = _flag(points, config, "prefix_caching", True) and not _flag(points, config, "no_prefix_caching", False)
    return EngineSettings(
        max_num_batched_tokens=int(points.max_num_batched_tokens[0]),
        max_num_seqs=int(points.max_num_seqs[0]),
        block_size=int(points.block_size[0]),
        num_blocks=_blocks(points),
        max_model_len=_context(points, trace, 1),
        enable_prefix_caching=caches,
        enable_chunked_prefill=bool(points.chunked_prefill[0] > 0),
        long_prefill_token_threshold=int(_number(points, config, "prefill_threshold", 0)),
        is_priority=_is_priority(points, config),
        async_scheduling=_flag(points, config, "async_scheduling", False),
        speculation=_speculation(points),
    )


def _is_priority(points: Points, config: Mapping[str, Scalar]) -> bool:
    return points.engine.name == "vllm" and _value(points, config, "policy", "fcfs") == "priority"


def _speculation(points: Points) -> Speculation | None:
    tokens = int(points.draft_tokens[0])
    if tokens == 0:
        return None
    share = float(drafting_share(points)[0])
    return Speculation(tokens, float(points.acceptance[0]), bool(points.draft_layers[0] > 0), share)


def _context(points: Points, trace: Trace, room: int) -> int:
    """Tokens of the longest sequence that the engine is told of; else as the trace needs, with `room` for more."""
    tokens = trace.prompt + trace.output
    row, most = int(tokens.argmax()), longest(points)[0]
    if tokens[row] > most:
        what = f"{tokens[row]} tokens of prompt and answer, {says_longest(points, 0)}"
        raise InputError.at(f"request {row + 1}", what, f"at most {most:.0f}")
    told = int(points.max_model_len[0])
    return told if told > 0 else int(tokens[row]) + room


def _sglang_settings(points: Points, config: Mapping[str, Scalar], context: int, blocks: int) -> SglangSettings:
    policy = _value(points, config, "policy", "fcfs")
    if policy not in POLICIES:
        raise InputError.at(f"schedule_policy {policy}", "it is not simulated", f"one of {', '.join(POLICIES)}")
    seqs, size = int(points.max_num_seqs[0]), int(points.block_size[0])
    chunk = int(points.max_num_batched_tokens[0]) if points.chunked_prefill[0] > 0 else 0
    speculation = _speculation(points)
    share = RANKS_CONSERVATIVE if _ranks(points, config) > 1 else 1.0
    is_mixed = speculation is None and _flag(points, config, "mixed_chunk", False)
    if chunk % size:
        raise InputError.at(f"chunked_prefill_size {chunk}", "it is not whole pages", f"a multiple of page_size {size}")
    if seqs < points.pp[0]:
        what = f"fewer than the {points.pp[0]:.0f} micro-batches that a pipeline divides them among"
        raise InputError.at(f"max_running_requests {seqs}", what, "at least one for each of pp_size")
    if is_mixed and points.pp[0] > 1:
        what = f"with pp_size {points.pp[0]:.0f}: SGLang refuses to start"
        raise InputError.at("enable_mixed_chunk", what, "one of the two")
    if is_mixed and 0 < chunk <= seqs:
        what = "with enable_mixed_chunk those who decode leave no room for prompts"
        raise InputError.at(f"chunked_prefill_size {chunk}", what, f"more than max_running_requests {seqs}")
    return SglangSettings(
        max_num_seqs=seqs,
        num_blocks=blocks,
        block_size=size,
        context_length=context,
        max_prefill_tokens=int(_number(points, config, "prefill_tokens", 16384)),
        chunked_prefill_size=chunk,
        schedule_policy=str(policy),
        schedule_conservativeness=share * _number(points, config, "conservativeness", 1.0),
        enable_prefix_caching=not _flag(points, config, "no_prefix_caching", False),
        enable_mixed_chunk=is_mixed,
        overlaps=speculation is None and not _flag(points, config, "no_overlap", False),
        speculation=speculation,
    )


def _ranks(points: Points, config: Mapping[str, Scalar]) -> int:
    """Ranks of attention of an SGLang server, which divide its limits."""
    return int(points.dp[0]) if _flag(points, config, "dp_attention", False) else 1


def _value(points: Points, config: Mapping[str, Scalar], role: str, fallback: Scalar) -> Scalar:
    """What a config says of a role: by the engine's name, else the engine's default, else `fallback`."""
    said = _said(points, config, role)
    if said is not None:
        return said
    parameter = _parameter(points, role)
    return fallback if parameter is None or parameter.default is None else parameter.default


def _said(points: Points, config: Mapping[str, Scalar], role: str) -> Scalar:
    """What a config itself says of a role, None where it says nothing."""
    parameter = _parameter(points, role)
    return None if parameter is None else config.get(parameter.name)


def _parameter(points: Points, role: str) -> EngineParameter | None:
    return next((each for each in points.engine.parameters.values() if each.role == role), None)


def _flag(points: Points, config: Mapping[str, Scalar], role: str, fallback: bool) -> bool:
    """A switch, which `model.flags` let through."""
    return bool(is_switched(_value(points, config, role, fallback)))


def _number(points: Points, config: Mapping[str, Scalar], role: str, fallback: float) -> float:
    """A number, which `model.flags` let through."""
    value = _value(points, config, role, fallback)
    return fallback if value is None else float(value)
