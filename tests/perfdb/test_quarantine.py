"""Reading files again: what is sound now replaces what they brought, and nothing is lost or stored twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch, ImportCounts, OperationFile
from perfdb.errors import InputError, UnknownNameError
from perfdb.importers import sniff
from perfdb.importers.again import Retried, retry
from perfdb.importers.folder import import_paths
from perfdb.importers.formats import generic
from perfdb.importers.importer import ReadSettings
from perfdb.importers.options import ImportOptions
from perfdb.store import Store

HEADER = "model,platform,engine,isl,osl,concurrency,ttft_ms,output_tps"
GOOD = "Qwen/Qwen3-8B,a10,vllm,128,64,1,50,100"
ALSO_GOOD = "Qwen/Qwen3-8B,a10,vllm,128,64,2,60,150"
BAD = "Qwen/Qwen3-8B,a10,vllm,128,64,4,OOPS,150"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store() -> Store:
    return Store("perf.duckdb")


def write(name: str, *rows: str, header: str = HEADER) -> Path:
    path = Path(name)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def load(store: Store, *names: str, **options: Any) -> None:
    import_paths(store, [Path(name) for name in names], ImportOptions(**options))


def after(done: Sequence[Retried]) -> ImportCounts:
    assert len(done) == 1
    assert done[0].counts is not None, done[0].left_alone
    return done[0].counts


def rows(store: Store, columns: str = "file, row, ttft_s, engine_version") -> list[list[object]]:
    return store.sql(f"SELECT {columns} FROM results ORDER BY point_id").rows


def accounted(store: Store) -> bool:
    """Every source's rows are somewhere, and what sources say they stored is what is there."""
    sums = store.sql("SELECT sum(rows_read), sum(stored + duplicates + quarantined), sum(stored) FROM sources").rows[0]
    points = store.sql("SELECT count(*) FROM operating_points").rows[0][0]
    orphans = store.sql("SELECT count(*) FROM measurements ANTI JOIN operating_points USING (point_id)").rows[0][0]
    return sums[0] == sums[1] and sums[2] == points and orphans == 0


def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the importer of CSV files reads OOPS as 70."""
    old = generic.IMPORTER

    def read(path: Path, settings: ReadSettings) -> Iterator[Batch] | OperationFile:
        fixed = path.with_suffix(".fixed")
        fixed.write_text(path.read_text().replace("OOPS", "70"))
        return old.read(fixed, settings)

    sniff.importer.cache_clear()
    monkeypatch.setattr(generic, "IMPORTER", replace(old, version=old.version + 1, read=read))


@pytest.fixture(autouse=True)
def _fresh_importers() -> Any:
    yield
    sniff.importer.cache_clear()


def test_the_list_counts_rows_per_file_and_reason_and_shows_each_fault(store: Store) -> None:
    write("a.csv", GOOD, BAD, BAD)
    write("b.csv", BAD.replace("OOPS", "-5"))
    load(store, "a.csv", "b.csv")
    listed = [(group["source_id"], group["file"], group["rows"]) for group in store.quarantine()]
    assert listed == [(1, "a.csv", 2), (2, "b.csv", 1)]
    faults = store.quarantined(1, 10)
    assert [(fault.row, fault.column, fault.value) for fault in faults] == [
        (2, "ttft_ms", "OOPS"),
        (3, "ttft_ms", "OOPS"),
    ]
    assert len(store.quarantined(1, 1)) == 1


def test_a_row_that_a_newer_importer_can_read_moves_from_quarantine_to_the_points(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.csv", GOOD, BAD)
    load(store, "a.csv")
    newer(monkeypatch)
    counts = after(retry(store, []))
    assert (counts.rows_read, counts.stored, counts.duplicates, counts.quarantined) == (2, 2, 0, 0)
    assert store.quarantine() == []
    assert rows(store) == [["a.csv", 1, 0.05, None], ["a.csv", 2, 0.07, None]]
    assert accounted(store)
    assert retry(store, []) == []


def test_without_a_change_a_retry_changes_nothing(store: Store) -> None:
    write("a.csv", GOOD, BAD)
    load(store, "a.csv")
    before = rows(store)
    counts = after(retry(store, ["a.csv"]))
    assert (counts.stored, counts.quarantined) == (1, 1)
    assert rows(store) == before
    assert [source.source_id for source in store.sources()] == [1]


def test_a_retry_keeps_the_settings_of_the_import_and_adds_the_new_ones(store: Store) -> None:
    Path("runs").mkdir()
    write("runs/tp4.csv", GOOD.replace(",a10", ""), header=HEADER.replace(",platform", ""))
    load(store, "runs", set={"platform": "a100"}, from_path="tp{tp}.csv")
    assert rows(store, "platform, config") == [["a100_sxm_80gb", '{"tensor_parallel_size":4}']]
    after(retry(store, ["runs/tp4.csv"], {"engine_version": "0.9"}))
    assert rows(store, "platform, config, engine_version") == [["a100_sxm_80gb", '{"tensor_parallel_size":4}', "0.9"]]
    after(retry(store, ["runs/tp4.csv"], {"platform": "l4"}))
    assert rows(store, "platform, config, engine_version") == [["l4", '{"tensor_parallel_size":4}', "0.9"]]
    assert accounted(store)


def test_a_column_map_is_kept_and_added_to(store: Store) -> None:
    write("a.csv", GOOD, header=HEADER.replace("ttft_ms", "wait").replace("output_tps", "speed"))
    Path("one.yaml").write_text("wait: {field: ttft_s, unit: ms}\n")
    Path("two.yaml").write_text("speed: {field: output_tps, unit: tok/s}\n")
    load(store, "a.csv", map=Path("one.yaml"))
    after(retry(store, ["a.csv"], {}, Path("two.yaml")))
    assert rows(store, "ttft_s, output_tps") == [[0.05, 100.0]]


def test_files_are_named_by_path_number_or_where_they_are_now(store: Store, tmp_path: Path) -> None:
    write("a.csv", GOOD, BAD)
    load(store, "a.csv")
    assert after(retry(store, ["1"])).quarantined == 1
    assert after(retry(store, [str(tmp_path / "a.csv")])).quarantined == 1
    Path("a.csv").rename("moved.csv")
    assert after(retry(store, ["moved.csv"])).quarantined == 1
    assert [source.source.path for source in store.sources()] == ["moved.csv"]
    with pytest.raises(InputError, match=r"unknown\.csv: no such file was imported"):
        retry(store, ["unknown.csv"])


def test_a_relative_path_is_found_from_the_folder_of_the_database(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.csv", GOOD, BAD)
    load(store, "a.csv")
    Path("elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert after(retry(Store(tmp_path / "perf.duckdb"), [])).quarantined == 1


@pytest.mark.parametrize(("change", "reason"), [("gone", "the file is gone"), ("changed", "has changed since")])
def test_a_file_that_is_gone_or_changed_is_left_alone(store: Store, change: str, reason: str) -> None:
    write("a.csv", GOOD, BAD)
    write("b.csv", BAD)
    load(store, "a.csv", "b.csv")
    before = rows(store), store.quarantine()
    Path("a.csv").unlink() if change == "gone" else write("a.csv", GOOD, ALSO_GOOD)
    first, second = retry(store, [])
    assert reason in first.left_alone
    assert first.counts is None
    assert second.counts is not None
    assert (rows(store), store.quarantine()) == before


def test_a_wrong_field_is_refused_before_any_file_is_read(store: Store) -> None:
    write("a.csv", GOOD, BAD)
    load(store, "a.csv")
    with pytest.raises(UnknownNameError, match="platfrom"):
        retry(store, [], {"platfrom": "a10"})
    assert len(store.quarantine()) == 1


def test_records_that_another_file_brought_too_stay_when_their_first_file_is_read_again(store: Store) -> None:
    write("a.csv", GOOD, BAD)
    write("b.csv", GOOD, ALSO_GOOD)
    load(store, "a.csv", "b.csv")
    assert [source.counts.duplicates for source in store.sources()] == [0, 1]
    after(retry(store, ["a.csv"], {"engine_version": "0.9"}))
    assert rows(store) == [
        ["b.csv", 1, 0.05, None],
        ["b.csv", 2, 0.06, None],
        ["a.csv", 1, 0.05, "0.9"],
    ]
    assert [(source.counts.stored, source.counts.duplicates) for source in store.sources()] == [(1, 0), (2, 0)]
    assert accounted(store)


def test_true_repeats_are_inherited_one_by_one(store: Store) -> None:
    write("a.csv", GOOD, GOOD, GOOD, BAD)
    write("b.csv", GOOD, GOOD, ALSO_GOOD)
    load(store, "a.csv", "b.csv")
    after(retry(store, ["a.csv"], {"engine_version": "0.9"}))
    assert sorted(map(str, rows(store, "file, row"))) == sorted(
        map(str, [["b.csv", 1], ["b.csv", 2], ["b.csv", 3], ["a.csv", 1], ["a.csv", 2], ["a.csv", 3]])
    )
    assert accounted(store)


def test_copies_of_a_file_follow_it(store: Store) -> None:
    write("a.csv", GOOD, BAD)
    write("copy.csv", GOOD, BAD)
    load(store, "a.csv", "copy.csv")
    (example,) = next(finding for finding in store.check() if finding.kind == "duplicates").examples
    assert example == {"file": "copy.csv", "same_as": "a.csv", "records": 2, "of": 2}
    counts = after(retry(store, ["a.csv", "copy.csv"], {"engine_version": "0.9"}))
    assert counts.stored == 1
    assert rows(store) == [["a.csv", 1, 0.05, "0.9"]]
    assert [source.source.path for source in store.sources()] == ["a.csv", "copy.csv"]
    assert len({source.source.content_hash for source in store.sources()}) == 1
    assert accounted(store)


def test_a_copy_stands_for_its_original_that_is_gone(store: Store) -> None:
    write("a.csv", GOOD, BAD)
    write("copy.csv", GOOD, BAD)
    load(store, "a.csv", "copy.csv")
    Path("a.csv").unlink()
    assert after(retry(store, ["a.csv", "copy.csv"], {"engine_version": "0.9"})).stored == 1
    assert rows(store) == [["copy.csv", 1, 0.05, "0.9"]]
    assert accounted(store)


def test_one_file_under_two_spellings_of_its_path_is_no_copy(store: Store, tmp_path: Path) -> None:
    write("a.csv", GOOD)
    load(store, "a.csv", str(tmp_path / "a.csv"))
    assert [source.source.path for source in store.sources()] == ["a.csv"]


def test_secrets_of_the_settings_are_not_kept(store: Store) -> None:
    write("a.csv", GOOD, BAD)
    load(store, "a.csv", set={"extra.api_key": "abcdefgh", "extra.note": "run with hf_abcdefghijkl"})
    after(retry(store, ["a.csv"], {"extra.more": "token=sk-abcdefghij"}))
    kept = store.path.read_bytes() + str(store.sources()).encode()
    for secret in (b"abcdefgh", b"hf_abcdefghijkl", b"sk-abcdefghij"):
        assert secret not in kept
    assert "[redacted]" in str(store.sources())
