"""Which rows of several columns are equal, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.prediction import Floats
from model.tables.grid import Ints

_SPARSE = 8
"""Whole numbers up to so many times the rows are told apart by counting: to sort them takes ten times as long."""


def distinct(columns: Sequence[Floats | Ints], rows: int) -> tuple[Ints, Ints]:
    """(a row of each kind, in ascending order of the columns; the kind of each row, `r`): one kind without columns.

    Column by column: rows as a whole take ten times as long to sort.
    """
    first, kind, kinds = np.zeros(min(rows, 1), np.int64), np.zeros(rows, np.int64), min(rows, 1)
    for values in columns:
        known, code = _coded(values)
        if known > 1:
            kinds, kind = _coded(kind * known + code)
            first = np.empty(kinds, np.int64)
            # of several rows of one kind the last one stays: the first of all
            first[kind[::-1]] = np.arange(rows)[::-1]
    return first, kind


def _coded(values: Floats | Ints) -> tuple[int, Ints]:
    """How many different values there are, and the place of each row's in their ascending order, `r`."""
    if len(values) and values.min() >= 0 and values.max() <= _SPARSE * len(values):
        whole = values.astype(np.int64)
        if np.array_equal(whole, values):
            is_there = np.zeros(int(whole.max()) + 1, bool)
            is_there[whole] = True
            place = np.cumsum(is_there)
            return int(place[-1]), place[whole] - 1
    known, code = np.unique(values, return_inverse=True)
    return len(known), code.reshape(-1)


def medians(kind: Ints, values: Floats, kinds: int) -> Floats:
    """The median of the rows of each of so many kinds, NaN where there is none."""
    found = np.full(kinds, np.nan)
    if np.bincount(kind).max() == 1:
        found[kind] = values
        return found
    order = np.lexsort((values, kind))
    kind, values = kind[order], values[order]
    starts = np.flatnonzero(np.r_[True, np.diff(kind) > 0])
    counts = np.diff(np.r_[starts, len(kind)])
    found[kind[starts]] = (values[starts + (counts - 1) // 2] + values[starts + counts // 2]) / 2.0
    return found
