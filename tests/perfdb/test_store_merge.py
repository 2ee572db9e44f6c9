"""Merging databases: every record once, ids of our own, all or nothing, and the other file untouched."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfdb.batch import BadRow, Batch, ImportCounts, Number, OperationFile, Reading, Source
from perfdb.errors import FileError
from perfdb.metrics import Statistic
from perfdb.records import Config, Experiment, Interval, Measurement, Outcome, PointResult, Suggestion, Target, Workload
from perfdb.store import Store
from perfdb.store.merge import MergeCounts

TARGET = Target("m", "local", "llamacpp", 1)


@pytest.fixture
def here(tmp_path: Path) -> Store:
    return Store(tmp_path / "here.duckdb")


@pytest.fixture
def there(tmp_path: Path) -> Store:
    return Store(tmp_path / "there.duckdb")


def add(store: Store, name: str, *ttft: float, bad: tuple[BadRow, ...] = (), **source: Any) -> ImportCounts:
    rows = np.arange(1, len(ttft) + 1)
    values = {("ttft_s", Statistic.MEAN): np.array(ttft), ("ttft_s", Statistic.P99): np.array(ttft) * 2}
    given = {"content_hash": name, "format": "csv", "settings": f'{{"bytes":["{name}"]}}'} | source
    return store.ingest(Source(name, **given), [Batch(rows, {}, values, bad)])


def experiment(run: str, index: int, n: int, started_at: float = 0.0, points: int = 1) -> Experiment:
    measured = (Measurement("ttft_s", Statistic.MEAN, 0.1 * n), Measurement("output_tps", Statistic.VALUE, 10.0 * n))
    results = tuple(PointResult(Workload(isl=float(i)), measured) for i in range(points))
    predicted = {"ttft_s": Interval(0.1, 0.05, 0.2)}
    identity = f"{run}-{index:04d}"
    return Experiment(
        identity, run, index, Config({"n": n}), TARGET, Outcome.OK, "user", points=results, predicted=predicted,
        started_at=started_at or 1000.0 + index,
    )  # fmt: skip


def stored(counts: dict[str, MergeCounts]) -> dict[str, int]:
    return {table: count.stored for table, count in counts.items() if count.stored}


def duplicates(counts: dict[str, MergeCounts]) -> dict[str, int]:
    return {table: count.duplicates for table, count in counts.items() if count.duplicates}


def ttfts(store: Store) -> list[float]:
    return sorted(store.results()["ttft_s"].tolist())


def digest(store: Store) -> str:
    return hashlib.sha256(store.path.read_bytes()).hexdigest()


def test_everything_comes_once_and_the_other_database_is_not_touched(here: Store, there: Store) -> None:
    add(here, "a", 0.1, 0.2)
    add(there, "b", 0.3, 0.4, bad=(BadRow(3, "ttft", "x", "text"),))
    run = there.open_run("tuning", "key", {"n": 1})
    there.record(experiment(run, 0, 1, points=2))
    there.note_suggestions(run, [Suggestion(Config({"n": 2}), "trend")])
    before = digest(there)
    counts = here.merge(there.path)
    assert counts["operating_points"] == MergeCounts(4, 4)
    once = dict.fromkeys(("sources", "quarantine", "runs", "experiments", "suggestions"), 1)
    assert stored(counts) == once | {"operating_points": 4, "measurements": 8}
    assert duplicates(counts) == {}
    assert digest(there) == before
    assert sorted(path.name for path in there.path.parent.iterdir()) == ["here.duckdb", "there.duckdb"]
    assert here.experiments() == there.experiments()
    assert here.suggestions(run) == there.suggestions(run)
    assert ttfts(here) == [0.1, 0.1, 0.1, 0.2, 0.3, 0.4]
    assert here.results()["ttft_s_p99"][:4].tolist() == [0.2, 0.4, 0.6, 0.8]
    assert [(group["source_id"], group["file"]) for group in here.quarantine()] == [(2, "b")]
    assert [(s.source_id, s.source.path, s.counts.stored) for s in here.sources()] == [(1, "a", 2), (2, "b", 2)]


def test_a_second_merge_changes_nothing(here: Store, there: Store) -> None:
    add(there, "a", 0.1, 0.1, bad=(BadRow(3, "ttft", "x", "text"),))
    run = there.open_run("tuning", "key", {})
    there.record(experiment(run, 0, 1))
    there.note_suggestions(run, [Suggestion(Config({"n": 2}), "trend")])
    first = here.merge(there.path)
    tables = here.info()["tables"]
    second = here.merge(there.path)
    assert stored(second) == {}
    assert duplicates(second) == stored(first)
    assert here.info()["tables"] == tables


def test_into_a_missing_database_everything_comes(tmp_path: Path, there: Store) -> None:
    add(there, "a", 0.1)
    new = Store(tmp_path / "new.duckdb")
    assert stored(new.merge(there.path, dry_run=True)) == {"sources": 1, "operating_points": 1, "measurements": 2}
    assert not new.path.exists()
    new.merge(there.path)
    assert ttfts(new) == [0.1]


def test_a_dry_run_says_what_would_come_and_stores_nothing(here: Store, there: Store) -> None:
    add(here, "a", 0.1)
    add(there, "b", 0.2)
    before = digest(here)
    dry = here.merge(there.path, dry_run=True)
    assert digest(here) == before
    assert dry == here.merge(there.path)


def test_equal_records_of_different_files_are_stored_once_and_remembered(here: Store, there: Store) -> None:
    add(here, "a", 0.1, 0.2)
    add(there, "b", 0.2, 0.3)
    counts = here.merge(there.path)
    assert counts["operating_points"] == MergeCounts(2, 1)
    assert ttfts(here) == [0.1, 0.2, 0.3]
    source = here.sources()[1]
    assert (source.counts.rows_read, source.counts.stored, source.counts.duplicates) == (2, 1, 1)
    here.ingest(Source("a", "a2", "csv"), [], replaces=[1])
    assert ttfts(here) == [0.2, 0.3], "b brought 0.2, too"


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ours=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), max_size=3),
    theirs=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_a_merge_is_what_importing_the_same_files_would_have_been(
    tmp_path_factory: pytest.TempPathFactory, ours: list[list[int]], theirs: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    here, there = Store(folder / "here.duckdb"), Store(folder / "there.duckdb")
    for store, files in ((here, ours), (there, theirs)):
        for values in files:
            add(store, str(values), *map(float, values))
    counts = here.merge(there.path)
    expected: Counter[float] = Counter()
    for values in (*ours, *theirs):
        expected |= Counter(map(float, values))
    assert Counter(ttfts(here)) == expected
    assert all(count.read == count.stored + count.duplicates for count in counts.values())
    assert all(s.counts.rows_read == s.counts.stored + s.counts.duplicates for s in here.sources())
    assert sum(s.counts.stored for s in here.sources()) == len(ttfts(here))


def test_of_a_file_that_both_have_read_the_newer_importer_stands(here: Store, there: Store) -> None:
    add(here, "a", 0.1, 0.2, importer_version=1)
    add(there, "a", 0.3, bad=(BadRow(2, "ttft", "-1", "negative"),), importer_version=2)
    here_before = digest(here)
    back = there.merge(here.path)
    assert stored(back) == {}
    assert (ttfts(there), digest(here)) == ([0.3], here_before)
    assert stored(here.merge(there.path)) == {"sources": 1, "operating_points": 1, "measurements": 2, "quarantine": 1}
    assert ttfts(here) == [0.3]
    assert stored(here.merge(there.path)) == {}


def test_what_only_an_older_reading_there_stands_for_comes_from_the_file_that_brought_it_too(
    here: Store, there: Store
) -> None:
    add(here, "a", 0.9, importer_version=2)
    add(there, "a", 0.1, importer_version=1)
    add(there, "b", 0.1, 0.2)
    here.merge(there.path)
    assert ttfts(here) == [0.1, 0.2, 0.9]
    assert [(s.source.path, s.counts.stored, s.counts.duplicates) for s in here.sources()] == [("a", 1, 0), ("b", 2, 0)]


def test_experiments_of_one_run_that_went_on_in_two_places_are_all_kept(here: Store, there: Store) -> None:
    run = here.open_run("tuning", "key", {})
    here.record(experiment(run, 0, 1))
    there.merge(here.path)
    here.record(experiment(run, 1, 2, started_at=50.0))
    there.record(experiment(run, 1, 3, started_at=60.0))
    there.record(experiment(run, 2, 2, started_at=70.0))
    counts = here.merge(there.path)
    assert counts["experiments"] == MergeCounts(3, 2)
    found = here.experiments(run)
    assert [(e.experiment_id, e.index, e.config["n"]) for e in found] == [
        (f"{run}-0000", 0, 1),
        (f"{run}-0001", 1, 2),
        (f"{run}-0002", 2, 3),
        (f"{run}-0003", 3, 2),
    ]
    assert [e.actual["ttft_s"] for e in found] == [0.1, 0.2, 0.1 * 3, 0.2]
    assert stored(here.merge(there.path)) == {}
    assert stored(there.merge(here.path)) == {"experiments": 1, "operating_points": 1, "measurements": 2}


def test_a_task_that_both_have_tuned_goes_on_in_our_own_run(here: Store, there: Store) -> None:
    theirs = there.open_run("tuning", "key", {})
    ours = here.open_run("tuning", "key", {})
    here.finish_run(ours, "done")
    here.merge(there.path)
    assert here.open_run("tuning", "key", {}) == ours
    open_runs = here.sql("SELECT run_id FROM runs WHERE finished_at IS NULL ORDER BY 1").rows
    assert open_runs == [[run] for run in sorted((ours, theirs))]


def operations(store: Store, path: Path, *latencies: float, platform: str = "h100_sxm") -> None:
    path.write_text("m,n,k,ms\n" + "".join(f"{2**i},64,64,{ms}\n" for i, ms in enumerate(latencies)))
    numbers = {name: Number((name,)) for name in "mnk"}
    file = OperationFile(
        path, (Reading(Number(("ms",), per=1e3)),), {"op": "gemm", "platform": platform}, numbers=numbers
    )
    source = Source(path.name, f"{path.name} {latencies}", "operations")
    results: Iterator[ImportCounts | FileError] = store.ingest_operations([(source, file, [])])
    assert all(isinstance(result, ImportCounts) for result in results)


def test_operation_tables_come_once(here: Store, there: Store, tmp_path: Path) -> None:
    operations(here, tmp_path / "ours.csv", 1.0, 2.0)
    operations(there, tmp_path / "theirs.csv", 1.0, 2.5, 3.0)
    operations(there, tmp_path / "other.csv", 5.0, platform="a10")
    counts = here.merge(there.path)
    assert counts["op_measurements"] == MergeCounts(4, 3)
    assert here.operations(op="gemm", platform="h100_sxm")["latency_s"].tolist() == [0.001, 0.002, 0.0025, 0.003]
    assert here.operations(op="gemm", platform="a10")["source"].tolist() == ["other.csv"]
    assert [(s.source.path, s.counts.stored, s.counts.duplicates) for s in here.sources()] == [
        ("ours.csv", 2, 0),
        ("theirs.csv", 2, 1),
        ("other.csv", 1, 0),
    ]
    assert stored(here.merge(there.path)) == {}


def test_a_merge_that_fails_half_way_leaves_nothing(here: Store, there: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from perfdb.store import merge

    add(here, "a", 0.1)
    add(there, "b", 0.2)

    def fail(_: object) -> dict[str, int]:
        raise RuntimeError("killed")

    monkeypatch.setattr(merge, "merge_runs", fail)
    with pytest.raises(RuntimeError, match="killed"):
        here.merge(there.path)
    monkeypatch.undo()
    assert ttfts(here) == [0.1]
    assert stored(here.merge(there.path)) == {"sources": 1, "operating_points": 1, "measurements": 2}


def test_ids_of_both_stay_apart(here: Store, there: Store) -> None:
    add(here, "a", 0.1)
    add(there, "b", 0.2, 0.3)
    run = there.open_run("tuning", "key", {})
    there.record(replace(experiment(run, 0, 4), detail="theirs"))
    here.merge(there.path)
    ids = here.sql("SELECT count(*), count(DISTINCT point_id) FROM operating_points").rows[0]
    assert ids == [4, 4]
    add(here, "c", 0.9)
    assert ttfts(here) == [0.1, 0.2, 0.3, 0.4, 0.9]
