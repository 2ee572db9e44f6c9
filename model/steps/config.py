"""From one config to the steps it takes."""

from __future__ import annotations

from model.checkpoint.parts import HEAD
from model.points import Points
from model.simulate.costs import StepCosts
from model.steps.layers import Sharding
from model.steps.overheads import launching_s
from model.steps.tabulate import StepModel
from model.tables.exchange import DEEPEP, NVLINK
from model.tables.library import Tables

_RACKS = ("gb200", "gb300")


def step_model(points: Points, row: int, tables: Tables) -> StepModel:
    """The steps of the config in one row; on a GPU small kernels are counted by themselves, not by the layer."""
    model = points.architecture
    weights, cache = points.weight_names[points.weight_row[row]], points.cache_names[points.cache_row[row]]
    added = points.overheads
    added = added if points.platform.kind == "cpu" else added.between_kernels
    divided = (points.tp, points.pp, points.ep, points.attention_dp)
    tp, pp, ep, ranks = (int(column[row]) for column in divided)
    sharding = Sharding(tp, pp, ep, ranks, _exchange(points, row))
    host_s = launching_s(model, points.eager[row : row + 1]).item()
    return StepModel(
        tables.in_steps, model, sharding, weights, cache, model.format_of(HEAD, weights), added, host_s=host_s
    )


def _exchange(points: Points, row: int) -> str:
    """How tokens reach experts that are spread over ranks of attention: as the config says, else as the engine does.

    TensorRT-LLM's all-to-all takes an NVLink domain of several hosts (`MnnvlMemory.supports_mnnvl`); vLLM gathers
    (its all2all_backend is allgather_reducescatter), as SGLang does (its moe_a2a_backend is none).
    """
    if points.ep[row] <= 1:
        return ""
    if points.all_to_all[row] > 0:
        return DEEPEP
    is_rack = points.platform.name.startswith(_RACKS)
    return NVLINK if points.engine.name == "trtllm" and is_rack else ""


def step_costs(points: Points, tables: Tables) -> StepCosts:
    """Tables of the one config in `points`, up to its token budget and its most sequences with their drafted tokens."""
    places = int(points.max_num_seqs[0] * (1.0 + points.draft_tokens[0]))
    return step_model(points, 0, tables).costs(int(points.max_num_batched_tokens[0]), places)
