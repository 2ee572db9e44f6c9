"""From scattered measurements to a packed grid: repeats as their median, holes filled, spreads from leaving knots out.

Notation: r rows; a table has up to four axes of coordinates and any number of keys, which tell its slices apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.prediction import Bools, Floats
from model.tables.answer import EXTRAPOLATED, INTERPOLATED, MEASURED
from model.tables.distinct import distinct
from model.tables.glitches import on_grid
from model.tables.grid import AXES, Ints, Packed
from model.tables.kernels import Base, Coordinate
from model.tables.lines import pack_lines
from model.tables.spread import NOISE, left_out, spread_of


@dataclass(frozen=True)
class Table:
    """A packed grid; `keys` `s x key` are those of its slices, `lows` and `highs` `s x 4` its outermost arguments."""

    packed: Packed
    keys: Floats
    lows: Floats
    highs: Floats


def pack(
    keys: Floats,
    arguments: Sequence[Floats],
    seconds: Floats,
    base: Base,
    coordinate: Coordinate,
    factor: float = np.inf,
) -> Table:
    """A table of r measurements.

    Args:
        keys: `r x key`, numbers; rows of equal keys form a slice.
        arguments: up to four arrays `r`, one for each axis.
        seconds: `r`, positive.
        base: fills holes: they have the ratio to it of the nearest measured place along the last axis that has one.
        coordinate: ascending in the arguments of each axis.
        factor: measurements so many times what their neighbours say (see `model.tables.glitches`), or less than that
            part of it, are replaced by what these say.
    """
    first, which = distinct(list(keys.T), len(seconds))
    named = keys[first]
    if len(arguments) == 1:
        packed, lows, highs = pack_lines(named, which, arguments[0], seconds, base, coordinate, factor)
        return Table(packed, named, lows, highs)
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which, minlength=len(named)))
    slices = []
    for number, rows in enumerate(np.split(order, ends[:-1])):
        own = [axis[rows] for axis in arguments]
        slices.append(_slice(named[number], own, seconds[rows], base, coordinate, factor))
    return _joined(named, slices)


@dataclass(frozen=True)
class _Slice:
    arguments: list[Floats]
    knots: list[Floats]
    values: Floats
    codes: npt.NDArray[np.int8]
    errors: list[Floats]


def _slice(
    key: Floats, arguments: Sequence[Floats], seconds: Floats, base: Base, coordinate: Coordinate, factor: float
) -> _Slice:
    found = [np.unique(axis, return_inverse=True) for axis in arguments]
    axes = [values for values, _ in found] + [np.zeros(1)] * (AXES - len(found))
    shape = tuple(len(axis) for axis in axes)
    places = [place.reshape(-1) for _, place in found] + [np.zeros(len(seconds), np.int64)] * (AXES - len(found))
    values = _medians(np.ravel_multi_index(places, shape), seconds, shape)
    knots = [coordinate(number, axis, tuple(key)) if number < len(found) else axis for number, axis in enumerate(axes)]
    known = np.isfinite(values)
    codes = np.where(known, MEASURED, EXTRAPOLATED).astype(np.int8)
    if not known.all() or np.isfinite(factor):
        mesh = [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]
        ideal = base(tuple(key), mesh[: len(found)]).reshape(shape)
        wrong, said = on_grid(np.log(values / ideal), factor)
        values = np.where(wrong, np.exp(said) * ideal, values)
        codes[wrong] = INTERPOLATED
    errors = [left_out(values, knots[axis], axis) for axis in range(AXES)]
    if not known.all():
        values = np.where(known, values, _filled(values / ideal) * ideal)
    return _Slice(axes, knots, values, codes, errors)


def _medians(places: Ints, seconds: Floats, shape: tuple[int, ...]) -> Floats:
    """The median of the rows of each place, NaN where there is none."""
    values = np.full(shape, np.nan)
    if np.bincount(places).max() == 1:
        values.flat[places] = seconds
        return values
    order = np.lexsort((seconds, places))
    places, seconds = places[order], seconds[order]
    starts = np.flatnonzero(np.r_[True, np.diff(places) > 0])
    counts = np.diff(np.r_[starts, len(places)])
    values.flat[places[starts]] = (seconds[starts + (counts - 1) // 2] + seconds[starts + counts // 2]) / 2.0
    return values


def _filled(ratios: Floats) -> Floats:
    """Unknown places take the nearest known value along the last axis, then along the one before, and so on."""
    for axis in reversed(range(ratios.ndim)):
        lines = np.moveaxis(ratios, axis, -1)
        ratios = np.moveaxis(np.take_along_axis(lines, nearest(np.isfinite(lines)), axis=-1), -1, axis)
    return ratios


def nearest(known: Bools) -> Ints:
    """Along the last axis, the index of the nearest known place, of two as near the first; 0 where there is none."""
    length = known.shape[-1]
    at = np.arange(length)
    before = np.maximum.accumulate(np.where(known, at, -length), axis=-1)
    after = np.minimum.accumulate(np.where(known, at, 2 * length)[..., ::-1], axis=-1)[..., ::-1]
    found = np.where(at - before <= after - at, before, after)
    return np.where((found >= 0) & (found < length), found, 0)


def _joined(keys: Floats, slices: Sequence[_Slice]) -> Table:
    sizes = np.array([[len(axis) for axis in part.knots] for part in slices])
    ends = np.cumsum(sizes.ravel()).reshape(sizes.shape)
    bounds = np.concatenate([np.r_[0, ends[:-1, -1]][:, None], ends], axis=1)
    volumes = np.r_[0, np.cumsum(sizes.prod(axis=1))[:-1]]
    spread = np.stack([spread_of([part.errors[axis] for part in slices]) for axis in range(AXES)], axis=1)
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
