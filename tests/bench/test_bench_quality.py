"""Speed of looking at a million points: the report on quality, one point by its key, merging, the overview.

Run: `pytest tests/bench/test_bench_quality.py --benchmark-only`. Everything is made up here; no data is needed.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from perfdb.batch import Batch, Source
from perfdb.metrics import Statistic
from perfdb.records import Arrival, Config, Target, Workload, canonical_json
from perfdb.store import Store

ROWS = 1_000_000
CONFIGS = [Config({"max_num_seqs": 16 * (1 + i // 4), "tensor_parallel_size": 2 ** (i % 4)}) for i in range(400)]


def points() -> Batch:
    """Points of 20 models on 3 platforms under 400 configs, with noise and a few values that are far too large."""
    rng = np.random.default_rng(0)
    spelled = np.array([canonical_json(config) for config in CONFIGS], dtype=object)
    concurrency, isl, osl = (2 ** rng.integers(low, high, ROWS) for low, high in ((0, 9), (7, 14), (5, 10)))
    context = {
        "model": np.array([f"org/model-{i}" for i in range(20)], dtype=object)[rng.integers(0, 20, ROWS)],
        "platform": np.array(["h100_sxm", "a10", "mi300x"], dtype=object)[rng.integers(0, 3, ROWS)],
        "engine": np.full(ROWS, "vllm", dtype=object),
        "config": spelled[rng.integers(0, len(CONFIGS), ROWS)],
        "devices": np.ones(ROWS, dtype=np.int64),
        "isl": isl.astype(np.float64),
        "osl": osl.astype(np.float64),
        "arrival": np.full(ROWS, "closed", dtype=object),
        "concurrency": concurrency,
    }
    tpot = 0.01 * (1 + concurrency / 50) * np.exp(0.03 * rng.standard_normal(ROWS))
    ttft = 2e-5 * isl * (1 + concurrency / 4) * np.where(rng.random(ROWS) < 2e-5, 10.0, 1.0)
    e2e = ttft + tpot * osl
    values = {
        ("ttft_s", Statistic.MEAN): ttft,
        ("ttft_s", Statistic.P99): 2 * ttft,
        ("tpot_s", Statistic.MEAN): tpot,
        ("e2e_s", Statistic.MEAN): e2e,
        ("output_tps", Statistic.VALUE): concurrency * osl / e2e,
    }
    return Batch(np.arange(1, ROWS + 1), context, values)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("million") / "perf.duckdb")
    store.ingest(Source("million.csv", "million", "bench"), [points()])
    return store


def test_check_a_million_points(benchmark: BenchmarkFixture, store: Store) -> None:
    findings = benchmark.pedantic(store.check, rounds=3)
    assert "replicates" in {finding.kind for finding in findings}


def test_look_up_one_point_among_a_million(benchmark: BenchmarkFixture, store: Store) -> None:
    target = Target("org/model-3", "h100_sxm", "vllm")
    workloads = [
        Workload(isl=2.0**a, osl=2.0**b, arrival=Arrival.CLOSED, concurrency=2**c)
        for a in range(7, 14)
        for b in range(5, 10)
        for c in range(9)
    ]
    store.look_up(target, CONFIGS[0], workloads[0])
    number = count()

    def look_up() -> int:
        place = next(number)
        return len(store.look_up(target, CONFIGS[place % len(CONFIGS)], workloads[place % len(workloads)]))

    assert benchmark(look_up) >= 0


def test_overview_of_a_million_points(benchmark: BenchmarkFixture, store: Store) -> None:
    assert benchmark(store.info)["tables"]["operating_points"] == ROWS


def test_merge_a_million_points(benchmark: BenchmarkFixture, store: Store, tmp_path: Path) -> None:
    numbers = count()

    def merge() -> int:
        return Store(tmp_path / f"{next(numbers)}.duckdb").merge(store.path)["operating_points"].stored

    assert benchmark.pedantic(merge, rounds=2) == ROWS
