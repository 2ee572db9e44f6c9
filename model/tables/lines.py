"""Tables of one axis packed all slices at once: those of experts have thousands of slices with twenty knots each.

Notation: r rows, s slices, n knots of all slices together, of which each has its own, ascending.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.prediction import Floats
from model.tables.answer import INTERPOLATED, MEASURED
from model.tables.distinct import distinct, medians
from model.tables.glitches import on_lines
from model.tables.grid import AXES, Ints, Packed
from model.tables.kernels import Base, Coordinate
from model.tables.spread import BESIDE, LEAST_WAY, NOISE, UNTRIED, spread_of

_PADDING = AXES - 1


def pack_lines(
    keys: Floats,
    which: Ints,
    argument: Floats,
    seconds: Floats,
    base: Base,
    coordinate: Coordinate,
    factor: float,
) -> tuple[Packed, Floats, Floats]:
    """The grid of r rows, and the lowest and highest arguments of its slices, `s x 4`.

    Args:
        keys: of the slices, `s x key`.
        which: slice of each row, `r`; every slice has one.
        argument: `r`, and what time it took, `seconds`, `r`.
        base, coordinate, factor: see `model.tables.pack.pack`.
    """
    first, kind = distinct([which, argument], len(which))
    values = medians(kind, seconds, len(first))
    at, argument = which[first], argument[first]
    named = tuple(keys[at].T)
    knots, codes = coordinate(0, argument, named), np.full(len(values), MEASURED, np.int8)
    if np.isfinite(factor):
        ideal = base(named, [argument])
        wrong, said = on_lines(np.log(values / ideal), at, factor)
        values = np.where(wrong, np.exp(said) * ideal, values)
        codes[wrong] = INTERPOLATED
    sizes = np.bincount(at, minlength=len(keys))
    firsts = np.cumsum(sizes) - sizes
    begins = firsts + _PADDING * np.arange(len(keys))  # the axes that are not there have the knot 0 each
    padded = np.zeros(len(knots) + _PADDING * len(keys))
    padded[np.arange(len(knots)) + _PADDING * at] = knots
    bounds = begins[:, None] + np.c_[np.zeros(len(keys), np.int64), sizes[:, None] + np.arange(AXES)]
    packed = Packed(
        padded,
        np.ascontiguousarray(bounds, np.int64),
        values,
        codes,
        np.bincount(at, weights=codes, minlength=len(keys)) > 0,
        firsts.astype(np.int64),
        _spreads(values, knots, at, len(keys)),
        NOISE,
    )
    ends = np.zeros((2, len(keys), AXES))
    ends[:, :, 0] = argument[firsts], argument[firsts + sizes - 1]
    return packed, ends[0], ends[1]


def _spreads(values: Floats, knots: Floats, at: npt.NDArray[np.int64], slices: int) -> Floats:
    """`s x 4`: as `model.tables.pack` has them, from every inner knot left out."""
    is_first = np.r_[True, np.diff(at) > 0]
    apart = is_first | np.r_[True, np.diff(knots) > BESIDE * knots[1:]]
    values, knots, at = values[apart], knots[apart], at[apart]
    inner = np.flatnonzero(at[2:] == at[:-2]) + 1
    low, middle, high = knots[inner - 1], knots[inner], knots[inner + 1]
    share = (middle - low) / (high - low)
    way = 2.0 * np.minimum(share, 1.0 - share)
    predicted = (1.0 - share) * values[inner - 1] + share * values[inner + 1]
    checked = way > LEAST_WAY
    errors = np.abs(np.log(predicted / values[inner]))[checked] / way[checked]
    found = np.full((slices, AXES), UNTRIED)
    found[:, 0] = spread_of(errors, at[inner][checked], slices)
    return found
