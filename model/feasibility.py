"""Which configs cannot serve the load, and why: memory, a model that does not divide, requests that are too long, a
budget that is too small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from model.memory import GIB, RESERVES_SLOTS, Memory
from model.points import Points
from model.prediction import Bools, Floats
from model.tables.said import say

_Check = tuple[Bools, Callable[[Points, Memory, int], str]]


def feasibility(points: Points, found: Memory) -> tuple[Bools, Mapping[int, str]]:
    """Which of n configs can serve their load, `n`, and for each other row why not, in one sentence with the sizes."""
    checks = (
        *_refusals(points),
        (longest(points) < points.load.isl + points.load.osl, _says_too_long),
        (~found.feasible, says_memory),
    )
    say(_must_be_told(points, found))
    feasible = np.ones(len(points), bool)
    reasons: dict[int, str] = {}
    for wrong, says in checks:
        reasons |= {int(row): says(points, found, int(row)) for row in np.flatnonzero(wrong & feasible)}
        feasible &= ~wrong
    return feasible, reasons


def as_served(is_measured: Bools, feasible: Bools, reasons: Mapping[int, str]) -> tuple[Bools, Mapping[int, str]]:
    """The answer of `feasibility`, but for rows that were measured, `n`: these did serve their load, whatever the rules
    say, for limits can be overruled and memory is estimated."""
    return feasible | is_measured, {row: why for row, why in reasons.items() if not is_measured[row]}


def why_not_started(points: Points, found: Memory, row: int) -> str | None:
    """Why no server starts with the config of one row; None where one does, which may yet have no room for a load."""
    say(_must_be_told(points, found))
    checks = (*_refusals(points), (~found.feasible & (points.max_model_len > 0), says_memory))
    return next((says(points, found, row) for wrong, says in checks if wrong[row]), None)


def _refusals(points: Points) -> tuple[_Check, ...]:
    return (
        *_divisions(points),
        (_starved(points), _says_starved),
        (_stretched(points), _says_stretched),
        (_longer_than_steps(points), _says_longer_than_steps),
        (_odd_blocks(points), _says_odd_blocks),
        (_drafting_in_stages(points), _says_drafting),
    )


def _divisions(points: Points) -> tuple[_Check, ...]:
    """Engines refuse to start where devices would get unequal numbers of heads, ranks or experts."""
    experts = max(points.architecture.experts, 1)
    return (
        (np.asarray(points.pp > points.architecture.layers), _says_stages),
        (np.asarray(points.architecture.heads % points.tp != 0), _says_undivided),
        (np.asarray(points.tp * points.attention_dp != points.group), _says_ranks),
        (np.asarray((points.group % points.ep != 0) | (points.ep > experts)), _says_experts),
    )


def _starved(points: Points) -> Bools:
    """vLLM refuses to start where a step has not a token for each sequence (SchedulerConfig.verify_max_model_len)."""
    return np.asarray((points.engine.name == "vllm") & (points.max_num_batched_tokens < points.max_num_seqs))


def _positions(points: Points) -> float:
    """Positions that the engine lets no sequence exceed; inf where they are not known. llama.cpp only warns."""
    if points.engine.name == RESERVES_SLOTS or not points.architecture.max_positions:
        return np.inf
    return float(points.architecture.max_positions)


def _stretched(points: Points) -> Bools:
    """Engines refuse to start where they are told of longer sequences than the model has positions for."""
    return np.asarray(points.max_model_len > _positions(points))


def _longer_than_steps(points: Points) -> Bools:
    """vLLM refuses to start where a sequence may be longer than a step that must hold its prompt whole
    (SchedulerConfig.verify_max_model_len). Where nobody says how long, it must at least hold those of the load."""
    whole = (points.engine.name == "vllm") & (points.chunked_prefill == 0)
    return np.asarray(whole & (_needed_length(points) > points.max_num_batched_tokens))


def _needed_length(points: Points) -> Floats:
    return np.where(points.max_model_len > 0, points.max_model_len, points.load.isl + points.load.osl)


def _odd_blocks(points: Points) -> Bools:
    """Attention kernels of vLLM read blocks of 1, of 8 or of a multiple of 16 tokens (vllm/config/cache.py)."""
    size = points.block_size
    return np.asarray((points.engine.name == "vllm") & (size % 16 != 0) & (size != 1) & (size != 8))


def _must_be_told(points: Points, found: Memory) -> list[str]:
    """A sentence where vLLM, which takes the model's positions for the longest sequence unless it is told, refuses to
    start since not one of those fits; no refusal, for benchmarks tell it (max_model_len auto, -1, does it itself)."""
    most = _positions(points)
    if points.engine.name != "vllm" or np.isinf(most):
        return []
    fits = found.kv_room // found.kv_per_token
    budget = np.where(points.chunked_prefill > 0, np.inf, points.max_num_batched_tokens)
    fits = np.minimum(fits, budget)
    silent = (points.max_model_len == 0) & (fits < most) & (fits >= points.load.isl + points.load.osl)
    if not silent.any():
        return []
    least = fits[silent].min()
    what = f"vLLM takes its longest sequence from {points.architecture.name}, {most:.0f} tokens"
    return [
        f"{what}, and starts only with max_model_len of at most {least:.0f}: that it is told so is taken for granted"
    ]


def _drafting_in_stages(points: Points) -> Bools:
    """SGLang refuses to start where tokens are drafted in a pipeline (ServerArgs.check_server_args)."""
    return np.asarray((points.engine.name == "sglang") & (points.pp > 1) & (points.draft_tokens > 0))


def longest(points: Points) -> Floats:
    """Most tokens of one sequence, `n`: as the engine is told, else the model's; inf where neither is known. llama.cpp
    divides them among its slots."""
    share = points.max_num_seqs if points.engine.name == RESERVES_SLOTS else 1.0
    return np.where(points.max_model_len > 0, np.floor(points.max_model_len / share), _positions(points))


def says_longest(points: Points, row: int) -> str:
    """How much one sequence of a row holds, and what says so."""
    most, model = longest(points)[row], points.architecture.name
    if points.max_model_len[row] > 0:
        return f"a sequence of this config holds at most {most:.0f}"
    return f"{model} has {most:.0f} positions"


def _says_undivided(points: Points, _found: Memory, row: int) -> str:
    return f"{points.architecture.heads} attention heads cannot be divided among tp {points.tp[row]:.0f}"


def _says_stages(points: Points, _found: Memory, row: int) -> str:
    return f"{points.architecture.layers} layers cannot be divided into {points.pp[row]:.0f} stages"


def _says_ranks(points: Points, _found: Memory, row: int) -> str:
    ranks, devices = points.attention_dp[row], points.group[row]
    if ranks == 1:
        ranks, devices = points.dp[row], devices * points.dp[row]
    return f"{devices:.0f} devices cannot be divided among {ranks:.0f} ranks of attention"


def _says_experts(points: Points, _found: Memory, row: int) -> str:
    experts, devices = points.architecture.experts, points.group[row]
    return f"{experts} experts on {devices:.0f} devices cannot be spread over ep {points.ep[row]:.0f}"


def _says_starved(points: Points, _found: Memory, row: int) -> str:
    tokens, sequences = points.max_num_batched_tokens[row], points.max_num_seqs[row]
    return f"max_num_batched_tokens {tokens:.0f} is less than max_num_seqs {sequences:.0f}: vLLM refuses to start"


def _says_stretched(points: Points, _found: Memory, row: int) -> str:
    parameters = points.engine.parameters.values()
    name = next((parameter.name for parameter in parameters if parameter.role == "max_model_len"), "max_model_len")
    model, asked = points.architecture.name, points.max_model_len[row]
    what = f"{name} {asked:.0f} is more than the {_positions(points):.0f} positions of {model}"
    return f"{what}: the engine refuses to start unless its environment allows it"


def _says_longer_than_steps(points: Points, _found: Memory, row: int) -> str:
    length, tokens = _needed_length(points)[row], points.max_num_batched_tokens[row]
    what = f"a sequence of {length:.0f} tokens" if points.max_model_len[row] <= 0 else f"max_model_len {length:.0f}"
    return f"{what} is more than max_num_batched_tokens {tokens:.0f} without chunked prefill: vLLM refuses to start"


def _says_odd_blocks(points: Points, _found: Memory, row: int) -> str:
    return f"block_size {points.block_size[row]:.0f} is neither 1, 8 nor a multiple of 16: vLLM refuses to start"


def _says_drafting(points: Points, _found: Memory, row: int) -> str:
    drafted, stages = points.draft_tokens[row], points.pp[row]
    return f"{drafted:.0f} drafted tokens in a pipeline of {stages:.0f} stages: SGLang refuses to start"


def _says_too_long(points: Points, _found: Memory, row: int) -> str:
    need = points.load.isl[row] + points.load.osl[row]
    return f"a request has {need:.0f} tokens, {says_longest(points, row)}"


def says_memory(points: Points, found: Memory, row: int) -> str:
    """What a row's config needs of one device's memory and what there is; of a KV cache that was told, how little it
    holds."""
    if points.kv_blocks[row] > 0:
        needed, size = found.kv_needed[row] / found.kv_per_token[row], points.block_size[row]
        blocks = f"the KV cache of {found.blocks[row]:.0f} blocks of {size:.0f}"
        return f"one sequence has up to {needed:.0f} tokens, {blocks} holds {found.blocks[row] * size:.0f}"
    device = "host" if points.platform.kind == "cpu" else "device"
    parts = (found.weights[row], found.kv_needed[row], found.overhead[row])
    weights, kv, other = (f"{part / GIB:.1f}" for part in parts)
    sizes = (sum(parts) / GIB, found.available[row] / GIB)
    need, there = next((told for told in _rounded(*sizes) if told[0] != told[1]), sizes)
    what = f"needs {need} GiB per {device} (weights {weights}, KV cache {kv}, other {other})"
    return f"{what}, {there} GiB are available"


def _rounded(one: float, other: float) -> Iterator[tuple[str, str]]:
    """Both to one decimal, then to more."""
    return ((f"{one:.{digits}f}", f"{other:.{digits}f}") for digits in range(1, 7))
