"""Single measurements that cannot be right: far from what both neighbours of theirs say along every axis they have.

What is compared is the ratio of a latency to the kernel's formula, which grows with nothing; its logarithm is called
`ratio` here, NaN where nothing was measured.
"""

from __future__ import annotations

import numpy as np

from model.prediction import Bools, Floats
from model.tables.grid import Ints

GLITCH = 3.0
"""How many times what its neighbours say a measurement may be, either way: tiles and other kernels make up to two."""


def on_grid(ratio: Floats, factor: float, first_axis: int = 0) -> tuple[Bools, Floats]:
    """Which places of a grid are glitches, and the mean of the ratios of all their neighbours.

    Axes before `first_axis` tell several grids of one shape apart.

    A glitch has measured neighbours on both sides along some axis, and is apart from those that it has on any.
    """
    limit = np.log(factor)
    high, low, checked = np.ones(ratio.shape, bool), np.ones(ratio.shape, bool), np.zeros(ratio.shape, bool)
    total, count, is_known = np.zeros(ratio.shape), np.zeros(ratio.shape), np.isfinite(ratio)
    for axis in range(first_axis, ratio.ndim):
        if ratio.shape[axis] < 2:
            continue
        sides = np.zeros(ratio.shape, np.int8)
        upper, lower = (_part(ratio.ndim, axis, cut) for cut in ((1, None), (0, -1)))
        for own, other in ((upper, lower), (lower, upper)):
            known = is_known[other]
            high[own] &= ~known | (ratio[own] > ratio[other] + limit)
            low[own] &= ~known | (ratio[own] < ratio[other] - limit)
            total[own] += np.where(known, ratio[other], 0.0)
            count[own] += known
            sides[own] += known
        checked |= sides > 1
    return checked & (high | low) & is_known, total / np.maximum(count, 1.0)


def on_lines(ratio: Floats, line: Ints, factor: float) -> tuple[Bools, Floats]:
    """The same of values in a row, `n`, neighbours on one `line` each."""
    limit, found, mean = np.log(factor), np.zeros(len(ratio), bool), np.zeros(len(ratio))
    if len(ratio) > 2:
        one, own, other = ratio[:-2], ratio[1:-1], ratio[2:]
        apart = (own > np.maximum(one, other) + limit) | (own < np.minimum(one, other) - limit)
        found[1:-1] = apart & (line[:-2] == line[2:])
        mean[1:-1] = (one + other) / 2.0
    return found, mean


def _part(dimensions: int, axis: int, cut: tuple[int, int | None]) -> tuple[slice, ...]:
    return tuple(slice(*cut) if place == axis else slice(None) for place in range(dimensions))
