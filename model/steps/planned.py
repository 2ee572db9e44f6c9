"""Times of many steps of many configs at once: one set of tables per way of dividing and formatting the model.

Notation: n rows; T tokens, S sequences; p prompts in flight, of whom each computes a chunk of its prompt in the step.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model.architecture import Architecture
from model.compiled import njit
from model.prediction import Floats
from model.simulate.costs import StepCosts, attention_s
from model.steps.layers import Sharding
from model.steps.overheads import Overheads
from model.steps.tabulate import StepModel, head_format

if TYPE_CHECKING:
    from model.knobs import Points
    from model.ops import StepLoad
    from model.tables.library import Tables

_LEAST_TOKENS, _MOST_TOKENS = 2048, 1 << 17
_LEAST_SEQS, _MOST_SEQS = 256, 1 << 14


def planned_seconds(points: Points, load: StepLoad, tables: Tables, added: Overheads) -> Floats:
    """Seconds of one step of each row, `n`, from the operation tables; `added` by the engine, but nothing per layer."""
    plans, which = _plans(points)
    tokens, sequences = load.tokens, load.sequences
    # keys that a prompt's tokens see on average tell how many prompts share the chunk
    with np.errstate(invalid="ignore", divide="ignore"):
        prompts = np.where(load.prefill > 0, (load.past + load.prefill / 2.0) / load.context, 0.0)
    seconds = np.empty(len(points))
    for number, (tp, pp, weights, cache) in enumerate(plans.tolist()):
        rows = np.arange(len(points)) if len(plans) == 1 else np.flatnonzero(which == number)
        costs = _costs(
            tables,
            points.architecture,
            Sharding(int(tp), int(pp)),
            (points.weight_names[int(weights)], points.cache_names[int(cache)]),
            added,
            (
                _rounded(tokens[rows].max(), _LEAST_TOKENS, _MOST_TOKENS),
                _rounded(sequences[rows].max(), _LEAST_SEQS, _MOST_SEQS),
            ),
        )
        seconds[rows] = _steps_s(
            costs, tokens[rows], sequences[rows], load.prefill[rows], prompts[rows], load.past[rows],
            load.decode[rows], load.kv[rows],
        )  # fmt: skip
    return seconds


def _plans(points: Points) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The distinct ways of dividing and formatting the model (tp, pp, weights, cache: `p x 4`), and each row's, `n`."""
    columns = (points.tp, points.pp, points.weight_row, points.cache_row)
    code = np.zeros(len(points))
    for column in columns:
        code = code * (column.max() + 1.0) + column
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    return np.stack([column[first] for column in columns], axis=1), which


@lru_cache(maxsize=512)
def _costs(
    tables: Tables,
    model: Architecture,
    sharding: Sharding,
    formats: tuple[str, str],
    added: Overheads,
    most: tuple[int, int],
) -> StepCosts:
    weights, cache = formats
    return StepModel(tables, model, sharding, weights, cache, head_format(model, weights), added).costs(*most)


def _rounded(most: float, least: int, limit: int) -> int:
    """A power of two, so that grids that differ a little share their tables."""
    return int(min(max(1 << int(np.ceil(np.log2(max(most, 1.0)))), least), limit))


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _at(values: Floats, place: float) -> float:
    """Linear between whole places, and beyond the last as before it."""
    low = min(int(place), len(values) - 2)
    return float(values[low] + (place - low) * (values[low + 1] - values[low]))
