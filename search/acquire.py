"""How much a config is expected to add: the expected hypervolume improvement, and the probability that it works.

Notation: n configs, k objectives as losses (smaller is better), f front points, c cells. A config's outcome is normal
and independent per objective: mean and sd are `n x k`.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from model.compiled import njit
from model.prediction import Floats
from search.frontier import non_dominated
from search.plan import Ints

CELL_BUDGET = 2_000_000_000
"""Most cell evaluations (cells × configs) of one call: some seconds on one core."""


@njit("f8[::1](f8[:,::1], f8[:,::1], f8[:,::1], i8[::1], i8[:,:,::1])", cache=True)
def _expected(mean: Floats, sd: Floats, edges: Floats, counts: Ints, cells: Ints) -> Floats:
    """Sum over cells of the product over objectives of A(upper) - A(lower), `n`.

    A(u) = ∫_{-∞}^{u} Φ((x - m)/s) dx = s·(z·Φ(z) + φ(z)), z = (u - m)/s, worked out once per edge.
    """
    n, k = mean.shape
    out = np.empty(n)
    reach = np.zeros((k, edges.shape[1]))
    for i in range(n):
        for j in range(k):
            for e in range(1, counts[j]):
                z = (edges[j, e] - mean[i, j]) / sd[i, j]
                below = 0.5 * math.erfc(-z * 0.7071067811865476)
                reach[j, e] = sd[i, j] * (z * below + 0.3989422804014327 * math.exp(-0.5 * z * z))
        total = 0.0
        for c in range(cells.shape[0]):
            share = 1.0
            for j in range(k):
                share *= reach[j, cells[c, j, 1]] - reach[j, cells[c, j, 0]]
            total += share
        out[i] = total
    return out


def _cells(codes: Ints, ends: tuple[int, ...]) -> list[list[tuple[int, int]]]:
    """Boxes that tile what the front does not dominate, as edge numbers (lower, upper) per objective.

    `codes` is `f x k`, edge numbers of the front's points; `ends` the reference's edge numbers; edge 0 is -∞.
    """
    if len(ends) == 1:
        return [[(0, int(codes[:, 0].min()) if len(codes) else ends[0])]]
    boxes: list[list[tuple[int, int]]] = []
    levels = [0, *sorted({int(level) for level in codes[:, -1]}), ends[-1]]
    for low, high in itertools.pairwise(levels):
        base = codes[codes[:, -1] <= low][:, :-1] if low else codes[:0, :-1]
        base = base[non_dominated(base.astype(np.float64))]
        boxes += [[*box, (low, high)] for box in _cells(base, ends[:-1])]
    return boxes


def _tile(front: Floats, reference: Floats) -> tuple[Floats, Ints, Ints]:
    """Edges `k x most`, how many each objective has, and cells `c x k x 2` for a front below the reference."""
    k = len(reference)
    codes = np.zeros(front.shape, np.int64)
    edges = np.zeros((k, len(front) + 2))
    counts = np.zeros(k, np.int64)
    for j in range(k):
        levels, code = np.unique(front[:, j], return_inverse=True)
        codes[:, j] = code + 1
        counts[j] = len(levels) + 2
        edges[j, : counts[j]] = [-np.inf, *levels, reference[j]]
    boxes = _cells(codes, tuple(int(count) - 1 for count in counts))
    return edges, counts, np.array(boxes, np.int64).reshape(-1, k, 2)


def _thinned(front: Floats, count: int) -> Floats:
    """`count` front points spread out greedily (farthest first from the ideal's nearest), scaled per objective."""
    span = np.ptp(front, axis=0)
    scaled = (front - front.min(axis=0)) / np.where(span > 0, span, 1.0)
    chosen = [int(np.argmin((scaled**2).sum(axis=1)))]
    distance = ((scaled - scaled[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((scaled - scaled[chosen[-1]]) ** 2).sum(axis=1))
    return front[chosen]


def expected_improvement(mean: Floats, sd: Floats, losses: Floats, reference: Floats) -> Floats:
    """Expected hypervolume improvement of each config, `n`, exact, for any number of objectives.

    The region that the front leaves free is tiled with boxes (cell decomposition, Couckuyt et al. 2014); the expected
    volume gained in a box is a product of one-dimensional integrals (Yang et al. 2019). Where the boxes are too many
    for all configs (many points, four objectives or more), a thinned front gives every config an upper bound, and
    only the most promising ones get the exact value; the others keep 0.

    Args:
        mean: predicted losses, `n x k`.
        sd: their standard deviations, `n x k`, positive.
        losses: what was measured, `t x k`; rows with NaN, or not below the reference, do not matter.
        reference: worst losses that count, `k`.
    """
    mean, sd = np.ascontiguousarray(mean), np.ascontiguousarray(np.maximum(sd, 1e-12))
    below = losses[(losses < reference).all(axis=1)]
    front = np.unique(below[non_dominated(below)], axis=0)
    bound, count = np.zeros(0), len(front)
    while _count_bound(count, len(reference)) * len(mean) > CELL_BUDGET and count > 2:
        count //= 2
    value: Floats = _expected(mean, sd, *_tile(_thinned(front, count) if count < len(front) else front, reference))
    if count == len(front):
        return value
    bound, tiles = value, _tile(front, reference)
    promising = np.argsort(-bound, kind="stable")[: max(1, CELL_BUDGET // len(tiles[2]))]
    exact = np.zeros(len(mean))
    exact[promising] = _expected(mean[promising], sd[promising], *tiles)
    return exact


def _count_bound(points: int, k: int) -> int:
    """About how many boxes a front of so many points leaves free: (f + 1) choose (k - 1), at most."""
    return math.comb(points + k - 1, k - 1)


def probability_of_feasibility(evidence: Floats, mean: Floats, sd: Floats) -> Floats:
    """Probability that a config starts and answers, `n`: Φ((h + m) / √(.25 + s²)).

    Args:
        evidence: clipped memory headroom h, `n`; 0 where unknown.
        mean: the outcome model's mean m, `n`: about +1 near what worked and -1 near what failed.
        sd: the outcome model's standard deviation s, `n`.
    """
    from scipy.special import ndtr

    probability: Floats = ndtr((evidence + mean) / np.sqrt(0.25 + sd**2))
    return probability
