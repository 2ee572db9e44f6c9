"""The largest load that is still good, for many configs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model.prediction import Bools, Floats

Meets = Callable[[Floats], Bools]
"""Loads, one per config (n), to whether each config is good under its own."""


@dataclass(frozen=True)
class Bracket:
    """For n configs: `low`, the largest load found good (0: not even the least), and `high`, the least found bad above
    it (inf: none of those tried). `evaluations` of all configs were made."""

    low: Floats
    high: Floats
    evaluations: int


def largest_good(meets: Meets, n: int, rungs: Sequence[float], tolerance: float, is_whole: bool = False) -> Bracket:
    """Climb the rungs (ascending), then bisect between the last good one and the first bad one.

    A config that is bad on one rung and good again above it has its answer below: nothing above the first bad rung
    counts, so that an answer never rests on noise.

    Args:
        meets: whether each of n configs is good under its load.
        n: how many configs.
        rungs: loads to try first, at least one, above 0.
        tolerance: stop where high / low is at most 1 + tolerance; whole loads stop one apart at the latest.
        is_whole: only whole loads are tried.
    """
    low, high = np.zeros(n), np.full(n, np.inf)
    evaluations = 0
    for rung in rungs:
        climbing = np.isinf(high)
        if not climbing.any():
            break
        good = meets(np.where(climbing, rung, np.maximum(low, rungs[0])))
        evaluations += 1
        low[climbing & good], high[climbing & ~good] = rung, rung
    while True:
        middle = np.sqrt(low * np.where(np.isinf(high), low, high))
        middle = np.floor(middle) if is_whole else middle
        # a mean of neighbours is one of them
        middle = np.maximum(middle, low + 1.0) if is_whole else middle
        going = (low > 0) & np.isfinite(high) & (high > low * (1.0 + tolerance)) & (middle < high)
        if not going.any():
            return Bracket(low, high, evaluations)
        good = meets(np.where(going, middle, np.maximum(low, rungs[0])))
        evaluations += 1
        low[going & good], high[going & ~good] = middle[going & good], middle[going & ~good]
