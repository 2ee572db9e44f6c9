"""From scattered measurements to a packed grid: repeats as their median, holes filled, spreads from leaving knots out.

Notation: r rows; a table has up to four axes of coordinates and any number of keys, which tell its slices apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.prediction import Floats
from model.tables.answer import EXTRAPOLATED, MEASURED
from model.tables.grid import AXES, Ints, Packed
from model.tables.kernels import Base, Coordinate

NOISE = 0.015
"""sd of the logarithm of one measured latency when measured again: what repeats in public tables differ by."""
UNTRIED = 0.15
"""Spread between two knots of an axis that has no third one to check by."""
_NINE_TENTHS = 1.645
_LEAST_CHECKS = 20
_LEAST_WAY, _BESIDE = 0.25, 0.02


@dataclass(frozen=True)
class Table:
    """A packed grid; `keys` `s x key` are those of its slices, `lows` and `highs` `s x 4` its outermost arguments."""

    packed: Packed
    keys: Floats
    lows: Floats
    highs: Floats


def pack(keys: Floats, arguments: Sequence[Floats], seconds: Floats, base: Base, coordinate: Coordinate) -> Table:
    """A table of r measurements.

    Args:
        keys: `r x key`, numbers; rows of equal keys form a slice.
        arguments: up to four arrays `r`, one for each axis.
        seconds: `r`, positive.
        base: fills holes: they have the ratio to it of the nearest measured place along the last axis that has one.
        coordinate: ascending in the arguments of each axis.
    """
    named, which = np.unique(keys, axis=0, return_inverse=True)
    which = which.reshape(-1)
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which, minlength=len(named)))
    slices = []
    for number, rows in enumerate(np.split(order, ends[:-1])):
        slices.append(_slice(named[number], [axis[rows] for axis in arguments], seconds[rows], base, coordinate))
    return _joined(named, slices)


@dataclass(frozen=True)
class _Slice:
    arguments: list[Floats]
    knots: list[Floats]
    values: Floats
    codes: npt.NDArray[np.int8]
    errors: list[Floats]


def _slice(key: Floats, arguments: Sequence[Floats], seconds: Floats, base: Base, coordinate: Coordinate) -> _Slice:
    found = [np.unique(axis, return_inverse=True) for axis in arguments]
    axes = [values for values, _ in found] + [np.zeros(1)] * (AXES - len(found))
    shape = tuple(len(axis) for axis in axes)
    places = [place.reshape(-1) for _, place in found] + [np.zeros(len(seconds), np.int64)] * (AXES - len(found))
    values = _medians(np.ravel_multi_index(places, shape), seconds, shape)
    knots = [coordinate(number, axis, tuple(key)) if number < len(found) else axis for number, axis in enumerate(axes)]
    errors = [_left_out(values, knots[axis], axis) for axis in range(AXES)]
    known = np.isfinite(values)
    if not known.all():
        mesh = [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]
        ideal = base(tuple(key), mesh[: len(found)]).reshape(shape)
        values = np.where(known, values, _filled(values / ideal) * ideal)
    codes = np.where(known, MEASURED, EXTRAPOLATED).astype(np.int8)
    return _Slice(axes, knots, values, codes, errors)


def _medians(places: Ints, seconds: Floats, shape: tuple[int, ...]) -> Floats:
    """The median of the rows of each place, NaN where there is none."""
    order = np.lexsort((seconds, places))
    places, seconds = places[order], seconds[order]
    starts = np.flatnonzero(np.r_[True, np.diff(places) > 0])
    counts = np.diff(np.r_[starts, len(places)])
    values = np.full(shape, np.nan)
    values.flat[places[starts]] = (seconds[starts + (counts - 1) // 2] + seconds[starts + counts // 2]) / 2.0
    return values


def _left_out(values: Floats, knots: Floats, axis: int) -> Floats:
    """|log(predicted / measured)| of every inner knot of an axis, predicted from its two neighbours.

    They are counted as halfway between two knots. Of knots beside each other, on both sides of a tile, one is.
    """
    apart = np.r_[True, np.diff(knots) > _BESIDE * knots[1:]]
    knots, moved = knots[apart], np.moveaxis(values, axis, -1)[..., apart]
    if len(knots) < 3:
        return np.empty(0)
    share = (knots[1:-1] - knots[:-2]) / (knots[2:] - knots[:-2])
    way = 2.0 * np.minimum(share, 1.0 - share)
    errors = np.log(((1.0 - share) * moved[..., :-2] + share * moved[..., 2:]) / moved[..., 1:-1])
    errors = (errors / np.where(way > 0, way, np.nan))[..., way > _LEAST_WAY]
    return np.abs(errors[np.isfinite(errors)])


def _filled(ratios: Floats) -> Floats:
    """Unknown places take the nearest known value along the last axis, then along the one before, and so on."""
    for axis in reversed(range(ratios.ndim)):
        lines = np.moveaxis(ratios, axis, -1)
        length = lines.shape[-1]
        steps = np.where(
            np.isfinite(lines)[..., None, :], np.abs(np.subtract.outer(np.arange(length), np.arange(length))), length
        )
        nearest = np.take_along_axis(lines, steps.argmin(axis=-1), axis=-1)
        ratios = np.moveaxis(np.where(np.isfinite(lines), lines, nearest), -1, axis)
    return ratios


def _joined(keys: Floats, slices: Sequence[_Slice]) -> Table:
    sizes = np.array([[len(axis) for axis in part.knots] for part in slices])
    ends = np.cumsum(sizes.ravel()).reshape(sizes.shape)
    bounds = np.concatenate([np.r_[0, ends[:-1, -1]][:, None], ends], axis=1)
    volumes = np.r_[0, np.cumsum(sizes.prod(axis=1))[:-1]]
    all_errors = [np.concatenate([part.errors[axis] for part in slices]) for axis in range(AXES)]
    spread = np.array(
        [[_spread(own, other) for own, other in zip(part.errors, all_errors, strict=True)] for part in slices]
    )
    packed = Packed(
        np.concatenate([axis for part in slices for axis in part.knots]),
        bounds.astype(np.int64),
        np.concatenate([part.values.ravel() for part in slices]),
        np.concatenate([part.codes.ravel() for part in slices]),
        np.array([bool((part.codes != MEASURED).any()) for part in slices]),
        volumes.astype(np.int64),
        spread,
        NOISE,
    )
    lows = np.array([[axis[0] for axis in part.arguments] for part in slices])
    highs = np.array([[axis[-1] for axis in part.arguments] for part in slices])
    return Table(packed, keys, lows, highs)


def _spread(own: Floats, others: Floats) -> float:
    """sd that covers nine tenths of the errors of a slice, of all slices where it has few."""
    errors = own if len(own) >= _LEAST_CHECKS else others
    return float(np.quantile(errors, 0.9)) / _NINE_TENTHS if len(errors) else UNTRIED
