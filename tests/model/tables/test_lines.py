"""Tables of one axis packed all at once: as if each slice were packed by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tables.distinct import distinct
from model.tables.grid import look_up
from model.tables.pack import Table, pack

Row = tuple[int, int, float]
ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 60), st.floats(1e-6, 1e-3)), min_size=1, max_size=200)
NO_WAVES = np.empty(0)


def both(rows: list[Row]) -> tuple[Table, Table]:
    """Packed as lines, and as a grid whose second axis has the one knot 1."""
    keys, x, seconds = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    named = np.stack([keys, np.ones_like(keys)], axis=1)

    def bend(axis: int, values: np.ndarray, of: tuple[np.ndarray, ...]) -> np.ndarray:
        return values + of[0] * values * values if axis == 0 else values

    lines = pack(named, [x], seconds, lambda _, a: a[0], bend)
    return lines, pack(named, [x, np.ones_like(x)], seconds, lambda _, a: a[0], bend)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_lines_are_grids_of_one_axis(rows: list[Row]) -> None:
    lines, grid = both(rows)
    np.testing.assert_array_equal(lines.keys, grid.keys)
    np.testing.assert_array_equal(lines.lows[:, 0], grid.lows[:, 0])
    np.testing.assert_array_equal(lines.highs[:, 0], grid.highs[:, 0])
    which = np.repeat(np.arange(len(grid.keys)), 50)
    asked = np.tile(np.linspace(0.0, 20000.0, 50), len(grid.keys))
    zero = np.zeros(len(asked))
    found = look_up(lines.packed, which, asked, zero, zero, zero, NO_WAVES)
    wanted = look_up(grid.packed, which, asked, zero + 1.0, zero, zero, NO_WAVES)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_a_long_slice_is_judged_by_itself_and_short_ones_by_all() -> None:
    rng = np.random.default_rng(2)
    rows = [(0, x, 1e-5 * x) for x in range(1, 60)]
    rows += [(1, x, 1e-5 * x * float(np.exp(rng.normal(0, 0.2)))) for x in range(1, 60)]
    rows += [(2, x, 1e-5 * x) for x in range(1, 5)]
    smooth, rough, short = both(rows)[0].packed.spread[:, 0]
    assert smooth < 1e-9
    assert smooth < short < rough


@given(st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=1, max_size=50))
def test_equal_rows_are_of_one_kind_in_ascending_order(rows: list[tuple[int, int, int]]) -> None:
    columns = [np.array(column, dtype=np.float64) for column in zip(*rows, strict=True)]
    first, kind = distinct(columns, len(rows))
    assert [rows[at] for at in first.tolist()] == sorted(set(rows))
    assert [rows[first[of]] for of in kind.tolist()] == rows


@pytest.mark.parametrize("rows", [0, 3])
def test_without_columns_all_rows_are_of_one_kind(rows: int) -> None:
    first, kind = distinct([], rows)
    assert (len(first), kind.tolist()) == (min(rows, 1), [0] * rows)


@given(st.lists(st.floats(-5, 300) | st.integers(0, 40).map(float), min_size=1, max_size=40))
def test_whole_numbers_are_told_apart_as_any_others(values: list[float]) -> None:
    column = np.array(values)
    known, where, wanted = np.unique(column, return_index=True, return_inverse=True)
    first, kind = distinct([column], len(column))
    np.testing.assert_array_equal(kind, wanted)
    if len(known) > 1:
        np.testing.assert_array_equal(first, where)
