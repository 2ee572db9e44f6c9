"""The overview, the view of results, the coverage of operations, and looking up one point."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfdb.batch import BadRow, Batch, ImportCounts, Number, OperationFile, Reading, Source
from perfdb.errors import InputError, UnknownNameError
from perfdb.metrics import Statistic
from perfdb.records import (
    Arrival,
    Config,
    Experiment,
    Measurement,
    Outcome,
    PointResult,
    Target,
    Workload,
    canonical_json,
)
from perfdb.store import Store

MEAN, P99, VALUE = Statistic.MEAN, Statistic.P99, Statistic.VALUE
CONFIG = Config({"max_num_seqs": 8})
TARGET = Target("m", "h100_sxm", "vllm", 2)
WORKLOAD = Workload(isl=128.0, osl=64.0, arrival=Arrival.CLOSED, concurrency=4)


def objects(*values: object) -> np.ndarray[Any, Any]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def add(store: Store, name: str = "a.csv", tps: float = 10.0, bad: tuple[BadRow, ...] = (), **context: Any) -> None:
    known = {"model": "m", "platform": "h100_sxm", "engine": "vllm", "devices": 2, "isl": 128.0, "osl": 64.0}
    known |= {"arrival": "closed", "concurrency": 4, "config": canonical_json(CONFIG)} | context
    values = {
        ("output_tps", VALUE): np.array([tps]),
        ("ttft_s", MEAN): np.array([0.1]),
        ("ttft_s", P99): np.array([0.4]),
    }
    columns = {key: objects(value) for key, value in known.items()}
    store.ingest(Source(name, name, "csv"), [Batch(np.array([1]), columns, values, bad)])


def operations(store: Store, path: Path, rows: list[tuple[int, int, int]], version: str = "1") -> None:
    path.write_text("m,n,k,ms\n" + "".join(f"{m},{n},{k},1.5\n" for m, n, k in rows))
    numbers = {name: Number((name,)) for name in "mnk"}
    given = {"op": "gemm", "platform": "h100_sxm", "engine": "vllm", "engine_version": version}
    file = OperationFile(path, (Reading(Number(("ms",), per=1e3)),), given, numbers=numbers)
    (counts,) = store.ingest_operations([(Source(path.name, path.name, "operations"), file, [])])
    assert isinstance(counts, ImportCounts)


def test_the_overview_counts_points_measurements_configs_and_failures(store: Store) -> None:
    add(store, "a.csv", bad=(BadRow(2, "x", "y", "text"),))
    add(store, "b.csv", outcome="oom", config='{"max_num_seqs":16}')
    add(store, "c.csv", platform="a10")
    first, second = store.info()["contexts"]
    assert (first["platform"], first["points"], first["measurements"]) == ("h100_sxm", 2, 6)
    assert (first["configs"], first["failed"]) == (2, 1)
    assert (second["platform"], second["points"], second["failed"]) == ("a10", 1, 0)
    (form,) = store.info()["formats"]
    assert (form["format"], form["files"], form["rows_read"], form["stored"]) == ("csv", 3, 4, 3)
    assert (form["duplicates"], form["quarantined"]) == (0, 1)
    json.dumps(store.info(), allow_nan=False)


def test_the_overview_counts_operations_per_table(store: Store, tmp_path: Path) -> None:
    operations(store, tmp_path / "a.csv", [(1, 64, 64), (2, 64, 64)])
    operations(store, tmp_path / "b.csv", [(1, 64, 64)], version="2")
    assert store.info()["operations"] == [
        {"platform": "h100_sxm", "engine": "vllm", "engine_version": "1", "op": "gemm", "rows": 2},
        {"platform": "h100_sxm", "engine": "vllm", "engine_version": "2", "op": "gemm", "rows": 1},
    ]


def test_coverage_counts_rows_in_bins_of_powers_of_two(store: Store, tmp_path: Path) -> None:
    operations(store, tmp_path / "a.csv", [(1, 64, 64), (4, 64, 64), (7, 64, 64), (8, 60_000, 60_000), (0, 64, 64)])
    operations(store, tmp_path / "b.csv", [(1, 64, 64)], version="2")
    first, second = store.coverage("gemm", platform="h100_sxm")
    assert (first.table["engine_version"], first.x, first.y, first.rows) == ("1", "m", "n·k", 5)
    assert first.counts == {(0, 12): 1, (2, 12): 2, (3, 31): 1}
    assert first.to_json()["bins"][1] == {"x": 4, "y": 4096, "rows": 2}
    assert second.counts == {(0, 12): 1}
    assert store.coverage("gemm", engine_version="2") == [second]
    assert store.coverage("moe") == []
    with pytest.raises(UnknownNameError, match="did you mean gemm"):
        store.coverage("gem")


def test_the_view_of_results_has_a_row_per_point_with_its_metrics(store: Store) -> None:
    add(store)
    run = store.open_run("r", "key", {})
    measured = (Measurement("e2e_s", MEAN, 2.0), Measurement("output_tps", MEAN, 7.0))
    point = PointResult(WORKLOAD, measured)
    store.record(Experiment("e-0", run, 0, CONFIG, TARGET, Outcome.OK, "user", points=(point,)))
    columns = 'file, "row", run_id, platform, concurrency, output_tps, ttft_s, ttft_s_p99, ttft_s_p50, e2e_s'
    assert store.sql(f"SELECT {columns} FROM results ORDER BY point_id").rows == [
        ["a.csv", 1, None, "h100_sxm", 4, 10.0, 0.1, 0.4, None, None],
        [None, None, run, "h100_sxm", 4, 7.0, None, None, None, 2.0],
    ]
    with pytest.raises(InputError, match="refused"):
        store.sql("DELETE FROM results")


def test_the_view_agrees_with_the_results_that_the_model_learns_from(store: Store) -> None:
    add(store)
    add(store, "b.csv", tps=20.0)
    table = store.sql("SELECT * FROM results ORDER BY point_id")
    results = store.results()
    for name in ("output_tps", "ttft_s", "ttft_s_p99", "isl", "concurrency"):
        assert [row[table.columns.index(name)] for row in table.rows] == results[name].tolist()


@pytest.mark.parametrize("what", ["results", "op_measurements", "duplicates", "quarantine"])
def test_views_and_all_tables_can_be_exported(store: Store, tmp_path: Path, what: str) -> None:
    add(store)
    add(store, "copy.csv")
    operations(store, tmp_path / "ops.csv", [(1, 64, 64)])
    rows = store.export(what, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == rows == (0 if what == "quarantine" else 1)


def found(store: Store, **other: Any) -> list[float | None]:
    names = ("model", "platform", "devices", "engine", "engine_version")
    target = {name: getattr(TARGET, name) for name in names} | {n: v for n, v in other.items() if n in names}
    load = {name: getattr(WORKLOAD, name) for name in WORKLOAD.__dataclass_fields__}
    load |= {name: value for name, value in other.items() if name in load}
    config = other.get("config", CONFIG)
    return [point.value("output_tps") for point in store.look_up(Target(**target), config, Workload(**load))]


def test_a_point_is_looked_up_by_what_was_run(store: Store) -> None:
    add(store, "a.csv", 10.0)
    add(store, "b.csv", 11.0, engine_version="0.9", client="bench", lengths="D(128,64)")
    add(store, "c.csv", 12.0, concurrency=8)
    add(store, "d.csv", 13.0, isl=None)
    assert found(store) == [10.0, 11.0]
    assert found(store, concurrency=8) == [12.0]
    assert found(store, isl=None) == [13.0]
    assert found(store, engine_version="0.9") == [11.0]
    assert found(store, lengths="D(128,64)", client="bench") == [11.0]
    for unlike in (
        {"model": "n"},
        {"platform": "a10"},
        {"devices": 1},
        {"engine": "sglang"},
        {"engine_version": "1"},
        {"config": Config({"max_num_seqs": 9})},
        {"osl": 65.0},
        {"arrival": Arrival.POISSON},
        {"request_rate": 1.5},
        {"batch_size": 4},
        {"client": "other"},
    ):
        assert found(store, **unlike) == [], unlike


def test_what_is_looked_up_holds_every_statistic_and_its_protocol(store: Store) -> None:
    add(store, client="bench", outcome="partial")
    (point,) = store.look_up(TARGET, CONFIG, WORKLOAD)
    assert (point.value("ttft_s"), point.value("ttft_s", P99), point.outcome) == (0.1, 0.4, Outcome.PARTIAL)
    assert (point.workload.client, point.workload.lengths, point.workload.concurrency) == ("bench", None, 4)


def test_a_look_up_sees_what_was_stored_since(store: Store) -> None:
    assert found(store) == []
    add(store, "a.csv", 10.0)
    assert found(store) == [10.0]
    run = store.open_run("r", "key", {})
    point = PointResult(WORKLOAD, (Measurement("output_tps", VALUE, 9.0),))
    store.record(Experiment("e-0", run, 0, CONFIG, TARGET, Outcome.OK, "user", points=(point,)))
    assert found(store) == [10.0, 9.0]


@pytest.mark.parametrize("rate", [0.1, 1 / 3, 2.5e-7, 1e17, 12345678.875, 3.0])
def test_rates_of_any_size_are_found_again(store: Store, rate: float) -> None:
    add(store, arrival="poisson", concurrency=None, request_rate=rate)
    assert found(store, arrival=Arrival.POISSON, concurrency=None, request_rate=rate) == [10.0]


def test_names_that_spell_each_other_are_told_apart(store: Store) -> None:
    add(store, model="a|1:b", platform="c")
    assert found(store, model="a|1:b", platform="c") == [10.0]
    assert found(store, model="a", platform="b|1:c") == []
    add(store, "umlaut.csv", 11.0, model="mödel-日本")
    assert found(store, model="mödel-日本") == [11.0]
