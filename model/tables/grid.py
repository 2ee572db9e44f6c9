"""Tables on grids of up to four arguments, packed into flat arrays and looked up ten million times a second.

Notation: a table has s slices (one for each combination of what is not interpolated: head size, window …), each with
four axes of ascending knots; an axis that the operation does not have has the one knot 0. Between knots the latency is
linear in every coordinate. Beyond the outermost knot the answer is that of the knot, and `far` is 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.loops import loop
from model.prediction import Floats
from model.tables.answer import EXTRAPOLATED, INTERPOLATED, MEASURED, Codes

Ints = npt.NDArray[np.int64]
AXES = 4
UNEVEN = 0.5
"""How much of a kernel's time goes in whole waves over the multiprocessors; the rest grows smoothly with its tiles."""


class Packed(NamedTuple):
    """s slices. `knots`: of all axes in a row, those of axis a of slice i are knots[bounds[i, a]:bounds[i, a + 1]].

    `values` (seconds) and `codes` of slice i start at offsets[i], last axis fastest; holes[i]: some were not measured.
    `spread[i, a]` is how far the answer strays between two knots of the axis (sd of the logarithm), `noise` how far a
    measurement does.
    """

    knots: Floats
    bounds: Ints
    values: Floats
    codes: Codes
    holes: npt.NDArray[np.bool_]
    offsets: Ints
    spread: Floats
    noise: float


@loop(nogil=True, error_model="numpy")
def look_up(
    table: Packed, which: Ints, a: Floats, b: Floats, c: Floats, d: Floats, waves: Floats
) -> tuple[Floats, Floats, Codes, Codes]:
    """(seconds, sd of their logarithm, provenance, far) of n places: slice `which` and its four coordinates.

    `which` and `d` may hold one number for all. `waves`, `n` or empty, says how many waves of the machine one unit of
    the first argument is: where that is known, time along it moves in steps (see `UNEVEN`).
    """
    n = len(a)
    seconds, sd = np.empty(n), np.empty(n)
    code, far = np.empty(n, dtype=np.int8), np.empty(n, dtype=np.int8)
    knots, bounds, values, codes, holes, offsets, spread, noise = table  # in the loop, each would be counted anew
    for row in range(n):
        at = which[row] if len(which) > 1 else which[0]
        b0, b1, b2 = bounds[at, 0], bounds[at, 1], bounds[at, 2]
        b3, b4 = bounds[at, 3], bounds[at, 4]
        i, u = place(knots, b0, b1, a[row])
        if len(waves) > 0 and 0.0 < u < 1.0:
            first = b0 + i
            u = _in_waves(knots[first], a[row], knots[first + 1], waves[row])
        j, v = place(knots, b1, b2, b[row])
        k, w = place(knots, b2, b3, c[row])
        m, x = place(knots, b3, b4, d[row] if len(d) > 1 else d[0])
        outside = u < 0.0 or u > 1.0 or v < 0.0 or v > 1.0 or w < 0.0 or w > 1.0 or x < 0.0 or x > 1.0
        i, u = _held(i, u)
        j, v = _held(j, v)
        k, w = _held(k, w)
        m, x = _held(m, x)
        fourth = b4 - b3
        third = fourth * (b3 - b2)
        second = third * (b2 - b1)
        corner = offsets[at] + i * second + j * third + k * fourth + m
        strides = (second, third, fourth)
        seconds[row] = _between(values, corner, strides, (u, v, w, x))
        worst = _worst(codes, corner, strides, (u, v, w, x)) if holes[at] else MEASURED
        between = (spread[at, 0] * _way(u)) ** 2 + (spread[at, 1] * _way(v)) ** 2
        between += (spread[at, 2] * _way(w)) ** 2 + (spread[at, 3] * _way(x)) ** 2
        if worst == INTERPOLATED:
            between += (spread[at] ** 2).sum()
        sd[row] = np.sqrt(noise**2 + between)
        far[row] = outside
        if outside or worst == EXTRAPOLATED:
            code[row] = EXTRAPOLATED
        else:
            code[row] = INTERPOLATED if u > 0.0 or v > 0.0 or w > 0.0 or x > 0.0 else worst
    return seconds, sd, code, far


@loop(nogil=True, error_model="numpy")
def place(knots: Floats, first: int, end: int, at: float) -> tuple[int, float]:
    """(knot below, share of the way to the next): below 0 or above 1 beyond the outermost knots."""
    last = end - first - 1
    if last == 0:
        return 0, 0.0 if at == knots[first] else -1.0
    low, left = 0, last
    while left > 1:  # without a branch that could be guessed wrong
        half = left >> 1
        low += half * (knots[first + low + half] <= at)
        left -= half
    below = knots[first + low]
    return low, (at - below) / (knots[first + low + 1] - below)


@loop(nogil=True, error_model="numpy")
def _held(knot: int, share: float) -> tuple[int, float]:
    """The same place, or the nearest within the knots; on a knot the share is 0."""
    return (knot + 1, 0.0) if share >= 1.0 else (knot, max(share, 0.0))


@loop(nogil=True, error_model="numpy")
def _way(share: float) -> float:
    """0 on a knot, 1 in the middle between two."""
    return 2.0 * min(share, 1.0 - share)


@loop(nogil=True, error_model="numpy")
def _in_waves(low: float, at: float, high: float, waves: float) -> float:
    start = _steps(low * waves)
    return float((_steps(at * waves) - start) / (_steps(high * waves) - start))


@loop(nogil=True, error_model="numpy")
def _steps(amount: float) -> float:
    return float((1.0 - UNEVEN) * amount + UNEVEN * np.ceil(amount))


@loop(nogil=True, error_model="numpy")
def _between(
    values: Floats, corner: int, strides: tuple[int, int, int], shares: tuple[float, float, float, float]
) -> float:
    """The multilinear mean of up to 16 corners; an axis on a knot has no neighbour."""
    last = shares[3]
    seconds = _cube(values, corner, strides, shares)
    if last > 0.0:
        seconds = (1.0 - last) * seconds + last * _cube(values, corner + 1, strides, shares)
    return float(seconds)


@loop(nogil=True, error_model="numpy")
def _cube(
    values: Floats, corner: int, strides: tuple[int, int, int], shares: tuple[float, float, float, float]
) -> float:
    u, v, w, _ = shares
    j, k = strides[1] if v > 0.0 else 0, strides[2] if w > 0.0 else 0
    near = (1.0 - w) * values[corner] + w * values[corner + k]
    near = (1.0 - v) * near + v * ((1.0 - w) * values[corner + j] + w * values[corner + j + k])
    if u == 0.0:
        return float(near)
    corner += strides[0]
    far = (1.0 - w) * values[corner] + w * values[corner + k]
    far = (1.0 - v) * far + v * ((1.0 - w) * values[corner + j] + w * values[corner + j + k])
    return float((1.0 - u) * near + u * far)


@loop(nogil=True, error_model="numpy")
def _worst(codes: Codes, corner: int, strides: tuple[int, int, int], shares: tuple[float, float, float, float]) -> int:
    """The code of the corner that counts and is known worst: codes ascend from what was measured."""
    worst = MEASURED
    for i in range(2 if shares[0] > 0.0 else 1):
        for j in range(2 if shares[1] > 0.0 else 1):
            for k in range(2 if shares[2] > 0.0 else 1):
                for m in range(2 if shares[3] > 0.0 else 1):
                    worst = max(worst, codes[corner + i * strides[0] + j * strides[1] + k * strides[2] + m])
    return int(worst)
