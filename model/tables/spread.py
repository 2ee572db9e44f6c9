"""How far answers between measured knots stray, from leaving knots out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.prediction import Floats

NOISE = 0.015
"""sd of the logarithm of one measured latency when measured again: what repeats in public tables differ by."""
UNTRIED = 0.15
"""Spread between two knots of an axis that has no third one to check by."""
LEAST_WAY, BESIDE = 0.25, 0.02
_NINE_TENTHS = 1.645
_LEAST_CHECKS = 20


def left_out(values: Floats, knots: Floats, axis: int) -> Floats:
    """|log(predicted / measured)| of every inner knot of an axis, predicted from its two neighbours.

    They are counted as halfway between two knots. Of knots beside each other, on both sides of a tile, one is.
    """
    if len(knots) < 3:
        return np.empty(0)
    apart = np.r_[True, np.diff(knots) > BESIDE * knots[1:]]
    knots, moved = knots[apart], np.moveaxis(values, axis, -1)[..., apart]
    if len(knots) < 3:
        return np.empty(0)
    share = (knots[1:-1] - knots[:-2]) / (knots[2:] - knots[:-2])
    way = 2.0 * np.minimum(share, 1.0 - share)
    inner = np.flatnonzero(way > LEAST_WAY)
    low, high = (1.0 - share[inner]) * moved[..., inner], share[inner] * moved[..., inner + 2]
    errors = np.log((low + high) / moved[..., inner + 1]) / way[inner]
    return np.abs(errors[np.isfinite(errors)])


def spread_of(errors: Sequence[Floats]) -> Floats:
    """sd, `s`, that covers nine tenths of the errors of each of s slices, of all slices where it has few."""
    every = np.concatenate(errors)
    common = _covering(every) if len(every) else UNTRIED
    return np.array([_covering(own) if len(own) >= _LEAST_CHECKS else common for own in errors])


def _covering(errors: Floats) -> float:
    """From the quantile between its neighbours; of thousands of short arrays np.quantile takes ten times as long."""
    ordered, at = np.sort(errors), 0.9 * (len(errors) - 1)
    low = int(at)
    return float(ordered[low] + (at - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])) / _NINE_TENTHS
