"""From a config's parameters to the settings of the scheduler that is simulated."""

from __future__ import annotations

from collections.abc import Mapping

from model.knobs import Points
from model.memory import memory
from model.simulate.state import EngineSettings
from model.simulate.trace import Trace
from perfdb.errors import InputError
from perfdb.records import Scalar


def engine_settings(points: Points, config: Mapping[str, Scalar], trace: Trace) -> EngineSettings:
    """The scheduler's settings of the one config in `points`; `config` holds what it says by the engine's names.

    The blocks of the KV cache are what the memory leaves, unless the config says how many there are.

    Raises:
        InputError: no block is left, or a flag's value cannot be right.
    """
    longest = int((trace.prompt + trace.output).max()) + 1
    model_len = int(points.max_model_len[0]) or max(points.architecture.max_positions, longest)
    blocks = int(memory(points).blocks[0])
    if blocks < 1:
        raise InputError.at("memory", "no room is left for the KV cache", "a config that fits; whatif says why")
    return EngineSettings(
        max_num_batched_tokens=int(points.max_num_batched_tokens[0]),
        max_num_seqs=int(points.max_num_seqs[0]),
        block_size=int(points.block_size[0]),
        num_blocks=blocks,
        max_model_len=model_len,
        enable_prefix_caching=bool(_value(points, config, "prefix_caching", True)),
        enable_chunked_prefill=bool(points.chunked_prefill[0] > 0),
        long_prefill_token_threshold=_whole(points, config, "prefill_threshold", 0),
        is_priority=_value(points, config, "policy", "fcfs") == "priority",
    )


def _value(points: Points, config: Mapping[str, Scalar], role: str, fallback: Scalar) -> Scalar:
    """What a config says of a role: by the engine's name, else the engine's default, else `fallback`."""
    parameter = next((each for each in points.engine.parameters.values() if each.role == role), None)
    if parameter is None:
        return fallback
    said = config.get(parameter.name)
    default = fallback if parameter.default is None else parameter.default
    return default if said is None else said


def _whole(points: Points, config: Mapping[str, Scalar], role: str, fallback: int) -> int:
    value = _value(points, config, role, fallback)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
        raise InputError.at(f"parameter for {role}", f"{value!r}", "a whole number")
    return int(value)
