"""A packed table asked for n places: its slice, the answer there, and what lies outside carried on by the formula."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.prediction import Floats
from model.tables.answer import EXTRAPOLATED, Answer
from model.tables.grid import AXES, Ints, look_up
from model.tables.kernels import Kernel, Numbers, Rates
from model.tables.pack import Table

_OUTSIDE_SD, _DOUBLING_SD = 0.07, 0.09
"""Added beyond the outermost knots, where the formula carries on, and for each doubling."""
_OTHER_SLICE_SD, _APART_SD = 0.18, 0.1
"""Added where no slice has the keys, and the formula carries over from the nearest, and for each e-fold of a key.
All are from half of the platforms of `tests/bench/outside_accuracy.py`, which says how they hold on the other."""
_PLAIN_S = 15e-6
"""Seconds that a look-up takes that is not compiled."""


def ask(
    table: Table, kernel: Kernel, rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats], waves: Floats
) -> Answer:
    """Answer n places.

    Args:
        keys: one array (or a single number as `()`) for each key of the kernel.
        arguments: one array `n` for each axis.
        waves: see `model.tables.grid.look_up`; empty where time does not go in waves.
    """
    which, far_slices = apart(table, keys)
    is_other = far_slices > 0
    coordinates = [kernel.coordinate(axis, values, keys) for axis, values in enumerate(arguments)]
    n, missing = len(arguments[0]), AXES - len(arguments)
    nowhere = [np.zeros(1 if axis == missing - 1 else n) for axis in range(missing)]
    a, b, c, d = [*coordinates, *nowhere][:AXES]
    seconds, sd, code, far = look_up.taking(n * _PLAIN_S)(table.packed, which, a, b, c, d, waves)
    moved = np.flatnonzero((far > 0) | is_other)
    if len(moved):
        _carry(table, kernel, rates, keys, arguments, which, moved, seconds)
        doublings = beyond(table, np.broadcast_to(which, n)[moved], [values[moved] for values in arguments])
        slices = np.broadcast_to(far_slices, n)[moved]
        outside = np.where(far[moved] > 0, _OUTSIDE_SD + _DOUBLING_SD * doublings, 0.0)
        others = np.where(slices > 0, _OTHER_SLICE_SD + _APART_SD * slices, 0.0)
        sd[moved] = np.sqrt(sd[moved] ** 2 + outside**2 + others**2)
        code[moved] = EXTRAPOLATED
    return Answer(seconds, sd, code)


def apart(table: Table, keys: Sequence[Numbers]) -> tuple[Ints, Floats]:
    """The nearest slice of each place (one where all have the same keys), and how far its keys are: the sum of what
    they differ by in logarithms."""
    if not keys:
        return np.zeros(1, np.int64), np.zeros(1)
    rows = np.stack(np.broadcast_arrays(*map(np.atleast_1d, keys)), axis=1)
    wanted, back = (rows, np.zeros(1, np.int64)) if len(rows) == 1 else np.unique(rows, axis=0, return_inverse=True)
    distance = np.abs(np.log1p(wanted)[:, None, :] - np.log1p(table.keys)[None, :, :]).sum(axis=2)
    nearest = distance.argmin(axis=1)
    return nearest[back.reshape(-1)], distance.min(axis=1)[back.reshape(-1)]


def beyond(table: Table, which: Ints, arguments: Sequence[Floats]) -> Floats:
    """How many doublings or halvings of an argument n places lie outside of what their slices measured, the most."""
    most = np.zeros(len(arguments[0]))
    for axis, values in enumerate(arguments):
        low, high = np.maximum(table.lows[which, axis], 1.0), np.maximum(table.highs[which, axis], 1.0)
        held = np.maximum(values, 1.0)
        most = np.maximum(most, np.maximum(np.log2(held / high), np.log2(low / held)))
    return most


def _carry(
    table: Table,
    kernel: Kernel,
    rates: Rates,
    keys: Sequence[Numbers],
    arguments: Sequence[Floats],
    which: Ints,
    rows: Ints,
    seconds: Floats,
) -> None:
    """Scale the answers of `rows` by the formula: there over where the table answered."""
    at = which[rows] if len(which) > 1 else np.broadcast_to(which, len(rows))
    there = [np.broadcast_to(key, len(seconds))[rows] if np.ndim(key) else key for key in keys]
    wanted = [values[rows] for values in arguments]
    held = [np.clip(v, table.lows[at, axis], table.highs[at, axis]) for axis, v in enumerate(wanted)]
    answered = [table.keys[at, number] for number in range(table.keys.shape[1])]
    seconds[rows] *= kernel.formula(rates, there, wanted) / kernel.formula(rates, answered, held)
