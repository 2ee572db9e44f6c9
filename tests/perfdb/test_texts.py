"""Columns as distinct texts: every operation equals the one on plain lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.texts import TextColumn, printable

cells = st.lists(st.sampled_from(["", "a", "b", "ab", "é", "1"]), min_size=1, max_size=30)
pairs = st.lists(st.tuples(*[st.sampled_from(["", "a", "b", "ab"])] * 2), min_size=1, max_size=30)


@given(cells)
def test_cells_come_back_and_are_mapped(given_cells: list[str]) -> None:
    column = TextColumn.of(given_cells)
    assert column.tolist() == list(column) == column.array().tolist() == given_cells
    assert [column[row] for row in range(len(column))] == given_cells
    assert column.map(str.upper).tolist() == [cell.upper() for cell in given_cells]
    assert column.mask(str.isdigit).tolist() == [cell.isdigit() for cell in given_cells]
    assert column.said().tolist() == [cell != "" for cell in given_cells]
    assert column.is_in({"a", "é"}).tolist() == [cell in {"a", "é"} for cell in given_cells]
    lengths = column.numbers(lambda cell: float(len(cell)) if cell else None)
    assert np.array_equal(lengths, [len(cell) or np.nan for cell in given_cells], equal_nan=True)


@given(cells)
def test_distinct_texts_have_equal_codes_exactly_where_cells_are_equal(given_cells: list[str]) -> None:
    column = TextColumn.of(given_cells).map(lambda cell: cell[:1]).distinct()
    assert len(set(column.known)) == len(column.known)
    assert column.tolist() == [cell[:1] for cell in given_cells]


@given(pairs, st.data())
def test_two_columns_are_joined_row_by_row(both: list[tuple[str, str]], data: st.DataObject) -> None:
    left, right = (TextColumn.of(list(side)) for side in zip(*both, strict=True))
    rows = np.array(data.draw(st.lists(st.booleans(), min_size=len(both), max_size=len(both))))
    assert left.pairs(right, str.__add__).tolist() == [a + b for a, b in both]
    assert left.where(rows, right).tolist() == [a if row else b for row, (a, b) in zip(rows, both, strict=True)]
    assert left.or_else(right).tolist() == [a or b for a, b in both]
    assert left.blank(rows).tolist() == ["" if row else a for row, (a, _) in zip(rows, both, strict=True)]
    assert left.differs(right).tolist() == [bool(a and b and a != b) for a, b in both]
    assert left.put(rows, right.take(rows)).tolist() == right.where(rows, left).tolist()
    assert TextColumn.joined([left, right, left]).tolist() == [*left, *right, *left]


def test_a_column_without_rows() -> None:
    empty = TextColumn.of([])
    assert (len(empty), empty.tolist(), empty.distinct().tolist(), empty.map(str.upper).tolist()) == (0, [], [], [])
    assert TextColumn.joined([]).tolist() == []
    assert empty.numbers(float).tolist() == []
    assert empty.pairs(empty, str.__add__).tolist() == []
    assert not empty.said().any()


def test_a_constant_holds_its_text_once() -> None:
    column = TextColumn.constant("x", 3)
    assert (column.tolist(), column.known.tolist()) == (["x"] * 3, ["x"])
    assert not column.differs(TextColumn.constant("x", 3)).any()
    assert column.differs(TextColumn.constant("y", 3)).all()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 中 \U0001f600", "plain é 中 \U0001f600"),
        ("a\nb\tc\r", "a\\nb\tc\\r"),
        ("\x1b[31m\x07", r"\x1b[31m\x07"),
        ("\x9b2J\x85", r"\x9b2J\x85"),
        ("caf\udce9", r"caf\udce9"),
        ("abc\u202edef\u2066", r"abc\u202edef\u2066"),
    ],
)
def test_printable_text_is_one_line_without_control_of_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
