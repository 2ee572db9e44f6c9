"""Speed of operation tables: importing a million rows of Parquet, the same again, a table as columns, one look-up.

Run: `pytest tests/bench/test_bench_operations.py --benchmark-only`. The tables are made up here; where the package
aiconfigurator-core is installed (`uv sync --extra aiconfigurator`), all of its 12.6 million rows are imported, too.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import duckdb
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from perfdb.errors import InputError
from perfdb.importers.folder import import_files, import_paths
from perfdb.importers.installed import Installed
from perfdb.operations import OperationTable
from perfdb.store import Store, operations

FILES, ROWS = 8, 125_000
GRID = """SELECT 'VLLM' AS framework, '0.24.0' AS version, '{system}' AS device, 'gemm' AS op_name,
  'k' AS kernel_source, ['fp8', 'bfloat16', 'nvfp4', 'fp8_block'][1 + i % 4] AS gemm_dtype,
  1 + i // 4 % 50 AS m, 64 * (1 + i // 200 % 25) AS n, 64 * (1 + i // 5000) AS k, 0.01 + random() AS latency
  FROM range({rows}) t(i)"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A million rows in a folder per device."""
    root = tmp_path_factory.mktemp("tables")
    for system in ("h200_sxm", "h100_sxm", "b200_sxm", "b300_sxm", "gb200", "gb300", "l40s", "a100_sxm")[:FILES]:
        folder = root / system / "gemm" / "vllm" / "0.24.0"
        folder.mkdir(parents=True)
        duckdb.sql(GRID.format(rows=ROWS, system=system)).write_parquet(str(folder / "gemm_perf.parquet"))
    return root


@pytest.fixture(scope="module")
def filled(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("db") / "perf.duckdb")
    import_paths(store, [tables])
    return store


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], Store]:
    numbers = count()
    return lambda: Store(tmp_path / f"perf-{next(numbers)}.duckdb")


def test_import_a_million_operations(benchmark: BenchmarkFixture, tables: Path, fresh: Callable[[], Store]) -> None:
    assert benchmark.pedantic(lambda: import_paths(fresh(), [tables]).stored, rounds=3) == FILES * ROWS


def test_import_a_million_known_operations(benchmark: BenchmarkFixture, tables: Path, filled: Store) -> None:
    assert benchmark.pedantic(lambda: import_paths(filled, [tables]).duplicates, rounds=5) == FILES * ROWS


def test_a_table_of_125k_operations_read_anew(benchmark: BenchmarkFixture, filled: Store) -> None:
    def read() -> OperationTable:
        operations._kept.clear()
        return filled.operations(platform="h200_sxm", engine="vllm", engine_version="0.24.0", op="gemm")

    assert len(benchmark(read)) == ROWS


def test_one_operation_by_its_key(benchmark: BenchmarkFixture, filled: Store) -> None:
    def look_up() -> OperationTable:
        table = filled.operations(platform="h200_sxm", engine="vllm", engine_version="0.24.0", op="gemm")
        return table.where(dtype="fp8", m=25, n=640, k=640)

    assert len(benchmark(look_up)) == 1


def test_import_all_tables_of_aiconfigurator(benchmark: BenchmarkFixture, fresh: Callable[[], Store]) -> None:
    try:
        package = Installed.find()
    except InputError as error:
        pytest.skip(f"12.6 million rows are NOT measured: {error}")

    def load() -> int:
        return import_files(fresh(), package.files(), shown=package.shown).rows_read

    assert benchmark.pedantic(load, rounds=1) > 12_000_000
