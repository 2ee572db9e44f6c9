"""Speed of importing: a CSV of a million plain measurements, units, identity and quarantine on (issue 3: 10 s)."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfdb.importers.folder import import_paths
from perfdb.store.store import Store

ROWS = 1_000_000
HEADER = "model,gpu,engine,tp,max_num_seqs,isl,osl,concurrency,mean_ttft_ms,mean_tpot_ms,output_throughput\n"


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("import") / "big.csv"
    ttft, tpot = rng.uniform(10, 900, ROWS), rng.uniform(5, 50, ROWS)
    concurrency = rng.choice([1, 2, 4, 8, 16, 32, 64], ROWS)
    with path.open("w") as file:
        file.write(HEADER)
        for i in range(ROWS):
            c = concurrency[i]
            speed = -1.0 if i % 1000 == 0 else c / tpot[i] * 900
            settings = f"{2 ** (i % 4)},{64 * (1 + i % 8)},{128 * (1 + i % 30)},128,{c}"
            file.write(f"Llama-3.1-8B,H100 SXM,vllm,{settings},{ttft[i]:.3f},{tpot[i]:.3f},{speed:.3f}\n")
    return path


def test_a_million_rows(benchmark: Any, big: Path, tmp_path: Path) -> None:
    places = iter(range(100))

    def run() -> None:
        report = import_paths(Store(tmp_path / f"{next(places)}.duckdb"), [big])
        assert (report.stored, report.quarantined) == (ROWS - 1000, 1000)

    start = time.process_time()
    benchmark.pedantic(run, rounds=1)
    benchmark.extra_info["cpu_s"] = round(time.process_time() - start, 2)
    benchmark.extra_info["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
