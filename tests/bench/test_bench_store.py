"""Speed of the store: opening, recording, importing a million rows, and the history of 10,000 points.

Run: `pytest tests/bench/test_bench_store.py --benchmark-only`. Everything is made up here; no data is needed.
"""

from __future__ import annotations

import csv
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from perfdb.batch import Batch, Source
from perfdb.metrics import Statistic
from perfdb.records import Config, Experiment, Measurement, Outcome, PointResult, Target, Workload
from perfdb.store import Store, scan, scan_text

MILLION = 1_000_000
STATISTICS = (Statistic.MEAN, Statistic.MEDIAN, Statistic.P90, Statistic.P99)


def batch(rows: int, metrics: tuple[tuple[str, Statistic], ...]) -> Batch:
    """Rows of eight context columns, all different."""
    rng = np.random.default_rng(0)
    configs = [f'{{"max_num_seqs":{16 * (1 + i // 4)},"tensor_parallel_size":{2 ** (i % 4)}}}' for i in range(400)]

    def pick(values: list[str]) -> np.ndarray[Any, Any]:
        return np.array(values, dtype=object)[rng.integers(0, len(values), rows)]

    context = {
        "model": pick([f"org/model-{i}" for i in range(20)]),
        "platform": pick(["H100", "A100", "MI300X"]),
        "engine": pick(["vllm"]),
        "config": pick(configs),
        "devices": np.ones(rows, dtype=np.int64),
        "isl": rng.integers(1, 4096, rows).astype(np.float64),
        "osl": rng.integers(1, 4096, rows).astype(np.float64),
        "concurrency": rng.integers(1, 512, rows),
    }
    return Batch(np.arange(1, rows + 1), context, {key: rng.random(rows) for key in metrics})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A database of 10,000 operating points with 16 measurements each."""
    store = Store(tmp_path / "perf.duckdb")
    keys = tuple((metric, s) for metric in ("ttft_s", "tpot_s", "itl_s", "e2e_s") for s in STATISTICS)
    store.ingest(Source("history.csv", "history", "bench"), [batch(10_000, keys)])
    return store


def test_open_and_query(benchmark: BenchmarkFixture, store: Store) -> None:
    table = benchmark(store.sql, "SELECT count(*) FROM operating_points")
    assert table.rows == [[10_000]]


def test_results_of_10k_points(benchmark: BenchmarkFixture, store: Store) -> None:
    assert len(benchmark(store.results)["ttft_s_p99"]) == 10_000


def test_record_one_experiment(benchmark: BenchmarkFixture, store: Store) -> None:
    run, numbers = store.open_run("bench", "bench", {}), count()
    values = tuple(Measurement(m, s, 0.5) for m in ("ttft_s", "tpot_s", "itl_s", "e2e_s") for s in STATISTICS)
    point, target = PointResult(Workload(isl=96, osl=24), values), Target("m", "local", "llamacpp")

    def record() -> bool:
        n = next(numbers)
        return store.record(
            Experiment(f"{run}-{n}", run, n, Config({"n": n}), target, Outcome.OK, "gap_fill", points=(point,))
        )

    assert benchmark.pedantic(record, rounds=20, warmup_rounds=2)


def test_import_one_small_file(benchmark: BenchmarkFixture, store: Store) -> None:
    numbers = count(10_000)
    keys = tuple((metric, s) for metric in ("ttft_s", "tpot_s", "e2e_s") for s in STATISTICS)
    small = batch(1, keys)

    def ingest() -> int:
        n = next(numbers)
        one = Batch(small.rows, {**small.context, "isl": np.array([float(n)])}, small.values)
        return store.ingest(Source("small.json", f"small-{n}", "bench"), [one]).stored

    assert benchmark.pedantic(ingest, rounds=20, warmup_rounds=2) == 1


def test_import_a_million_rows(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    million = batch(MILLION, (("ttft_s", Statistic.MEAN), ("output_tps", Statistic.VALUE)))
    fresh = (Store(tmp_path / f"perf-{n}.duckdb") for n in count())

    def ingest() -> int:
        return next(fresh).ingest(Source("million.csv", "million", "bench"), [million]).measurements

    assert benchmark.pedantic(ingest, rounds=3) == 2 * MILLION


def test_import_a_million_known_rows(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    million = batch(MILLION, (("ttft_s", Statistic.MEAN), ("output_tps", Statistic.VALUE)))
    store, names = Store(tmp_path / "perf.duckdb"), count()
    store.ingest(Source("million.csv", "million", "bench"), [million])

    def ingest() -> int:
        return store.ingest(Source("copy.csv", f"copy-{next(names)}", "bench"), [million]).duplicates

    assert benchmark.pedantic(ingest, rounds=3) == MILLION


def wide_csv(path: Path) -> Path:
    """A million rows of ten columns, about 100 MB."""
    rng = np.random.default_rng(0)
    columns = [rng.random(MILLION).astype(str) for _ in range(5)] + [
        rng.integers(0, 1000, MILLION).astype(str) for _ in range(5)
    ]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([f"c{i}" for i in range(10)])
        writer.writerows(zip(*columns, strict=True))
    return path


def test_scan_text_of_a_million_rows(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    assert len(benchmark.pedantic(scan_text, args=(wide_csv(tmp_path / "wide.csv"),), rounds=2).rows) == MILLION


def test_scan_with_a_filter_of_a_million_rows(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    assert (
        0
        < len(benchmark.pedantic(scan, args=(wide_csv(tmp_path / "wide.csv"), "c9 < 10", {"r": "c0 / c1"}), rounds=2))
        < MILLION
    )
