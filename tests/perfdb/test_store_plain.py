"""The fast reading of large plain files: the same cells as line by line, or left to the exact reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from perfdb.errors import FileError
from perfdb.store import text
from perfdb.store.plain import read_plain
from perfdb.store.text import TextTable, scan_text

pieces = st.sampled_from(
    [",", ",", ",", "\n", "\n", "\r\n", "\r", "a", "bc", "1.50", "-0", " ", "\t", "#", "\\", "'", '"', "NULL", "nan",
     "\x0b", "\x1c", "\u2028", "\u00e9", "\U0001f600", "\ufeff", ";", "|", "1_000", "\x00"]
)  # fmt: skip


def write(folder: Path, content: str) -> Path:
    path = folder / "x.csv"
    path.write_bytes(content.encode())
    return path


def seen(table: TextTable) -> tuple[object, ...]:
    cells = [column.tolist() for column in table.columns]
    return table.header, cells, table.rows.tolist(), [(bad.row, bad.value, bad.reason) for bad in table.bad]


def both(path: Path) -> tuple[object, object]:
    """What the two readers make of a file, with and without the fast one."""
    answers = []
    for least in (0, 2**30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text, "_LARGE", least)
            try:
                answers.append(seen(scan_text(path, ",")))
            except FileError as error:
                answers.append((str(error),))
    return answers[0], answers[1]


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=st.lists(pieces, max_size=40).map("".join))
@example(body="1,2\n3,4\n")
@example(body="1,2\n\n3,4\n")
@example(body="1,2\r\n3,4")
@example(body="1,2,\n,,,\n")
@example(body=",\n,\n")
@example(body="1,2\n3\n")
@example(body="#,\\\n'a,b'\n")
def test_both_readers_agree_on_every_text(tmp_path: Path, body: str) -> None:
    fast, exact = both(write(tmp_path, "one,two\n" + body))
    assert fast == exact


def test_few_and_many_distinct_texts_come_back_in_order(tmp_path: Path) -> None:
    lines = [f"{i % 7},{i / 7},{'' if i % 3 else 'x'}" for i in range(5000)]
    path = write(tmp_path, "few,many,blank\n" + "\n".join(lines))
    columns = read_plain(path, ",", 3)
    assert columns is not None
    assert [list(row) for row in zip(*columns, strict=True)] == [line.split(",") for line in lines]
    assert [len(column.known) for column in columns] == [7, 5000, 2]
    assert columns[2].known.tolist() == ["x", ""]


@pytest.mark.parametrize(
    "content",
    ['a,b\n1,"2"\n', "a,b\n1,2\n3\n", "a,b\n\n1,2\n", "a,b\r1,2\r", "a,b\r\n1,2\n", "a,b\n1,2\x00\n", "a,b\n  \n1,2\n"],
    ids=["quote", "ragged", "empty line", "returns", "mixed ends", "NUL", "blank line"],
)
def test_what_is_not_plain_is_left_to_the_exact_reader(tmp_path: Path, content: str) -> None:
    assert read_plain(write(tmp_path, content), ",", 2) is None


def test_bytes_that_are_no_text_are_left_to_the_exact_reader(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n1,\xff\n")
    assert read_plain(path, ",", 2) is None


def test_a_name_with_signs_of_a_pattern_is_left_to_the_exact_reader(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    (tmp_path / "[ab].csv").write_text("a,b\n3,4\n")
    assert read_plain(tmp_path / "[ab].csv", ",", 2) is None
    assert scan_text(tmp_path / "[ab].csv").columns[0].tolist() == ["3"]
