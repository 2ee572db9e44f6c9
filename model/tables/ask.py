"""A packed table asked for n places: its slice, the answer there, and what lies outside carried on by the formula."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.prediction import Floats
from model.tables.answer import EXTRAPOLATED, Answer
from model.tables.grid import AXES, Ints, look_up
from model.tables.kernels import Kernel, Numbers, Rates
from model.tables.pack import Table

OUTSIDE_SD = 0.1
"""Added to the spread beyond the outermost knots, where the formula carries on."""
OTHER_SLICE_SD = 0.2
"""Added where no slice has the keys, and the formula carries over from the nearest."""


def ask(
    table: Table, kernel: Kernel, rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats], waves: Floats
) -> Answer:
    """Answer n places.

    Args:
        keys: one array (or a single number as `()`) for each key of the kernel.
        arguments: one array `n` for each axis.
        waves: see `model.tables.grid.look_up`; empty where time does not go in waves.
    """
    which, is_other = _slices(table, keys)
    coordinates = [kernel.coordinate(axis, values, keys) for axis, values in enumerate(arguments)]
    missing = AXES - len(arguments)
    places = [*coordinates, *[np.zeros(1 if axis == missing - 1 else len(arguments[0])) for axis in range(missing)]]
    seconds, sd, code, far = look_up(table.packed, which, *places, waves)
    moved = np.flatnonzero((far > 0) | is_other)
    if len(moved):
        _carry(table, kernel, rates, keys, arguments, which, moved, seconds)
        sd[moved] = np.hypot(sd[moved], np.where(far[moved] > 0, OUTSIDE_SD, 0.0))
        others = np.broadcast_to(is_other, len(seconds))[moved]
        sd[moved[others]] = np.hypot(sd[moved[others]], OTHER_SLICE_SD)
        code[moved] = EXTRAPOLATED
    return Answer(seconds, sd, code)


def _slices(table: Table, keys: Sequence[Numbers]) -> tuple[Ints, np.ndarray]:
    """The slice of each place (one number where all have the same keys), and whether it is only the nearest."""
    if not keys:
        return np.zeros(1, np.int64), np.zeros(1, bool)
    rows = np.stack(np.broadcast_arrays(*map(np.atleast_1d, keys)), axis=1)
    wanted, back = (rows, np.zeros(1, np.int64)) if len(rows) == 1 else np.unique(rows, axis=0, return_inverse=True)
    distance = np.abs(np.log1p(wanted)[:, None, :] - np.log1p(table.keys)[None, :, :]).sum(axis=2)
    nearest = distance.argmin(axis=1)
    return nearest[back.reshape(-1)], (distance.min(axis=1) > 0)[back.reshape(-1)]


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
