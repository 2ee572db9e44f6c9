"""The quarantine: what is set aside is listed, and a retry moves what is sound now into its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perfdb.errors import InputError, UnknownNameError
from perfdb.importers.again import retry
from perfdb.store import Store

GOOD = "Qwen/Qwen3-8B,a10,vllm,128,64,1,50,100"
ALSO_GOOD = "Qwen/Qwen3-8B,a10,vllm,128,64,2,60,150"
BAD = "Qwen/Qwen3-8B,a10,vllm,128,64,4,OOPS,150"


def test_the_list_counts_rows_per_file_and_reason_and_shows_each_fault(here: Any) -> None:
    here.write("a.csv", GOOD, BAD, BAD)
    here.write("b.csv", BAD.replace("OOPS", "-5"))
    here.load("a.csv", "b.csv")
    listed = [(group["source_id"], group["file"], group["rows"]) for group in here.store.quarantine()]
    assert listed == [(1, "a.csv", 2), (2, "b.csv", 1)]
    faults = here.store.quarantined(1, 10)
    assert [(fault.row, fault.column, fault.value) for fault in faults] == [
        (2, "ttft_ms", "OOPS"),
        (3, "ttft_ms", "OOPS"),
    ]
    assert len(here.store.quarantined(1, 1)) == 1


def test_a_row_that_a_newer_importer_can_read_moves_from_quarantine_to_the_points(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write("a.csv", GOOD, BAD)
    here.load("a.csv")
    here.newer(monkeypatch)
    counts = here.after(retry(here.store, []))
    assert (counts.rows_read, counts.stored, counts.duplicates, counts.quarantined) == (2, 2, 0, 0)
    assert here.store.quarantine() == []
    assert here.rows() == [["a.csv", 1, 0.05, None], ["a.csv", 2, 0.07, None]]
    assert here.accounted()
    assert retry(here.store, []) == []


def test_without_a_change_a_retry_changes_nothing(here: Any) -> None:
    here.write("a.csv", GOOD, BAD)
    here.load("a.csv")
    before = here.rows()
    counts = here.after(retry(here.store, ["a.csv"]))
    assert (counts.stored, counts.quarantined) == (1, 1)
    assert here.rows() == before
    assert [source.source_id for source in here.store.sources()] == [1]


def test_a_retry_keeps_the_settings_of_the_import_and_adds_the_new_ones(here: Any) -> None:
    Path("runs").mkdir()
    here.write("runs/tp4.csv", GOOD.replace(",a10", ""), header=here.header.replace(",platform", ""))
    here.load("runs", set={"platform": "a100"}, from_path="tp{tp}.csv")
    assert here.rows("platform, config") == [["a100_sxm_80gb", '{"tensor_parallel_size":4}']]
    here.after(retry(here.store, ["runs/tp4.csv"], {"engine_version": "0.9"}))
    assert here.rows("platform, config, engine_version") == [["a100_sxm_80gb", '{"tensor_parallel_size":4}', "0.9"]]
    here.after(retry(here.store, ["runs/tp4.csv"], {"platform": "l4"}))
    assert here.rows("platform, config, engine_version") == [["l4", '{"tensor_parallel_size":4}', "0.9"]]
    assert here.accounted()


def test_a_column_map_is_kept_and_added_to(here: Any) -> None:
    here.write("a.csv", GOOD, header=here.header.replace("ttft_ms", "wait").replace("output_tps", "speed"))
    Path("one.yaml").write_text("wait: {field: ttft_s, unit: ms}\n")
    Path("two.yaml").write_text("speed: {field: output_tps, unit: tok/s}\n")
    here.load("a.csv", map=Path("one.yaml"))
    here.after(retry(here.store, ["a.csv"], {}, Path("two.yaml")))
    assert here.rows("ttft_s, output_tps") == [[0.05, 100.0]]


def test_files_are_named_by_path_number_or_where_they_are_now(here: Any, tmp_path: Path) -> None:
    here.write("a.csv", GOOD, BAD)
    here.load("a.csv")
    assert here.after(retry(here.store, ["1"])).quarantined == 1
    assert here.after(retry(here.store, [str(tmp_path / "a.csv")])).quarantined == 1
    Path("a.csv").rename("moved.csv")
    assert here.after(retry(here.store, ["moved.csv"])).quarantined == 1
    assert [source.source.path for source in here.store.sources()] == ["moved.csv"]
    with pytest.raises(InputError, match=r"unknown\.csv: no such file was imported"):
        retry(here.store, ["unknown.csv"])


def test_a_relative_path_is_found_from_the_folder_of_the_database(
    here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write("a.csv", GOOD, BAD)
    here.load("a.csv")
    Path("elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert here.after(retry(Store(tmp_path / "perf.duckdb"), [])).quarantined == 1


@pytest.mark.parametrize(("change", "reason"), [("gone", "the file is gone"), ("changed", "has changed since")])
def test_a_file_that_is_gone_or_changed_is_left_alone(here: Any, change: str, reason: str) -> None:
    here.write("a.csv", GOOD, BAD)
    here.write("b.csv", BAD)
    here.load("a.csv", "b.csv")
    before = here.rows(), here.store.quarantine()
    Path("a.csv").unlink() if change == "gone" else here.write("a.csv", GOOD, ALSO_GOOD)
    first, second = retry(here.store, [])
    assert reason in first.left_alone
    assert first.counts is None
    assert second.counts is not None
    assert (here.rows(), here.store.quarantine()) == before


def test_a_wrong_field_is_refused_before_any_file_is_read(here: Any) -> None:
    here.write("a.csv", GOOD, BAD)
    here.load("a.csv")
    with pytest.raises(UnknownNameError, match="platfrom"):
        retry(here.store, [], {"platfrom": "a10"})
    assert len(here.store.quarantine()) == 1


def test_secrets_of_the_settings_are_not_kept(here: Any) -> None:
    here.write("a.csv", GOOD, BAD)
    here.load("a.csv", set={"extra.api_key": "abcdefgh", "extra.note": "run with hf_abcdefghijkl"})
    here.after(retry(here.store, ["a.csv"], {"extra.more": "token=sk-abcdefghij"}))
    kept = here.store.path.read_bytes() + str(here.store.sources()).encode()
    for secret in (b"abcdefgh", b"hf_abcdefghijkl", b"sk-abcdefghij"):
        assert secret not in kept
    assert "[redacted]" in str(here.store.sources())
