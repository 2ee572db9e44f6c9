"""From scattered measurements to a packed grid: repeats as their median, holes filled, spreads from leaving knots out.

Notation: r rows; a table has up to four axes of coordinates and any number of keys, which tell its s slices apart.
Those of one shape, g of them, are packed together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.prediction import Bools, Floats
from model.tables.answer import EXTRAPOLATED, INTERPOLATED, MEASURED
from model.tables.distinct import distinct, medians
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
    measured = _measured(which, arguments, seconds, len(named))
    shapes, shape_of = np.unique(measured.sizes, axis=0, return_inverse=True)
    groups = [np.flatnonzero(shape_of.reshape(-1) == number) for number in range(len(shapes))]
    blocks = [_block(rows, measured, named[rows], base, coordinate, factor) for rows in groups]
    return _joined(named, measured, blocks)


@dataclass(frozen=True)
class _Measured:
    """The grids of s slices below each other: `values` (NaN where nothing was measured) of each from `offsets` on, of
    shape `sizes` (`s x 4`), and the `arguments` of its knots along each of up to four axes, from `starts` on."""

    sizes: Ints
    offsets: Ints
    values: Floats
    starts: list[Ints]
    arguments: list[Floats]

    def places(self, rows: Ints) -> Ints:
        """Where the values of slices of one shape stand, `g x v`."""
        return np.asarray(self.offsets[rows, None] + np.arange(self.sizes[rows[0]].prod()))

    def axes(self, rows: Ints) -> list[Floats]:
        """The arguments of slices of one shape, `g x k` along each of the four axes: 0 where it has none."""
        own = [
            values[starts[rows, None] + np.arange(size)]
            for values, starts, size in zip(self.arguments, self.starts, self.sizes[rows[0]], strict=False)
        ]
        return own + [np.zeros((len(rows), 1))] * (AXES - len(own))


def _measured(which: Ints, arguments: Sequence[Floats], seconds: Floats, slices: int) -> _Measured:
    sizes, place = np.ones((slices, AXES), np.int64), np.zeros(len(which), np.int64)
    starts, knots = [], []
    for axis, values in enumerate(arguments):
        first, kind = distinct([which, values], len(which))
        sizes[:, axis] = np.bincount(which[first], minlength=slices)
        starts.append(_before(sizes[:, axis]))
        knots.append(values[first])
        place = place * sizes[which, axis] + kind - starts[-1][which]
    volumes = sizes.prod(axis=1)
    offsets = _before(volumes)
    return _Measured(sizes, offsets, medians(offsets[which] + place, seconds, volumes.sum()), starts, knots)


def _before(counts: Ints) -> Ints:
    """How many there are before each."""
    return np.asarray(np.cumsum(counts) - counts)


@dataclass(frozen=True)
class _Block:
    """The packed grids of slices of one shape: `knots` `g x k` along each of the four axes, `values` and `codes`
    `g x ...`, and along each axis the errors of knots that were left out, and whose they are."""

    slices: Ints
    axes: list[Floats]
    knots: list[Floats]
    values: Floats
    codes: npt.NDArray[np.int8]
    errors: list[tuple[Floats, Ints]]


def _block(rows: Ints, measured: _Measured, keys: Floats, base: Base, coordinate: Coordinate, factor: float) -> _Block:
    axes, count = measured.axes(rows), len(measured.arguments)
    values = measured.values[measured.places(rows)].reshape(len(rows), *measured.sizes[rows[0]])
    named = tuple(keys.T[:, :, None])
    knots = [coordinate(axis, own, named) if axis < count else own for axis, own in enumerate(axes)]
    known = np.isfinite(values)
    codes = np.where(known, MEASURED, EXTRAPOLATED).astype(np.int8)
    if not known.all() or np.isfinite(factor):
        ideal = _ideal(axes[:count], keys, values.shape, base)
        wrong, said = on_grid(np.log(values / ideal), factor, 1)
        values = np.where(wrong, np.exp(said) * ideal, values)
        codes[wrong] = INTERPOLATED
    errors = [left_out(values, knots[axis], axis + 1) for axis in range(AXES)]
    if not known.all():
        values = np.where(known, values, _filled(values / ideal) * ideal)
    return _Block(rows, axes, knots, values, codes, [(wrong_by, rows[whose]) for wrong_by, whose in errors])


def _ideal(axes: Sequence[Floats], keys: Floats, shape: tuple[int, ...], base: Base) -> Floats:
    """The formula at every place, `g x ...`."""
    mesh = []
    for number, axis in enumerate(axes):
        along = axis.reshape(len(axis), *[-1 if number == other else 1 for other in range(AXES)])
        mesh.append(np.broadcast_to(along, shape).ravel())
    volume = int(np.prod(shape[1:]))
    return np.asarray(base(tuple(np.repeat(column, volume) for column in keys.T), mesh)).reshape(shape)


def _filled(ratios: Floats) -> Floats:
    """Unknown places take the nearest known value along the last axis, then along the one before, and so on; the first
    axis tells grids apart."""
    for axis in reversed(range(1, ratios.ndim)):
        if ratios.shape[axis] > 1:
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


def _joined(keys: Floats, measured: _Measured, blocks: Sequence[_Block]) -> Table:
    sizes, slices = measured.sizes, len(keys)
    ends = np.cumsum(sizes.ravel()).reshape(sizes.shape)
    bounds = np.concatenate([np.r_[0, ends[:-1, -1]][:, None], ends], axis=1)
    knots, values = np.empty(ends[-1, -1]), np.empty(len(measured.values))
    codes, has_others = np.empty(len(values), np.int8), np.empty(slices, bool)
    lows, highs = np.empty((slices, AXES)), np.empty((slices, AXES))
    for block in blocks:
        rows, places = block.slices, measured.places(block.slices)
        values[places], codes[places] = block.values.reshape(places.shape), block.codes.reshape(places.shape)
        has_others[rows] = (codes[places] != MEASURED).any(axis=1)
        for axis, (own, found) in enumerate(zip(block.axes, block.knots, strict=True)):
            knots[bounds[rows, axis, None] + np.arange(found.shape[1])] = found
            lows[rows, axis], highs[rows, axis] = own[:, 0], own[:, -1]
    spread = np.stack([_spread([block.errors[axis] for block in blocks], slices) for axis in range(AXES)], axis=1)
    packed = Packed(knots, bounds.astype(np.int64), values, codes, has_others, measured.offsets, spread, NOISE)
    return Table(packed, keys, lows, highs)


def _spread(parts: Sequence[tuple[Floats, Ints]], slices: int) -> Floats:
    errors, whose = (np.concatenate(column) for column in zip(*parts, strict=True))
    return spread_of(errors, whose, slices)
