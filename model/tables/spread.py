"""How far answers between measured knots stray, from leaving knots out."""

from __future__ import annotations

import numpy as np

from model.prediction import Floats
from model.tables.grid import Ints

NOISE = 0.015
"""sd of the logarithm of one measured latency when measured again: what repeats in public tables differ by."""
UNTRIED = 0.15
"""Spread between two knots of an axis that has no third one to check by."""
LEAST_WAY, BESIDE = 0.25, 0.02
_NINE_TENTHS = 1.645
_LEAST_CHECKS = 20


def left_out(values: Floats, knots: Floats, axis: int) -> tuple[Floats, Ints]:
    """|log(predicted / measured)| of every inner knot of an axis, predicted from its two neighbours, and whose it is.

    They are counted as halfway between two knots. Of knots beside each other, on both sides of a tile, one is.

    Args:
        values: of g grids of one shape, `g x ...`.
        knots: of the axis, `g x k`.
        axis: its number, from 1 on.
    """
    if knots.shape[1] < 3:
        return np.empty(0), np.empty(0, np.int64)
    apart, moved = np.ones(knots.shape, bool), np.moveaxis(values, axis, -1)
    apart[:, 1:] = np.diff(knots) > BESIDE * knots[:, 1:]
    if apart.all():
        return _known(_halfway(moved, knots), np.arange(len(knots)))
    masks, alike = np.unique(apart, axis=0, return_inverse=True)
    groups = [np.flatnonzero(alike.reshape(-1) == number) for number in range(len(masks))]
    found = [
        _known(_halfway(moved[rows][..., mask], knots[rows][:, mask]), rows)
        for rows, mask in zip(groups, masks, strict=True)
    ]
    errors, whose = zip(*found, strict=True)
    return np.concatenate(errors), np.concatenate(whose)


def _known(errors: Floats, rows: Ints) -> tuple[Floats, Ints]:
    """The sizes of the errors that are known, and of the grids at which `rows` they are."""
    known = np.isfinite(errors)
    return np.abs(errors[known]), np.repeat(rows, known.reshape(len(rows), -1).sum(axis=1))


def _halfway(values: Floats, knots: Floats) -> Floats:
    """log(predicted / measured) of inner knots along the last axis of g grids, NaN where nothing tells."""
    share = (knots[:, 1:-1] - knots[:, :-2]) / (knots[:, 2:] - knots[:, :-2])
    share = share.reshape(len(share), *[1] * (values.ndim - 2), -1)
    way = 2.0 * np.minimum(share, 1.0 - share)
    predicted = (1.0 - share) * values[..., :-2] + share * values[..., 2:]
    return np.asarray(np.log(predicted / values[..., 1:-1]) / np.where(way > LEAST_WAY, way, np.nan))


def spread_of(errors: Floats, whose: Ints, slices: int) -> Floats:
    """sd, one of each slice, that covers nine tenths of its errors, and of all slices' where it has few.

    Args:
        errors: absolute ones, `e`.
        whose: the slice of each, `e`.
        slices: how many there are.
    """
    found = np.full(slices, _covering(errors[None])[0] if len(errors) else UNTRIED)
    if slices > 1:
        counts, ordered = np.bincount(whose, minlength=slices), errors[np.argsort(whose, kind="stable")]
        first = np.cumsum(counts) - counts
        for count in np.unique(counts[counts >= _LEAST_CHECKS]):
            own = np.flatnonzero(counts == count)
            found[own] = _covering(ordered[first[own, None] + np.arange(count)])
    return found


def _covering(errors: Floats) -> Floats:
    """Of g times e errors, `g`, from the quantile between its neighbours: np.quantile takes ten times as long."""
    last = errors.shape[1] - 1
    low, way = divmod(0.9 * last, 1.0)
    ends = [int(low), min(int(low) + 1, last)]
    below, above = np.partition(errors, ends, axis=1)[:, ends].T
    return np.asarray((below + way * (above - below)) / _NINE_TENTHS)
