"""Recorded grids and delimited files, cell by cell."""

from __future__ import annotations

import csv
import gc
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfdb.errors import FileError, InputError
from perfdb.store import scan, scan_text

GRID = '''Model,Batch Size,Latency,Throughput,note,mixed
m1,1,0.5,100,a,1
m1,2,0.25,200,,OOM
"m,2",4,,1e3,"say ""hi""",1_000
m3,8,2, 50 ,d,3
'''


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "grid.csv"
    path.write_text(GRID)
    return path


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "file.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_columns_are_typed_where_every_cell_is_a_number(grid: Path) -> None:
    found = scan(grid)
    assert len(found) == 4
    assert list(found.columns) == ["Model", "Batch Size", "Latency", "Throughput", "note", "mixed"]
    assert found.columns["Batch Size"].dtype == np.int64
    assert np.array_equal(found.columns["Latency"], [0.5, 0.25, np.nan, 2.0], equal_nan=True)
    assert found.columns["Throughput"].tolist() == [100.0, 200.0, 1000.0, 50.0]
    assert found.columns["mixed"].tolist() == ["1", "OOM", "1_000", "3"]
    assert found.columns["note"].tolist() == ["a", None, 'say "hi"', "d"]
    assert found.text["Throughput"].tolist() == ["100", "200", "1e3", "50"]
    assert found.text["Latency"].tolist() == ["0.5", "0.25", None, "2"]


def test_filters_keep_the_row_numbers_of_the_file(grid: Path) -> None:
    found = scan(grid, where="\"Batch Size\" >= 2 AND Model <> 'm1' -- big ones")
    assert found.rows.tolist() == [2, 3]
    assert found.columns["Model"].tolist() == ["m,2", "m3"]


def test_derived_columns_may_use_earlier_ones_and_filter(grid: Path) -> None:
    derive = {"per": 'Throughput / "Batch Size"', "double": "per * 2", "big": "CASE WHEN per > 90 THEN 'yes' END"}
    found = scan(grid, where="double > 190", derive=derive)
    assert found.rows.tolist() == [0, 1, 2]
    assert found.columns["double"].tolist() == [200.0, 200.0, 500.0]
    assert found.columns["big"].tolist() == ["yes"] * 3
    assert found.text["per"].tolist() == ["100.0", "100.0", "250.0"]


@pytest.mark.parametrize("where", ["nosuch = 1", "1 +", "1) ; SELECT (2", "note::INTEGER = 1"])
def test_a_wrong_condition_names_its_flag_and_the_columns(grid: Path, where: str) -> None:
    with pytest.raises(InputError) as caught:
        scan(grid, where=where)
    assert str(caught.value).startswith(f"--where {where}: ")
    assert "known columns: Model, Batch Size" in str(caught.value)


def test_a_wrong_derivation_names_its_flag(grid: Path) -> None:
    with pytest.raises(InputError, match=r"--derive x=Latncy: .*known columns: Model"):
        scan(grid, derive={"x": "Latncy"})
    with pytest.raises(InputError, match="there is a column 'latency' already"):
        scan(grid, derive={"latency": "1"})


def test_expressions_reach_no_file(grid: Path) -> None:
    with pytest.raises(InputError, match="--derive secret"):
        scan(grid, derive={"secret": "(SELECT content FROM read_text('/etc/hostname'))"})


def test_headers_that_sql_cannot_tell_apart_are_numbered(tmp_path: Path) -> None:
    found = scan(write(tmp_path, "a,A,,a\n1,2,3,4\n"))
    assert {name: column.tolist() for name, column in found.columns.items()} == {
        "a": [1],
        "A_": [2],
        "column2": [3],
        "a__": [4],
    }


def test_a_grid_with_a_line_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"row 2: the line has 1 cells, the header 2"):
        scan(write(tmp_path, "a,b\n1,2\n3\n"))


def test_a_grid_without_rows_has_its_columns(tmp_path: Path) -> None:
    found = scan(write(tmp_path, "a,b\n"), where="a = '1'")
    assert (len(found), list(found.columns)) == (0, ["a", "b"])


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_text("nonsense")
    with pytest.raises(FileError, match=r"x\.parquet"):
        scan(path)


def test_text_unpacks_to_header_columns_and_bad_lines(tmp_path: Path) -> None:
    table = scan_text(write(tmp_path, "\ufeffa,b, \r\n1,2,3\r\n\r\n4,5\r\n6,7,8,9\r\n7,8,9, \r\n,,\r\n"))
    header, columns, bad = table
    assert header == ["a", "b", ""]
    assert [column.tolist() for column in columns] == [["1", "7", ""], ["2", "8", ""], ["3", "9", ""]]
    assert table.rows.tolist() == [1, 4, 5]
    assert [(b.row, b.value, b.reason) for b in bad] == [
        (2, "4,5", "the line has 2 cells, the header 3"),
        (3, "6,7,8,9", "the line has 4 cells, the header 3"),
    ]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    lines = [["name", "mean, s", "c"], ["x", "1,5", "3"], ["y", "2,5", "4"]]
    text = "\n".join(delimiter.join(f'"{c}"' if delimiter in c else c for c in line) for line in lines)
    assert scan_text(write(tmp_path, text)).columns[1].tolist() == ["1,5", "2,5"]
    assert scan_text(write(tmp_path, text), delimiter).header == ["name", "mean, s", "c"]


def test_one_column_needs_no_delimiter(tmp_path: Path) -> None:
    table = scan_text(write(tmp_path, "a\n1\n\n2\n"))
    assert (table.columns[0].tolist(), table.rows.tolist()) == (["1", "2"], [1, 2])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        (b"a,b\n1,\xff\n", "not UTF-8 text .byte 0xff"),
        (b'a,b\n1,"2\n3,4\n', "expected every quote closed"),
        (b"a,b\n1," + b"2" * 200_000, "a cell of more than 131,072 characters"),
        (b"a," * 6000 + b"b\n", "6,001 columns; expected at most 5,000"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(FileError, match=why):
        scan_text(write(tmp_path, content))
    assert gc.isenabled()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.csv: cannot be read .No such file"):
        scan_text(tmp_path / "none.csv")


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.lists(cells, min_size=3, max_size=3), max_size=8))
def test_every_cell_comes_back_as_written(tmp_path: Path, rows: list[list[str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["one", "two", "three"], *rows])
    table = scan_text(write(tmp_path, file.getvalue()), ",")
    assert [list(row) for row in zip(*table.columns, strict=True)] == rows
    assert table.bad == []


def test_files_longer_than_one_piece_are_read_whole(tmp_path: Path) -> None:
    lines = [f"{i},{i * 2}" for i in range(12_000)]
    lines[11_000] = "broken"
    table = scan_text(write(tmp_path, "a,b\n" + "\n".join(lines)))
    assert len(table.rows) == 11_999
    assert table.bad[0].row == 11_001
    assert table.columns[1][-1] == "23998"
