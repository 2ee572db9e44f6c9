"""Exact hypervolume of points below a reference, for any number of objectives; compiled for up to three.

Losses throughout: smaller is better, n points, k objectives, `reference` is `k` and worse than what counts.
"""

from __future__ import annotations

import numpy as np

from model.compiled import njit
from model.prediction import Floats
from search.frontier import non_dominated


@njit("f8(f8[:,::1], f8[::1])", cache=True)
def _area(points: Floats, reference: Floats) -> float:
    """Area dominated by points sorted by x, `n x 2`, all below the reference."""
    total, height = 0.0, reference[1]
    for i in range(points.shape[0]):
        if points[i, 1] < height:
            total += (reference[0] - points[i, 0]) * (height - points[i, 1])
            height = points[i, 1]
    return total


@njit("UniTuple(f8, 2)(f8[::1], f8[::1], i8, f8, f8)", cache=True)
def _insert(xs: Floats, ys: Floats, size: int, x: float, y: float) -> tuple[float, float]:
    """Add (x, y) to a staircase (x ascending, y descending, in the first `size` places); its new size and area gained.

    The first step lies left of every point at the reference's height, the last at the reference's side below all.
    """
    at = np.searchsorted(xs[:size], x, side="right")
    if ys[at - 1] <= y:
        return float(size), 0.0
    first = at - 1 if xs[at - 1] == x else at
    last, left, height, area = first, x, ys[first - 1], 0.0
    while ys[last] >= y:
        area += (xs[last] - left) * (height - y)
        left, height = xs[last], ys[last]
        last += 1
    area += (xs[last] - left) * (height - y)
    kept = size - last
    # numba copies slices element by element, so an overlapping move needs a copy of its own.
    xs[first + 1 : first + 1 + kept] = xs[last:size].copy()
    ys[first + 1 : first + 1 + kept] = ys[last:size].copy()
    xs[first], ys[first] = x, y
    return float(first + 1 + kept), area


@njit("f8(f8[:,::1], f8[::1])", cache=True)
def _volume(points: Floats, reference: Floats) -> float:
    """Volume dominated by points sorted by z, `n x 3`, all below the reference: O(n · front).

    Sweeps z upwards and keeps the staircase of (x, y) with its area (Beume et al. 2009, with an array for the tree).
    """
    n = points.shape[0]
    xs, ys = np.empty(n + 2), np.empty(n + 2)
    xs[0], ys[0], xs[1], ys[1] = -np.inf, reference[1], reference[0], -np.inf
    size, area, total = 2, 0.0, 0.0
    for i in range(n):
        grown, gained = _insert(xs, ys, size, points[i, 0], points[i, 1])
        size = int(grown)
        area += gained
        top = points[i + 1, 2] if i + 1 < n else reference[2]
        total += area * (top - points[i, 2])
    return total


def hypervolume(losses: Floats, reference: Floats) -> float:
    """Volume that lies between the losses' front and the reference; 0 where nothing is below the reference.

    Objectives beyond the third are sliced away one by one (Knowles 2002: hypervolume by slicing objectives).

    Args:
        losses: `n x k`; rows with NaN, or not below the reference in every objective, add nothing.
        reference: `k`.
    """
    losses = losses[(losses < reference).all(axis=1)]
    if not len(losses):
        return 0.0
    return _sliced(losses[non_dominated(losses)], np.ascontiguousarray(reference, dtype=np.float64))


def _sliced(front: Floats, reference: Floats) -> float:
    k = front.shape[1]
    if k == 1:
        return float(reference[0] - front.min())
    points = np.ascontiguousarray(front[np.argsort(front[:, 0 if k == 2 else k - 1], kind="stable")])
    if k == 2:
        # Of equal x only the lowest y counts, and the sort may put it second; the other one's share is then zero.
        return float(_area(points[np.lexsort(points.T[::-1])], reference))
    if k == 3:
        return float(_volume(points, reference))
    last = points[:, -1]
    depth = np.diff(np.append(last, reference[-1]))
    total = 0.0
    for i in np.flatnonzero(depth > 0):
        base = points[: i + 1, :-1]
        total += float(depth[i]) * _sliced(base[non_dominated(base)], reference[:-1])
    return total


def hypervolume_trace(losses: Floats, reference: Floats) -> Floats:
    """Hypervolume after each of the t rows, in order, `t`."""
    trace = np.zeros(len(losses))
    best: Floats = losses[:0]
    for i, row in enumerate(losses):
        improves = bool((row < reference).all()) and not (len(best) and bool((best <= row).all(axis=1).any()))
        if improves:
            best = np.vstack([best, row])
        trace[i] = hypervolume(best, reference) if improves else (trace[i - 1] if i else 0.0)
    return trace
