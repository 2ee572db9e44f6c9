"""From one config to the steps it takes."""

from __future__ import annotations

from model.points import Points
from model.simulate.costs import StepCosts
from model.steps.layers import Sharding
from model.steps.overheads import launching_s, overheads
from model.steps.tabulate import StepModel, head_format
from model.tables.library import Tables


def step_model(points: Points, row: int, tables: Tables) -> StepModel:
    """The steps of the config in one row; on a GPU small kernels are counted by themselves, not by the layer."""
    model = points.architecture
    weights, cache = points.weight_names[points.weight_row[row]], points.cache_names[points.cache_row[row]]
    added = overheads(points.engine.name)
    added = added if points.platform.kind == "cpu" else added.between_kernels
    divided = (points.tp, points.pp, points.ep, points.attention_dp)
    sharding = Sharding(*(int(column[row]) for column in divided))
    host_s = launching_s(model, points.eager[row : row + 1]).item()
    return StepModel(
        tables.in_steps, model, sharding, weights, cache, head_format(model, weights), added, host_s=host_s
    )


def step_costs(points: Points, tables: Tables) -> StepCosts:
    """Tables of the one config in `points`, up to its token budget and its most sequences."""
    return step_model(points, 0, tables).costs(int(points.max_num_batched_tokens[0]), int(points.max_num_seqs[0]))
