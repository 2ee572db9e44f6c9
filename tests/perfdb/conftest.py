"""Reading small benchmark files, written by the tests, through the importers, and into a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch, ImportCounts, OperationFile
from perfdb.importers import sniff
from perfdb.importers.again import Retried
from perfdb.importers.folder import import_paths
from perfdb.importers.formats import generic
from perfdb.importers.importer import ColumnRule, ReadSettings
from perfdb.importers.options import ImportOptions, ImportReport
from perfdb.importers.sniff import importer
from perfdb.store import Store

Read = Callable[..., Batch]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def run(text: str | bytes, columns: dict[str, ColumnRule] | None = None, bare: bool = False, **given: str) -> Batch:
        path = tmp_path / "results.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        target = {} if bare else {"model": "Qwen/Qwen3-8B", "platform": "a10", "engine": "vllm"}
        (batch,) = importer("generic").read(path, ReadSettings(target | given, {}, columns or {}))
        return batch

    return run


@pytest.fixture
def read_json(tmp_path: Path) -> Read:
    def run(document: Any, **given: str) -> Batch:
        path = tmp_path / "run.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        (batch,) = importer("vllm").read(path, ReadSettings({"platform": "h200_sxm"} | given))
        return batch

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def run(text: str, name: str = "ops.csv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "perf.duckdb")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "results"
    path.mkdir()
    return path


class Here:
    """A working directory with CSV files and the database that they are imported into."""

    header = "model,platform,engine,isl,osl,concurrency,ttft_ms,output_tps"

    def __init__(self) -> None:
        self.store = Store("perf.duckdb")

    def write(self, name: str, *rows: str, header: str = header) -> Path:
        path = Path(name)
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    def load(self, *names: str, **options: Any) -> ImportReport:
        report = import_paths(self.store, [Path(name) for name in names], ImportOptions(**options))
        assert report.rows_read == report.stored + report.duplicates + report.quarantined
        return report

    def after(self, done: Sequence[Retried]) -> ImportCounts:
        """What the only file that was read again came to."""
        assert len(done) == 1
        assert done[0].counts is not None, done[0].left_alone
        return done[0].counts

    def rows(self, columns: str = "file, row, ttft_s, engine_version") -> list[list[object]]:
        return self.store.sql(f"SELECT {columns} FROM results ORDER BY point_id").rows

    def accounted(self) -> bool:
        """Every source's rows are somewhere, and what sources say they stored is what is there."""
        sums = "SELECT sum(rows_read), sum(stored + duplicates + quarantined), sum(stored) FROM sources"
        (read, told, stored), *_ = self.store.sql(sums).rows
        points = self.store.sql("SELECT count(*) FROM operating_points").rows[0][0]
        orphans = self.store.sql("SELECT count(*) FROM measurements ANTI JOIN operating_points USING (point_id)")
        return read == told and stored == points and orphans.rows == [[0]]

    def newer(self, patch: pytest.MonkeyPatch) -> None:
        """From here on the importer of CSV files reads OOPS as 70."""
        old = generic.IMPORTER

        def read(path: Path, settings: ReadSettings) -> Iterator[Batch] | OperationFile:
            fixed = path.with_suffix(".fixed")
            fixed.write_text(path.read_text().replace("OOPS", "70"))
            return old.read(fixed, settings)

        sniff.importer.cache_clear()
        patch.setattr(generic, "IMPORTER", replace(old, version=old.version + 1, read=read))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.chdir(tmp_path)
    yield Here()
    sniff.importer.cache_clear()
