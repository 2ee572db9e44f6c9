"""Times of many steps of many configs at once: one set of tables per way of dividing and formatting the model.

Notation: n rows; T tokens, S sequences; p prompts in flight, of whom each computes a chunk of its prompt in the step.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model.kept.costs import Told, kept_costs, say_of
from model.loops import loop
from model.prediction import Floats
from model.simulate.costs import StepCosts, attention_s
from model.steps.config import step_model
from model.steps.tabulate import StepModel

if TYPE_CHECKING:
    from model.points import Points
    from model.steps.ops import StepLoad
    from model.tables.library import Tables

_LEAST_TOKENS, _MOST_TOKENS = 2048, 1 << 17
_LEAST_SEQS, _MOST_SEQS = 256, 1 << 14
_ONLY = np.zeros(1, np.int64)
_PLAIN_S = 60e-6
"""Seconds that a step takes that is not compiled."""


def planned_seconds(points: Points, load: StepLoad, tables: Tables) -> Floats:
    """Seconds of one step of each row, `n`, from the operation tables."""
    plans, which = _plans(points)
    tokens, sequences = load.tokens, load.sequences
    # keys that a prompt's tokens see on average tell how many prompts share the chunk
    with np.errstate(invalid="ignore", divide="ignore"):
        prompts = np.where(load.prefill > 0, (load.past + load.prefill / 2.0) / load.context, 0.0)
    seconds = np.empty(len(points))
    for number, first in enumerate(plans.tolist()):
        rows = np.arange(len(points)) if len(plans) == 1 else np.flatnonzero(which == number)
        told = _costs(
            step_model(points, first, tables),
            _rounded(tokens[rows].max(), _LEAST_TOKENS, _MOST_TOKENS),
            _rounded(sequences[rows].max(), _LEAST_SEQS, _MOST_SEQS),
        )
        seconds[rows] = _steps_s.taking(len(rows) * _PLAIN_S)(
            say_of(told), tokens[rows], sequences[rows], load.prefill[rows], prompts[rows], load.past[rows],
            load.decode[rows], load.kv[rows],
        )  # fmt: skip
    return seconds


def _plans(points: Points) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The first row of each way of dividing, formatting and launching the model, `p`, and each row's way, `n`."""
    if len(points) == 1:
        return _ONLY, _ONLY
    divided = (points.tp, points.pp, points.ep, points.attention_dp)
    columns = (*divided, points.weight_row, points.cache_row, points.eager, points.all_to_all)
    code = np.zeros(len(points))
    for column in columns:
        code = code * (column.max() + 1.0) + column
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    return first, which


@lru_cache(maxsize=512)
def _costs(steps: StepModel, most_tokens: int, most_seqs: int) -> Told:
    return kept_costs(steps, most_tokens, most_seqs)


def _rounded(most: float, least: int, limit: int) -> int:
    """A power of two, so that grids that differ a little share their tables."""
    return int(min(max(1 << int(np.ceil(np.log2(max(most, 1.0)))), least), limit))


@loop(nogil=True)
def _steps_s(
    costs: StepCosts,
    tokens: Floats,
    sequences: Floats,
    prefill: Floats,
    prompts: Floats,
    past: Floats,
    decode: Floats,
    kv: Floats,
) -> npt.NDArray[np.float64]:
    """Seconds, n. Fewer than one prompt a step is one prompt in that share of steps."""
    seconds = np.empty(len(tokens))
    for row in range(len(tokens)):
        share = min(prompts[row], 1.0)
        count = max(prompts[row], 1.0)
        total = costs.step + _at(costs.tokens, tokens[row]) + _at(costs.sequences, sequences[row])
        total += attention_s(costs, 0.0, 0.0, 0.0, decode[row], kv[row])
        if share > 0.0:
            chunks = prefill[row] / share
            side = chunks / np.sqrt(count)
            before = past[row] / share
            both = attention_s(costs, chunks, side, before, decode[row], kv[row])
            total += share * (both - attention_s(costs, 0.0, 0.0, 0.0, decode[row], kv[row]))
        seconds[row] = total
    return seconds


@loop(nogil=True)
def _at(values: Floats, place: float) -> float:
    """Linear between whole places, and beyond the last as before it."""
    low = min(int(place), len(values) - 2)
    return float(values[low] + (place - low) * (values[low + 1] - values[low]))
