"""What was measured so far: durable line by line, whatever stands in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfdb.errors import FileError, StoreBusyError
from runner.collect.cases import Case
from runner.collect.journal import Journal

ABOUT = {"platform": "local", "device": "cpu9", "library": "numpy", "version": "2.4", "threads": 1}
SOUND = {"latency_s": 1e-3, "spread": 0.02, "samples": [1e-3], "kernel": "dot", "outliers": 0}


def case(m: int) -> Case:
    return Case("gemm", "fp32", (("m", m), ("n", 8), ("k", 8)))


def opened(path: Path, notes: list[str] | None = None, **about: Any) -> Journal:
    return Journal.open(path, {**ABOUT, **about}, (notes if notes is not None else []).append)


def filled(path: Path, count: int = 3) -> None:
    journal = opened(path)
    for m in range(1, count + 1):
        journal.add(case(m), SOUND, 1.8e9 + m, 0.5)
    journal.close()


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    journal = opened(tmp_path / "j")
    found = journal.timed[case(2).key]
    assert (found.asked, found.answer, found.measured_at, found.load) == (case(2).asked(), SOUND, 1.8e9 + 2, 0.5)
    assert set(journal.tries.values()) == {1}
    journal.close()
    journal.close()


def test_a_line_is_on_disk_before_add_returns(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    for m in range(1, 4):
        journal.add(case(m), SOUND, 1.8e9, 0.5)
        assert len((tmp_path / "j").read_text().splitlines()) == 1 + m
    journal.close()


def test_the_steadier_times_of_a_case_count_and_any_times_are_better_than_none(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    for answer in ({"error": "busy"}, {**SOUND, "spread": 0.3}, {**SOUND, "spread": 0.1}, {**SOUND, "spread": 0.2}):
        journal.add(case(1), answer, 1.8e9, 0.5)
    journal.close()
    again = opened(tmp_path / "j")
    for each in (journal, again):
        assert each.timed[case(1).key].spread == 0.1
        assert each.tries[case(1).key] == 4
    again.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, 10**4), junk=st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=30))
def test_whatever_follows_a_whole_line_the_lines_before_it_stay(tmp_path: Path, cut: int, junk: str) -> None:
    """Cut anywhere after its first line, with anything behind: what was whole is kept, and the next is, too."""
    path = tmp_path / "j"
    path.unlink(missing_ok=True)
    filled(path)
    first, *lines = path.read_text().splitlines(keepends=True)
    body = "".join(lines)
    cut %= len(body)
    path.write_text(first + body[:cut] + junk, encoding="utf-8")
    whole = body[:cut].count("\n")
    notes: list[str] = []
    journal = opened(path, notes)
    assert len(journal.timed) >= whole
    journal.add(case(9), SOUND, 1.8e9, 0.5)
    journal.close()
    again = opened(path)
    assert case(9).key in again.timed
    assert set(journal.timed) == set(again.timed)
    again.close()
    assert all("not readable; its case is measured again" in note for note in notes)


@pytest.mark.parametrize("name", sorted(ABOUT))
def test_times_of_something_else_are_not_mixed_in(tmp_path: Path, name: str) -> None:
    filled(tmp_path / "j")
    with pytest.raises(
        FileError, match=rf"its times are of {name} .*, these would be of other; expected another --out"
    ):
        opened(tmp_path / "j", **{name: "other"})
    opened(tmp_path / "j", build="whatever else").close()


@pytest.mark.parametrize("first", ["", "[]", "{}", '{"platform": "local"}', "\x00", "1e999", '"text"'])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, first: str) -> None:
    (tmp_path / "j").write_text(f"{first}\nmore\n")
    with pytest.raises(FileError, match="its first line does not say what was measured"):
        opened(tmp_path / "j")
    assert (tmp_path / "j").read_text() == f"{first}\nmore\n"


@pytest.mark.parametrize(
    "wrong",
    [
        {"answer": {"latency_s": "1"}},
        {"answer": {"latency_s": 0}},
        {"answer": {"latency_s": float("nan")}},
        {"answer": {"latency_s": float("inf")}},
        {"answer": {"error": 5}},
        {"answer": [1]},
        {"asked": "gemm"},
        {"measured_at": None},
        {"load": "low"},
    ],
)
def test_a_line_that_says_no_time_is_left_out(tmp_path: Path, wrong: dict[str, Any]) -> None:
    filled(tmp_path / "j", 1)
    path, notes = tmp_path / "j", []
    line = json.loads(path.read_text().splitlines()[1]) | {"asked": case(2).asked()}
    with path.open("a") as file:
        file.write(json.dumps(line | wrong) + "\n")
    journal = opened(path, notes)
    assert list(journal.timed) == [case(1).key]
    assert notes == [f"{path}, line 3: not readable; its case is measured again"]
    journal.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    with pytest.raises(StoreBusyError, match="another process measures into this folder"):
        opened(tmp_path / "j")
    journal.close()
    opened(tmp_path / "j").close()


def test_a_folder_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        opened(tmp_path / "none" / "j")
