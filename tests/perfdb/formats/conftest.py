"""Reading small files of any format, written by the tests, and what became of their records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from perfdb.batch import Batch
from perfdb.importers.content import HEAD_BYTES
from perfdb.importers.importer import ReadSettings
from perfdb.importers.sniff import importer, recognise


@pytest.fixture
def read_as(tmp_path: Path) -> Callable[..., Batch]:
    """Writes `content` (text, or a document for JSON) and reads it; it must be recognised as the format's."""

    def run(name: str, content: Any, file: str = "run.json", **given: str) -> Batch:
        path = tmp_path / file
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        assert recognise(path.read_bytes()[:HEAD_BYTES], path) is importer(name)
        (batch,) = importer(name).read(path, ReadSettings(given))
        return batch

    return run


@pytest.fixture
def facts() -> Callable[..., dict[str, Any]]:
    """What is known of one record: its context by name (config and extra as objects) and its values by "metric:p99"."""

    def of(batch: Batch, row: int = 0) -> dict[str, Any]:
        cells = {name: column[row] for name, column in batch.context.items()}
        known = {
            name: value
            for name, value in cells.items()
            if isinstance(value, str) or np.isfinite(np.nan if value is None else value)
        }
        objects = {name: json.loads(known.get(name, "{}")) for name in ("config", "extra")}
        values = {f"{metric}:{statistic}": float(column[row]) for (metric, statistic), column in batch.values.items()}
        return known | objects | {name: value for name, value in values.items() if np.isfinite(value)}

    return of


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    def write(columns: str, name: str = "gemm_perf", where: str = "h200_sxm/gemm/vllm/0.24.0", rows: int = 1) -> Path:
        path = tmp_path / "data" / where / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        duckdb.sql(f"SELECT {columns} FROM range({rows}) t(i)").write_parquet(str(path))
        return path

    return write
