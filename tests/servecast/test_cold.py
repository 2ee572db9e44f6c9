"""A new process that asks what was asked before: neither the compiler nor the database nor a learning library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import compiled
from model.tables.kernels import GEMM, Rates
from perfdb.importers.folder import import_paths
from perfdb.store import Store

HEAVY = ["numba", "scipy", "duckdb", "pandas", "sklearn", "xgboost"]
ASKED = "whatif --model llama-3.1-8b --platform h200_sxm --engine vllm:0.24.0 --isl 512 --osl 64 --concurrency 8 --json"


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table and some runs."""
    folder = tmp_path_factory.mktemp("cold")
    m, n, k = (axis.ravel() for axis in np.meshgrid([1.0, 128, 4096], [1024.0, 4096], [1024.0, 8192], indexing="ij"))
    seconds = GEMM.formula(Rates(6e14, 4e12, 4e-6), (), [m, n, k])
    lines = [
        f"h200_sxm,vllm,0.22.0,gemm,bf16,{a:g},{b:g},{c:g},{s}" for a, b, c, s in zip(m, n, k, seconds, strict=True)
    ]
    head = "platform,engine,engine_version,op,dtype,m,n,k,latency_s"
    (folder / "tables.csv").write_text("\n".join([head, *lines]))
    runs = [
        f"{model},{place},vllm,1,{isl},128,{c},{0.01 * c**0.3 * isl**0.01},{0.02 * isl**0.5}"
        for model in ("meta-llama/Llama-3.1-8B", "Qwen/Qwen3-8B")
        for place in ("h100_sxm", "a100_sxm", "l40s")
        for isl in range(128, 1024, 64)
        for c in (1, 2, 4, 8)
    ]
    head = "model,platform,engine,devices,isl,osl,concurrency,tpot_s,ttft_s"
    (folder / "runs.csv").write_text("\n".join([head, *runs]))
    import_paths(Store(folder / "perf.duckdb"), [folder / "tables.csv", folder / "runs.csv"])
    return folder / "perf.duckdb"


def cold(db: Path, cache: Path, *more: str) -> tuple[dict[str, Any], list[str]]:
    """The answer of a new process, and what it imported of the heavy libraries."""
    asked = [*ASKED.split(), "--db", str(db), *more]
    code = (
        f"import sys; sys.argv = ['servecast', *{asked!r}]\n"
        "from servecast.start import main\n"
        "try: main()\n"
        f"finally: print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    # compiled kernels stay where they are: to compile them anew would take seconds
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "NUMBA_CACHE_DIR": compiled.config.CACHE_DIR}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    answer = json.loads(done.stdout)
    del answer["cpu_s"]
    return answer, json.loads(done.stderr.splitlines()[-1].replace("'", '"'))


@pytest.fixture(scope="module")
def asked_once(db: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The cache of a first question, and its answer."""
    cache = tmp_path_factory.mktemp("cache")
    answer, loaded = cold(db, cache, "--set", "tp=1,2")
    assert {"duckdb", "xgboost"} <= set(loaded)
    return cache, answer


def test_a_question_asked_before_loads_nothing_heavy(db: Path, asked_once: tuple[Path, dict[str, Any]]) -> None:
    cache, first = asked_once
    second, loaded = cold(db, cache, "--set", "tp=1,2")
    assert loaded == []
    assert second == first
    assert second["rows"][0]["provenance"] == "learned"
    assert any("0.22.0" in warning for warning in second["warnings"])


def test_another_load_of_another_config_needs_nothing_heavy_either(
    db: Path, asked_once: tuple[Path, dict[str, Any]]
) -> None:
    """Steps that were never asked for are tabulated in plain Python."""
    answer, loaded = cold(db, asked_once[0], "--set", "tp=4", "--osl", "32")
    assert loaded == []
    assert answer["rows"][0]["feasible"]
