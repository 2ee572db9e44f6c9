"""Configs as numbers: the map φ from the columns of a grid to what a kernel can measure distances in.

Notation: n configs, d features. Numbers become one column scaled to [0, 1] over the grid, on a log2 scale where they
are positive and spread widely; booleans 0 or 1; categories one column each of 0 or 1/√2, so that two different
categories lie at distance 1. "Not set" (None or NaN) is a category of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from model.missing import is_missing
from model.prediction import Floats
from perfdb.records import Grid

ONE_HOT = 1.0 / np.sqrt(2.0)
LOG_RATIO = 4.0
"""Numbers are put on a log2 scale where the largest is at least this many times the smallest (4: batch sizes, tp)."""


def encode(grid: Grid) -> Floats:
    """φ of every config, `n x d` with d >= 1: columns in grid order, those that never change left out.

    A grid in which nothing changes has one column of zeros. Deterministic: the same grid gives the same numbers.
    """
    blocks = [block for column in grid.columns.values() for block in _encode_column(column)]
    return np.column_stack(blocks) if blocks else np.zeros((len(grid), 1))


def _encode_column(column: npt.NDArray[Any]) -> list[Floats]:
    if column.dtype == bool:
        return _if_varied(column.astype(np.float64))
    if column.dtype.kind in "iuf":
        return _encode_numbers(column.astype(np.float64))
    missing = np.array([is_missing(value) for value in column], dtype=bool)
    present = column[~missing]
    kinds = {bool if isinstance(value, bool | np.bool_) else type(value) for value in present}
    if kinds and all(issubclass(kind, int | float | np.number) for kind in kinds) and bool not in kinds:
        numbers = np.full(len(column), np.nan)
        numbers[~missing] = present.astype(np.float64)
        return _encode_numbers(numbers)
    return _encode_categories(column, missing)


def _encode_numbers(values: Floats) -> list[Floats]:
    """One ordinal column; where some are missing those lie in the middle of it, and a second column says which."""
    missing = ~np.isfinite(values)
    present = values[~missing]
    if not len(present):
        return []
    if present.min() > 0 and present.max() / present.min() >= LOG_RATIO:
        values = np.log2(values)
        present = values[~missing]
    low, span = present.min(), np.ptp(present)
    scaled = (values - low) / span if span > 0 else np.zeros(len(values))
    scaled = np.where(missing, 0.5 if span > 0 else 0.0, scaled)
    return _if_varied(scaled) + _if_varied(missing.astype(np.float64))


def _encode_categories(column: npt.NDArray[Any], missing: npt.NDArray[np.bool_]) -> list[Floats]:
    names = np.array(
        ["" if gone else f"{type(value).__name__}:{value}" for value, gone in zip(column, missing, strict=True)]
    )
    known, code = np.unique(names, return_inverse=True)
    if len(known) == 1:
        return []
    return [ONE_HOT * (code == i) for i in range(len(known))]


def _if_varied(values: Floats) -> list[Floats]:
    return [values] if len(values) and np.ptp(values) > 0 else []


def column_groups(features: Floats) -> npt.NDArray[np.int64]:
    """Which parameter each feature belongs to, `d`, counted from 0: the columns of one categorical share a number.

    Read off the features themselves: a run of neighbouring columns of 0 and 1/√2 with exactly one set in every row.
    """
    d = features.shape[1]
    hot = ((features == 0) | (features == ONE_HOT)).all(axis=0)
    groups = np.zeros(d, np.int64)
    at = group = 0
    while at < d:
        end = _run_end(features, hot, at) if hot[at] else at + 1
        groups[at:end] = group
        at, group = end, group + 1
    return groups


def _run_end(features: Floats, hot: npt.NDArray[np.bool_], start: int) -> int:
    """One past the last column of the categorical that begins at `start`; `start + 1` where none does."""
    total = np.zeros(len(features))
    for end in range(start, len(hot)):
        if not hot[end]:
            break
        total = total + (features[:, end] > 0)
        if total.max() > 1:
            break
        if total.min() == 1:
            return end + 1
    return start + 1
