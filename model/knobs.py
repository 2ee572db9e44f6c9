"""From a grid of engine parameters and a load to the plain arrays that the model computes with.

An engine's parameter names become the model's words through the `role` of each parameter (see `perfdb.facts.engines`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model.checkpoint.architecture import Architecture
from model.flags import SWITCH_WORDS, check_flags
from model.formats import Roles, in_formats
from model.load import Load
from model.missing import missing_in
from model.parallelism import share_experts
from model.points import Points
from model.prediction import Bools, Floats
from perfdb.errors import InputError
from perfdb.facts.engines import EngineFacts
from perfdb.facts.local import usable_cores
from perfdb.facts.platforms import PlatformFacts
from perfdb.records import Grid

if TYPE_CHECKING:
    from model.tables.library import Tables

_NUMERIC_DEFAULTS: Mapping[str, float] = {
    "tp": 1.0,
    "pp": 1.0,
    "dp": 1.0,
    "ep": 1.0,
    "attention_dp": 1.0,
    "expert_parallel": 0.0,
    "all_to_all": 0.0,
    "dp_attention": 0.0,
    "eager": 0.0,
    "async_scheduling": 0.0,
    "draft_tokens": 0.0,
    "acceptance": 0.7,
    "draft_layers": 1.0,
    "prefix_caching": 1.0,
    "no_prefix_caching": 0.0,
    "max_num_seqs": 256.0,
    "max_num_batched_tokens": 8192.0,
    "prefill_chunk": np.inf,
    "memory_fraction": 0.9,
    "max_model_len": 0.0,
    "block_size": 16.0,
    "kv_blocks": 0.0,
    "kv_tokens": 0.0,
    "prefill_tokens": 16384.0,
    "threads": 0.0,
    "conservativeness": 1.0,
    "chunked_prefill": 1.0,
    "continuous_batching": 1.0,
}
_SWITCHES = frozenset(
    {"expert_parallel", "dp_attention", "eager", "async_scheduling", "prefix_caching", "no_prefix_caching",
     "chunked_prefill", "continuous_batching"}
)  # fmt: skip
_WORDS: Mapping[str, Mapping[str, float]] = {
    "all_to_all": {
        **dict.fromkeys(("none", "naive", "allgather_reducescatter"), 0.0),
        **dict.fromkeys(("deepep", "deepep_high_throughput", "deepep_low_latency"), 1.0),
    }
}
"""Roles whose values are words, and below what these are."""
_OF_WHAT: Mapping[str, str] = {"all_to_all": "a known way to exchange tokens"}
_RANGES: Mapping[str, tuple[float, float]] = {
    "acceptance": (0.0, 1.0),
    "draft_tokens": (0.0, 64.0),
    "draft_layers": (0.0, 1000.0),
    "kv_blocks": (0.0, 1e12),
    # -1: as the engine finds it right
    "max_model_len": (-1.0, 1e12),
    "threads": (-1.0, 1e6),
    "conservativeness": (0.0, 1e6),
}
ROLES = frozenset({*_NUMERIC_DEFAULTS, "weight_dtype", "kv_dtype"})
"""Words for parameters that `points_of` reads; others change no step that the closed form times."""
_ANY_ENGINE: Mapping[str, str] = {
    "precision": "weight_dtype",
    "moe_ep_size": "ep",
    "attention_dp_size": "attention_dp",
}
"""What collections of runs call a parameter of every engine, and its role."""
_SEQS_DRAFTED = 48.0
"""What SGLang 0.5.9 sets max_running_requests to where tokens are drafted and nobody says it."""
_COUNTS = ("tp", "pp", "dp", "ep", "max_num_seqs", "max_num_batched_tokens", "prefill_chunk", "block_size")


def points_of(
    architecture: Architecture,
    platform: PlatformFacts,
    engine: EngineFacts,
    devices: int | None,
    grid: Grid,
    load: Load,
    tables: Tables | None = None,
    reused: float = 0.0,
) -> Points:
    """Resolve a grid into `Points`. What a config leaves out, or gives as None, takes the engine's default.

    Where a config says nothing of tp, pp and dp, the model is split over all `devices` of the target (by tensor, or by
    layers on an engine that cannot split tensors). Earlier prompts brought `reused` tokens of each prompt.

    Raises:
        InputError: a value is not of its parameter's kind, or out of its range.
        UnknownNameError: a number format is not known.
    """
    engine = engine.on(platform)
    check_flags(engine, grid)
    roles = _by_role(engine, grid)
    numbers = _resolved(roles, len(load.isl), devices, engine, architecture)
    share = _thread_share(platform, numbers.pop("threads"))
    # the last token of a prompt is always computed
    numbers["reused"] = np.where(numbers.pop("prefix_caching") > 0, np.minimum(reused, load.isl - 1.0), 0.0)
    return Points(
        architecture=architecture,
        platform=platform,
        engine=engine,
        load=load,
        # half of the cores already draw about all of a socket's bandwidth
        bandwidth=platform.bandwidth_bytes_s * np.minimum(1.0, 2.0 * share),
        tables=tables,
        **{**numbers, **in_formats(roles, share, engine, platform, architecture)},
    )


def _resolved(
    roles: Roles, n: int, devices: int | None, engine: EngineFacts, architecture: Architecture
) -> dict[str, Floats]:
    """The number of every role, `n`, in the model's words and within its range."""
    numbers = {role: _numbers(roles, role, default, n, engine) for role, default in _NUMERIC_DEFAULTS.items()}
    _check_switches(numbers, engine)
    _spread_over(numbers, roles, devices, engine)
    _translate(numbers, engine)
    _hold_prompts(numbers, roles, engine, architecture)
    _bound_slots(numbers, roles, engine)
    for role in ("ep", "attention_dp"):
        # some collections write 0 for none
        numbers[role] = np.maximum(numbers[role], 1.0)
    share_experts(numbers, engine.name, architecture)
    _check(numbers, engine)
    return numbers


def _by_role(engine: EngineFacts, grid: Grid) -> Roles:
    """Role -> the grid's column, if it has one, and the engine's default. A parameter that the grid names wins."""
    roles: Roles = {}
    for parameter in engine.parameters.values():
        column = grid.columns.get(parameter.name)
        if parameter.role and (parameter.role not in roles or column is not None):
            roles[parameter.role] = (column, parameter.default)
    for name, role in _ANY_ENGINE.items():
        column, default = roles.get(role, (None, None))
        if column is None and name in grid.columns:
            roles[role] = (grid.columns[name], default)
    return roles


def _numbers(roles: Roles, role: str, fallback: float, n: int, engine: EngineFacts) -> Floats:
    column, default = roles.get(role, (None, None))
    start = fallback if default is None else _number(default, role, engine)
    if column is None:
        return np.full(n, start)
    if column.dtype.kind in "biuf":
        values = column.astype(np.float64)
        return np.where(np.isnan(values), start, values)
    return _mapped(column, lambda value: start if value is None else _number(value, role, engine))


def _number(value: Any, role: str, engine: EngineFacts) -> float:
    words = _WORDS.get(role, SWITCH_WORDS)
    try:
        return words[value.lower()] if isinstance(value, str) and value.lower() in words else float(value)
    except (TypeError, ValueError):
        right = ", ".join(words) if role in _WORDS else "true or false" if role in _SWITCHES else "a number"
        raise _wrong(role, engine, f"{value!r} is not {_OF_WHAT.get(role, right)}", right) from None


def _wrong(role: str, engine: EngineFacts, what: str, right: str) -> InputError:
    """The error of a value of a role, under the engine's name for it where it has one."""
    name = next((each.name for each in engine.parameters.values() if each.role == role), None)
    return InputError.at(f"{name} of {engine.name}" if name else f"parameter for {role}", what, right)


def _mapped(column: npt.NDArray[Any], function: Callable[[Any], float]) -> Floats:
    """`function` of each value, called once per distinct one."""
    answers = {value: function(value) for value in set(column.tolist())}
    return np.array([answers[value] for value in column.tolist()], np.float64)


def _spread_over(numbers: dict[str, Floats], roles: Roles, devices: int | None, engine: EngineFacts) -> None:
    n = len(numbers["tp"])
    silent = _silent(roles, "tp", n) & _silent(roles, "pp", n) & _silent(roles, "dp", n)
    has_tp = any(parameter.role == "tp" for parameter in engine.parameters.values()) or not engine.parameters
    role = "tp" if has_tp else "pp"
    numbers[role] = np.where(silent, float(max(devices or 1, 1)), numbers[role])


def _silent(roles: Roles, role: str, n: int) -> Bools:
    """Configs that say nothing of a role, `n`."""
    column = roles.get(role, (None, None))[0]
    return np.ones(n, bool) if column is None else missing_in(column)


def _hold_prompts(numbers: dict[str, Floats], roles: Roles, engine: EngineFacts, model: Architecture) -> None:
    """Without chunked prefill vLLM's own tokens of a step are at least those of its longest sequence (EngineArgs)."""
    if engine.name == "vllm" and not numbers["chunked_prefill"].all():
        told, tokens = numbers["max_model_len"], numbers["max_num_batched_tokens"]
        grows = (numbers["chunked_prefill"] == 0) & _silent(roles, "max_num_batched_tokens", len(told))
        longest = np.where(told > 0, told, float(model.max_positions))
        numbers["max_num_batched_tokens"] = np.where(grows, np.maximum(tokens, longest), tokens)


def _bound_slots(numbers: dict[str, Floats], roles: Roles, engine: EngineFacts) -> None:
    """Sequences where nobody says how many: of vLLM at most the tokens of a step (EngineArgs, in
    vllm/engine/arg_utils.py), of SGLang fewer where it drafts."""
    slots = numbers["max_num_seqs"]
    most = {
        "vllm": numbers["max_num_batched_tokens"],
        "sglang": np.where(numbers["draft_tokens"] > 0, _SEQS_DRAFTED, np.inf),
    }
    if engine.name in most:
        silent = _silent(roles, "max_num_seqs", len(slots))
        numbers["max_num_seqs"] = np.where(silent, np.minimum(slots, most[engine.name]), slots)


def _translate(numbers: dict[str, Floats], engine: EngineFacts) -> None:
    """What some engines say the other way round, or in tokens. SGLang's chunked_prefill_size -1: prompts are prefilled
    whole, as many as its prefill tokens hold."""
    most, tokens, off = (numbers.pop(role) for role in ("prefill_tokens", "kv_tokens", "no_prefix_caching"))
    numbers["prefix_caching"] = np.where(off > 0, 0.0, numbers["prefix_caching"])
    pages = tokens // np.maximum(numbers["block_size"], 1.0)
    numbers["kv_blocks"] = np.where(tokens > 0, pages, numbers["kv_blocks"])
    if engine.name == "sglang":
        whole = numbers["max_num_batched_tokens"] == -1
        numbers["chunked_prefill"] = np.where(whole, 0.0, numbers["chunked_prefill"])
        numbers["max_num_batched_tokens"] = np.where(whole, most, numbers["max_num_batched_tokens"])


def _check_switches(numbers: Mapping[str, Floats], engine: EngineFacts) -> None:
    for role in sorted(_SWITCHES):
        wrong = (numbers[role] != 0.0) & (numbers[role] != 1.0)
        if wrong.any():
            raise _wrong(role, engine, f"the value {numbers[role][wrong][0]:g}", "true or false")


def _check(numbers: Mapping[str, Floats], engine: EngineFacts) -> None:
    for role, (least, most) in _RANGES.items():
        wrong = ~((numbers[role] >= least) & (numbers[role] <= most))
        if wrong.any():
            value = numbers[role][wrong][0]
            raise _wrong(role, engine, f"the value {value:g}", f"from {least:g} to {most:g}")
    for role in _COUNTS:
        wrong = (numbers[role] < 1) | (numbers[role] != np.floor(numbers[role]))
        if role != "prefill_chunk":  # which is without end where nothing divides a step
            wrong |= np.isinf(numbers[role])
        if wrong.any():
            value = numbers[role][wrong][0]
            raise _wrong(role, engine, f"the value {value:g}", "a whole number of at least 1")
    share = numbers["memory_fraction"]
    wrong = ~((share > 0) & (share <= 1))
    if wrong.any():
        raise _wrong("memory_fraction", engine, f"the value {share[wrong][0]:g}", "above 0, at most 1")


def _thread_share(platform: PlatformFacts, threads: Floats) -> Floats:
    """Share of a CPU's cores at work; 1 on an accelerator. Threads beyond the cores add nothing."""
    if platform.kind != "cpu":
        return np.ones_like(threads)
    cores = usable_cores()
    return np.where(threads > 0, np.minimum(threads, cores) / cores, 1.0)
