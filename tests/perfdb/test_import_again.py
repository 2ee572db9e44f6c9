"""Importing a file that is known: better readings replace older ones, copies are noted, nothing is stored twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfdb.batch import Batch, OperationFile, Source
from perfdb.errors import FileError
from perfdb.importers import sniff
from perfdb.importers.again import retry
from perfdb.importers.folder import import_paths
from perfdb.importers.formats import generic
from perfdb.importers.importer import ReadSettings
from perfdb.importers.options import ImportOptions
from perfdb.metrics import Statistic
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


def test_a_newer_importer_reads_a_known_file_again_at_the_next_import(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.csv", GOOD, BAD)
    write("copy.csv", GOOD, BAD)
    load(store, "a.csv", "copy.csv")
    newer(monkeypatch)
    report = import_paths(store, [Path("a.csv")])
    assert (report.stored, report.quarantined) == (2, 0)
    assert any("replaces" in text for text in report.warnings)
    assert rows(store, "ttft_s") == [[0.05], [0.07]]
    again = import_paths(store, [Path("a.csv"), Path("copy.csv")])
    assert (again.stored, again.duplicates) == (0, 4)
    assert accounted(store)


def test_an_older_importer_leaves_what_a_newer_one_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.csv", GOOD, BAD)
    with monkeypatch.context() as patch:
        newer(patch)
        load(store, "a.csv")
    sniff.importer.cache_clear()
    report = import_paths(store, [Path("a.csv")])
    assert (report.stored, report.duplicates) == (0, 2)
    assert rows(store, "ttft_s") == [[0.05], [0.07]]


def test_one_file_read_as_another_format_is_a_better_reading(store: Store) -> None:
    def batch(ttft: float) -> Batch:
        return Batch(np.array([1]), {}, {("ttft_s", Statistic.MEAN): np.array([ttft])})

    first = Source("a", "hash of bytes as csv", "csv", settings='{"bytes":["b"]}')
    store.ingest(first, [batch(0.1)])
    second = replace(first, content_hash="hash of bytes as vllm", format="vllm")
    other_file = replace(second, content_hash="other", settings='{"bytes":["c"]}')
    assert store.superseded([first, second, other_file]) == {second.content_hash: [1]}
    assert store.ingest(second, [batch(0.2)], replaces=[1]).stored == 1
    assert store.results()["ttft_s"].tolist() == [0.2]
    assert [source.source.format for source in store.sources()] == ["vllm"]


def test_files_of_unknown_settings_are_never_taken_for_one_another(store: Store) -> None:
    store.ingest(Source("a", "a", "csv"), [])
    assert store.superseded([Source("b", "b", "vllm")]) == {}
    assert store.superseded([Source("a", "a", "csv", importer_version=2)]) == {"a": [1]}


def test_a_second_reading_that_fails_leaves_the_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.csv", GOOD, BAD)
    load(store, "a.csv")
    before = rows(store), store.quarantine(), store.sources()

    def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
        yield Batch(np.array([1]), {}, {("ttft_s", Statistic.MEAN): np.array([0.2])})
        raise FileError(f"{path}: row 2: broken")

    sniff.importer.cache_clear()
    monkeypatch.setattr(generic, "IMPORTER", replace(generic.IMPORTER, version=9, read=read))
    (done,) = retry(store, [])
    assert done.left_alone == "a.csv: row 2: broken"
    with pytest.raises(FileError, match="row 2: broken"):
        import_paths(store, [Path("a.csv")])
    assert (rows(store), store.quarantine(), store.sources()) == before


def test_a_copy_is_noted_only_where_both_files_are_there(store: Store) -> None:
    write("a.csv", GOOD)
    load(store, "a.csv")
    Path("a.csv").rename("renamed.csv")
    load(store, "renamed.csv")
    assert [source.source.path for source in store.sources()] == ["a.csv"]


def test_a_dry_run_notes_no_copy(store: Store) -> None:
    write("a.csv", GOOD)
    write("copy.csv", GOOD)
    load(store, "a.csv")
    load(store, "copy.csv", dry_run=True)
    assert [source.source.path for source in store.sources()] == ["a.csv"]
