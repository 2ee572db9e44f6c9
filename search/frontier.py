"""Non-dominated configs, the reference point and the knee, all on losses (smaller is better).

Notation: n points, k objectives. A point dominates another when it is no worse in every objective and better in at
least one; equal vectors dominate neither, so both stay. A row with NaN or infinity (a failed or empty result) is on no
front.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.compiled import njit
from model.prediction import Bools, Floats
from perfdb.metrics import Direction
from search.objective import Objective, complete
from search.plan import Ints

REFERENCE_MARGIN = 0.10
"""How far beyond the nadir the reference point lies, as a share of the front's log range."""


@njit("b1[::1](f8[:,::1])", cache=True)
def _sweep_two(points: Floats) -> Bools:
    """Mask of lexicographically sorted points, `n x 2`: a dominator comes first and has the least y so far. O(n)."""
    keep = np.ones(points.shape[0], np.bool_)
    best_x, best_y = np.inf, np.inf
    for i in range(points.shape[0]):
        x, y = points[i, 0], points[i, 1]
        if best_y < y or (best_y == y and best_x < x):
            keep[i] = False
        elif y < best_y:
            best_x, best_y = x, y
    return keep


@njit("b1[::1](f8[:,::1], i8[::1])", cache=True)
def _sweep_three(points: Floats, rank: Ints) -> Bools:
    """Mask of lexicographically sorted points, `n x 3`, given each one's 1-based rank by y. O(n log n).

    A Fenwick tree over y holds the least z so far (Kung, Luccio and Preparata 1975, with a tree for the staircase).
    """
    n = points.shape[0]
    keep = np.ones(n, np.bool_)
    least = np.full(n + 1, np.inf)
    for i in range(n):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        if i and points[i - 1, 0] == x and points[i - 1, 1] == y and points[i - 1, 2] == z:
            keep[i] = keep[i - 1]
            continue
        at = rank[i]
        while at > 0 and keep[i]:
            keep[i] = least[at] > z
            at -= at & -at
        at = rank[i]
        while keep[i] and at <= n:
            least[at] = min(least[at], z)
            at += at & -at
    return keep


@njit("b1[::1](f8[:,::1])", cache=True)
def _archive(points: Floats) -> Bools:
    """Mask of lexicographically sorted points, `n x k`, each compared with the front so far. O(n · front)."""
    n, k = points.shape
    keep = np.ones(n, np.bool_)
    front = np.empty(n, np.int64)
    size = 0
    for i in range(n):
        for f in range(size):
            j = front[f]
            worse, better = False, False
            for c in range(k):
                worse = worse or points[j, c] > points[i, c]
                better = better or points[j, c] < points[i, c]
            if better and not worse:
                keep[i] = False
                # Move to front: a point that dominated once is likely to dominate the next one too.
                front[f], front[f // 2] = front[f // 2], j
                break
        if keep[i]:
            front[size] = i
            size += 1
    return keep


def _mask_sorted(points: Floats) -> Bools:
    k = points.shape[1]
    if k == 1:
        first: Bools = points[:, 0] == points[0, 0]
        return first
    if k == 2:
        two: Bools = _sweep_two(points)
        return two
    if k == 3:
        _, rank = np.unique(points[:, 1], return_inverse=True)
        three: Bools = _sweep_three(points, rank.astype(np.int64) + 1)
        return three
    many: Bools = _archive(points)
    return many


def _not_beaten_by(points: Floats, rivals: Floats) -> Bools:
    """Mask of `points` that no rival dominates, `n`; rivals are few."""
    keep = np.ones(len(points), bool)
    for rival in rivals:
        keep &= (points < rival).any(axis=1) | (points == rival).all(axis=1)
    return keep


def non_dominated(losses: Floats, eps: float | Floats = 0.0) -> Bools:
    """Mask of the non-dominated rows, `n`.

    Args:
        losses: `n x k`, smaller is better; a row that is not finite is never kept.
        eps: with 0 plain Pareto dominance. Above 0 (one number, or one per objective, `k`) a row is dropped only if
            another is better by at least `eps` in every objective: differences within the noise drop nothing.
    """
    losses = np.ascontiguousarray(losses, dtype=np.float64)
    keep = complete(losses)
    rows = np.flatnonzero(keep)
    if not len(rows):
        return keep
    points = losses[rows]
    if len(rows) > 1000:
        # A handful of good points removes nearly all the others in linear time, so that the sort sees few.
        scale = np.ptp(points, axis=0)
        scores = (points / np.where(scale > 0, scale, 1.0)).sum(axis=1)
        survivors = _not_beaten_by(points, points[np.argpartition(scores, 4)[:5]])
        rows, points = rows[survivors], points[survivors]
    order = np.lexsort(points.T[::-1])
    mask = np.zeros(len(losses), bool)
    mask[rows[order]] = _mask_sorted(np.ascontiguousarray(points[order]))
    return mask if not np.any(eps) else _within(losses, losses[mask], np.asarray(eps)) & keep


def _within(losses: Floats, front: Floats, eps: Floats) -> Bools:
    """Mask of rows that no front point beats by `eps` or more in every objective."""
    keep = np.ones(len(losses), bool)
    for point in front:
        keep &= ~(point <= losses - eps).all(axis=1)
    return keep


def reference_point(losses: Floats, objectives: Sequence[Objective]) -> Floats:
    """Where the hypervolume is measured from, `k`: the front's nadir, moved to the worse side by 10 % of its range.

    Where the front has no range in an objective, the native value is moved by 10 %: a loss of log 1.1 for min, of
    -log 0.9 for max.

    Args:
        losses: log losses, `n x k` (see `search.objective.to_loss`), at least one row without NaN.
        objectives: the k objectives.

    Raises:
        ValueError: no row is finite.
    """
    front = losses[non_dominated(losses)]
    if not len(front):
        raise ValueError("a reference point needs at least one successful config")
    span = np.ptp(front, axis=0)
    flat = [
        -np.log(1 - REFERENCE_MARGIN) if o.direction is Direction.MAX else np.log(1 + REFERENCE_MARGIN)
        for o in objectives
    ]
    nadir: Floats = front.max(axis=0) + np.where(span > 0, REFERENCE_MARGIN * span, flat)
    return nadir


def knee(losses: Floats) -> int | None:
    """The row of the best compromise, or None where no row is finite.

    Definition: the front's point nearest (Euclidean) to the ideal point, each log loss scaled to [0, 1] over the front
    (compromise programming, Zeleny 1973); of equals the one whose worst scaled loss is least, then the first.
    """
    rows = np.flatnonzero(non_dominated(losses))
    if not len(rows):
        return None
    front = losses[rows]
    span = np.ptp(front, axis=0)
    scaled = (front - front.min(axis=0)) / np.where(span > 0, span, 1.0)
    distance = np.round(np.sqrt((scaled**2).sum(axis=1)), 12)
    return int(rows[np.lexsort((scaled.max(axis=1), distance))[0]])
