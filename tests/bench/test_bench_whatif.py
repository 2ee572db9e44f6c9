"""`whatif` as a process meets it: the second question with nothing changed on disk, and a grid of 100,000 configs.

The database is empty; set SERVECAST_BENCH_DB to one with imported results to include what was learned.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from perfdb.store import Store
from servecast.loads.asked_load import workload_of
from servecast.predicting.whatif import WhatIf, whatif

POINT = workload_of(1024, 128, concurrency=32, rate=None, batch=None)
LARGE = {
    "tensor_parallel_size": (1, 2, 4, 8),
    "max_num_seqs": tuple(range(8, 258, 10)),
    "max_num_batched_tokens": tuple(range(512, 5632, 205)),
    "gpu_memory_utilization": (0.8, 0.85, 0.9, 0.92, 0.95),
    "enable_chunked_prefill": (True, False),
    "pipeline_parallel_size": (1, 2),
    "kv_cache_dtype": ("auto", "fp8"),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(os.environ.get("SERVECAST_BENCH_DB", tmp_path / "empty.duckdb"))


@pytest.mark.parametrize("sets", [{}, LARGE], ids=["one", "100000"])
def test_whatif_warm(benchmark, store, sets):
    asked = WhatIf("meta-llama/Llama-3.1-8B", "h100_sxm", "vllm", POINT, sets)
    whatif(asked, store)
    answer = benchmark(whatif, asked, store)
    assert answer["configs"] == (100_000 if sets else 1)
