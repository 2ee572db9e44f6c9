"""Lengths of a sample in the field's notation: fixed, uniform or normal where that is within chance, else quantiles."""

from __future__ import annotations

from math import erf, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from model.simulate.blocks import Ints
from model.simulate.costs import Floats
from perfdb.lengths import Lengths, Shape

_FIXED = 8
"""So many kinds of requests, each of fixed lengths, are told one by one."""
_NODES = 25
_GROUPS = 500
_CRITICAL = 1.63
"""Kolmogorov's: a sample of the distribution itself is farther from it, times √n, in 1 of 100 cases."""


def fit_lengths(prompt: Ints, output: Ints) -> Lengths:
    """The distribution of n pairs of tokens, prompts and answers each by itself."""
    sides = prompt, output
    pairs, counts = np.unique(np.column_stack(sides), axis=0, return_counts=True)
    if len(pairs) == 1 or len(pairs) <= min(_FIXED, len(prompt) // 100):
        shapes = [Shape("D", (isl, isl), (osl, osl)) for isl, osl in pairs.astype(np.float64).tolist()]
        return Lengths(tuple(zip((counts / len(prompt)).tolist(), shapes, strict=True)))
    for kind, parameters, distance in (("U", _bounds, _from_uniform), ("N", _bell, _from_normal)):
        found = [parameters(side) for side in sides]
        if all(distance(side, *pair) <= _CRITICAL / sqrt(len(side)) for side, pair in zip(sides, found, strict=True)):
            return _lengths(kind, *found)
    return _lengths("Q", *(tuple(np.maximum(np.rint(quantile_nodes(side, _NODES)), 1).tolist()) for side in sides))


def quantile_nodes(values: npt.NDArray[Any], nodes: int) -> tuple[float, ...]:
    """A piecewise linear quantile function with so many nodes at equal steps: least squares, so it keeps the mean."""
    ordered = np.sort(values).astype(np.float64)
    if ordered[0] == ordered[-1]:
        return float(ordered[0]), float(ordered[0])
    levels = (np.arange(len(ordered)) + 0.5) / len(ordered)
    if len(ordered) > _GROUPS:
        groups = np.array_split(np.arange(len(ordered)), _GROUPS)
        ordered, levels = (np.array([column[rows].mean() for rows in groups]) for column in (ordered, levels))
    places = levels * (nodes - 1)
    hats = np.maximum(1.0 - np.abs(places[:, None] - np.arange(nodes)), 0.0)
    # few values leave some nodes free: those stay near the plain quantiles
    plain = np.interp(np.linspace(0.0, 1.0, nodes), levels, ordered)
    pull = 1e-3 * np.eye(nodes)
    solved = plain + np.linalg.lstsq(np.vstack([hats, pull]), np.append(ordered - hats @ plain, np.zeros(nodes)))[0]
    mass = np.array([0.5, *np.ones(nodes - 2), 0.5])
    return tuple(np.clip(_rising(solved, mass), values.min(), values.max()).tolist())


def _rising(values: Floats, weights: Floats) -> Floats:
    """The nearest sequence that nowhere falls: neighbours that do are pooled (Ayer et al. 1955); the mean stays."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m, i), (b, n, j) = pools[-2:]
            pools[-2:] = [((a * m + b * n) / (m + n), m + n, i + j)]
    return np.repeat([value for value, _, _ in pools], [count for _, _, count in pools])


def _lengths(kind: str, prompt: tuple[float, ...], answer: tuple[float, ...]) -> Lengths:
    return Lengths(((1.0, Shape(kind, prompt, answer)),))


def _bounds(side: Ints) -> tuple[float, float]:
    return float(side.min()), float(side.max())


def _bell(side: Ints) -> tuple[float, float]:
    """Mean and deviation by the middle two thirds: the cut tails do not count."""
    low, middle, high = np.quantile(side, [0.158655, 0.5, 0.841345])
    return max(round(float(middle), 1), 1.0), round(float(high - low) / 2, 1)


def _from_uniform(side: Ints, low: float, high: float) -> float:
    return _distance(side, lambda x: np.clip((x - low + 0.5) / (high - low + 1.0), 0.0, 1.0))


def _from_normal(side: Ints, mean: float, deviation: float) -> float:
    if deviation == 0:
        return 1.0 if side.min() != side.max() else 0.0

    def below(x: Floats) -> Floats:
        inside = np.array([0.5 * (1.0 + erf((each - mean) / deviation / sqrt(2.0))) for each in x.tolist()])
        return np.where(x < 1.0, 0.0, np.where(x >= mean + 3 * deviation, 1.0, inside))

    return _distance(side, below)


def _distance(side: Ints, below: Any) -> float:
    """Between the share of values up to each whole number and what the distribution says, its largest difference."""
    values, counts = np.unique(side, return_counts=True)
    reached = np.cumsum(counts) / len(side)
    return float(np.abs(reached - below(values + 0.5)).max())
