"""Importing a file that is known with another importer: the better reading stands in place of the older one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfdb.batch import Batch, Source
from perfdb.errors import FileError
from perfdb.importers import sniff
from perfdb.importers.again import retry
from perfdb.importers.folder import import_paths
from perfdb.importers.formats import generic
from perfdb.importers.importer import ReadSettings
from perfdb.metrics import Statistic

GOOD = "Qwen/Qwen3-8B,a10,vllm,128,64,1,50,100"
ALSO_GOOD = "Qwen/Qwen3-8B,a10,vllm,128,64,2,60,150"
BAD = "Qwen/Qwen3-8B,a10,vllm,128,64,4,OOPS,150"


def test_a_newer_importer_reads_a_known_file_again_at_the_next_import(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write("a.csv", GOOD, BAD)
    here.write("copy.csv", GOOD, BAD)
    here.load("a.csv", "copy.csv")
    here.newer(monkeypatch)
    report = import_paths(here.store, [Path("a.csv")])
    assert (report.stored, report.quarantined) == (2, 0)
    assert any("replaces" in text for text in report.warnings)
    assert here.rows("ttft_s") == [[0.05], [0.07]]
    again = import_paths(here.store, [Path("a.csv"), Path("copy.csv")])
    assert (again.stored, again.duplicates) == (0, 4)
    assert here.accounted()


def test_an_older_importer_leaves_what_a_newer_one_read(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here.write("a.csv", GOOD, BAD)
    with monkeypatch.context() as patch:
        here.newer(patch)
        here.load("a.csv")
    sniff.importer.cache_clear()
    report = import_paths(here.store, [Path("a.csv")])
    assert (report.stored, report.duplicates) == (0, 2)
    assert here.rows("ttft_s") == [[0.05], [0.07]]


def test_one_file_read_as_another_format_is_a_better_reading(here: Any) -> None:
    def batch(ttft: float) -> Batch:
        return Batch(np.array([1]), {}, {("ttft_s", Statistic.MEAN): np.array([ttft])})

    first = Source("a", "hash of bytes as csv", "csv", settings='{"bytes":["b"]}')
    here.store.ingest(first, [batch(0.1)])
    second = replace(first, content_hash="hash of bytes as vllm", format="vllm")
    other_file = replace(second, content_hash="other", settings='{"bytes":["c"]}')
    assert here.store.superseded([first, second, other_file]) == {second.content_hash: [1]}
    assert here.store.ingest(second, [batch(0.2)], replaces=[1]).stored == 1
    assert here.store.results()["ttft_s"].tolist() == [0.2]
    assert [source.source.format for source in here.store.sources()] == ["vllm"]


def test_files_of_unknown_settings_are_never_taken_for_one_another(here: Any) -> None:
    here.store.ingest(Source("a", "a", "csv"), [])
    assert here.store.superseded([Source("b", "b", "vllm")]) == {}
    assert here.store.superseded([Source("a", "a", "csv", importer_version=2)]) == {"a": [1]}


def test_a_second_reading_that_fails_leaves_the_first(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here.write("a.csv", GOOD, BAD)
    here.load("a.csv")
    before = here.rows(), here.store.quarantine(), here.store.sources()

    def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
        yield Batch(np.array([1]), {}, {("ttft_s", Statistic.MEAN): np.array([0.2])})
        raise FileError(f"{path}: row 2: broken")

    sniff.importer.cache_clear()
    monkeypatch.setattr(generic, "IMPORTER", replace(generic.IMPORTER, version=9, read=read))
    (done,) = retry(here.store, [])
    assert done.left_alone == "a.csv: row 2: broken"
    with pytest.raises(FileError, match="row 2: broken"):
        import_paths(here.store, [Path("a.csv")])
    assert (here.rows(), here.store.quarantine(), here.store.sources()) == before
