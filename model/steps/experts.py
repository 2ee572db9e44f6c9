"""What ranks that share experts do together in a step, by the tokens that each of them brings."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from model.points import Points
from model.prediction import Floats
from model.steps.config import step_model
from model.steps.tabulate import StepModel
from model.tables.library import Tables

_LEAST = 2048


def experts_s(points: Points, tables: Tables, tokens: Floats) -> Floats:
    """Seconds of all layers' experts and messages to and from them, `n`, where each rank brings so many `tokens` on
    average."""
    seconds = np.empty(len(points))
    names = ("tp", "pp", "ep", "attention_dp", "all_to_all", "eager", "weight_row", "cache_row")
    divided = np.stack([getattr(points, name) for name in names], axis=1)
    _, first, which = np.unique(divided, axis=0, return_index=True, return_inverse=True)
    for number, row in enumerate(first.tolist()):
        rows = np.flatnonzero(which == number)
        most = max(1 << int(np.ceil(np.log2(max(tokens[rows].max(), 1.0)))), _LEAST)
        known = _by_tokens(step_model(points, row, tables), most)
        seconds[rows] = np.interp(tokens[rows], np.arange(len(known)), known)
    return seconds


@lru_cache(maxsize=256)
def _by_tokens(steps: StepModel, most: int) -> Floats:
    return steps.together(most)
