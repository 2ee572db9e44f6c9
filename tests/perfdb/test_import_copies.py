"""Files, and records in them, that were there before: each is stored once and stands where one of its files is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perfdb.importers.again import retry

GOOD = "Qwen/Qwen3-8B,a10,vllm,128,64,1,50,100"
ALSO_GOOD = "Qwen/Qwen3-8B,a10,vllm,128,64,2,60,150"
BAD = "Qwen/Qwen3-8B,a10,vllm,128,64,4,OOPS,150"


def test_a_copy_is_noted_only_where_both_files_are_there(here: Any) -> None:
    here.write("a.csv", GOOD)
    here.load("a.csv")
    Path("a.csv").rename("renamed.csv")
    here.load("renamed.csv")
    assert [source.source.path for source in here.store.sources()] == ["a.csv"]


def test_a_dry_run_notes_no_copy(here: Any) -> None:
    here.write("a.csv", GOOD)
    here.write("copy.csv", GOOD)
    here.load("a.csv")
    here.load("copy.csv", dry_run=True)
    assert [source.source.path for source in here.store.sources()] == ["a.csv"]


def test_records_that_another_file_brought_too_stay_when_their_first_file_is_read_again(here: Any) -> None:
    here.write("a.csv", GOOD, BAD)
    here.write("b.csv", GOOD, ALSO_GOOD)
    here.load("a.csv", "b.csv")
    assert [source.counts.duplicates for source in here.store.sources()] == [0, 1]
    here.after(retry(here.store, ["a.csv"], {"engine_version": "0.9"}))
    assert here.rows() == [
        ["b.csv", 1, 0.05, None],
        ["b.csv", 2, 0.06, None],
        ["a.csv", 1, 0.05, "0.9"],
    ]
    assert [(source.counts.stored, source.counts.duplicates) for source in here.store.sources()] == [(1, 0), (2, 0)]
    assert here.accounted()


def test_true_repeats_are_inherited_one_by_one(here: Any) -> None:
    here.write("a.csv", GOOD, GOOD, GOOD, BAD)
    here.write("b.csv", GOOD, GOOD, ALSO_GOOD)
    here.load("a.csv", "b.csv")
    here.after(retry(here.store, ["a.csv"], {"engine_version": "0.9"}))
    assert sorted(map(str, here.rows("file, row"))) == sorted(
        map(str, [["b.csv", 1], ["b.csv", 2], ["b.csv", 3], ["a.csv", 1], ["a.csv", 2], ["a.csv", 3]])
    )
    assert here.accounted()


def test_copies_of_a_file_follow_it(here: Any) -> None:
    here.write("a.csv", GOOD, BAD)
    here.write("copy.csv", GOOD, BAD)
    here.load("a.csv", "copy.csv")
    (example,) = next(finding for finding in here.store.check() if finding.kind == "duplicates").examples
    assert example == {"file": "copy.csv", "same_as": "a.csv", "records": 2, "of": 2}
    counts = here.after(retry(here.store, ["a.csv", "copy.csv"], {"engine_version": "0.9"}))
    assert counts.stored == 1
    assert here.rows() == [["a.csv", 1, 0.05, "0.9"]]
    assert [source.source.path for source in here.store.sources()] == ["a.csv", "copy.csv"]
    assert len({source.source.content_hash for source in here.store.sources()}) == 1
    assert here.accounted()


def test_a_copy_stands_for_its_original_that_is_gone(here: Any) -> None:
    here.write("a.csv", GOOD, BAD)
    here.write("copy.csv", GOOD, BAD)
    here.load("a.csv", "copy.csv")
    Path("a.csv").unlink()
    assert here.after(retry(here.store, ["a.csv", "copy.csv"], {"engine_version": "0.9"})).stored == 1
    assert here.rows() == [["copy.csv", 1, 0.05, "0.9"]]
    assert here.accounted()


def test_one_file_under_two_spellings_of_its_path_is_no_copy(here: Any, tmp_path: Path) -> None:
    here.write("a.csv", GOOD)
    here.load("a.csv", str(tmp_path / "a.csv"))
    assert [source.source.path for source in here.store.sources()] == ["a.csv"]


def test_importing_twice_stores_once(here: Any) -> None:
    here.write("a.csv", GOOD, ALSO_GOOD, BAD)
    first, second = here.load("a.csv"), here.load("a.csv")
    assert (first.stored, first.quarantined, second.stored, second.duplicates) == (2, 1, 0, 3)


def test_the_same_bytes_under_two_names_are_one_file(here: Any) -> None:
    """T20, T21."""
    here.write("a.csv", GOOD, ALSO_GOOD, BAD)
    here.write("b.csv", GOOD, ALSO_GOOD, BAD)
    report = here.load("a.csv", "b.csv")
    assert (report.files, report.stored, report.duplicates) == (2, 2, 3)
    assert any("imported before" in text for text in report.warnings)


def test_other_settings_make_it_another_file(here: Any) -> None:
    here.write("a.csv", GOOD)
    here.load("a.csv")
    report = here.load("a.csv", set={"engine_version": "0.9"})
    assert report.stored == 1
    assert any("imported before with other settings" in text for text in report.warnings)


def test_true_repeats_survive(here: Any) -> None:
    here.write("a.csv", GOOD, GOOD)
    assert here.load("a.csv").stored == 2
