"""Operations under our own names of columns: what was exported comes back as it was."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from perfdb.errors import FileError, InputError
from perfdb.importers.folder import import_paths
from perfdb.importers.options import ImportOptions
from perfdb.store import Store

CSV = """platform,engine,engine_version,op,dtype,m,n,k,latency_s,spread,statistic,measured_at,more
h200_sxm,vllm,0.24.0,gemm,bf16,1024,4096,512,4.4e-05,0.01,median,2026-01-02T03:04:05Z,"{""clock_mhz"":1980}"
h200_sxm,vllm,0.24.0,gemm,bf16,2048,4096,512,8.4e-05,,median,2026-01-02T03:04:05Z,
h200_sxm,vllm,0.24.0,gemm,bf16,2048,4096,512,8.4e-05,,median,2026-01-02T03:04:05Z,
cpu9,,,rope,bf16,,,,0.25,,,,
"""
ALL = "SELECT * EXCLUDE (source_id, source_row) FROM op_measurements ORDER BY source_id, source_row"


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    path = tmp_path / "ops.csv"
    path.write_text(CSV)
    return path


def test_columns_mean_what_they_are_called(store: Store, measured: Path) -> None:
    report = import_paths(store, [measured])
    assert (report.stored, report.quarantined) == (4, 0)
    columns = "m, latency_s, spread, statistic, measured_at::VARCHAR, more, origin"
    found = store.sql(f"SELECT {columns} FROM op_measurements WHERE op = 'gemm' ORDER BY source_row").rows
    assert found[0] == [1024, 4.4e-05, 0.01, "median", "2026-01-02 03:04:05", '{"clock_mhz":1980}', "measured"]
    assert found[1] == found[2] == [2048, 8.4e-05, None, "median", "2026-01-02 03:04:05", None, "measured"]
    assert [text.split(": ", 1)[1] for text in report.warnings] == [
        "platform 'cpu9' is none that we know: kept as it is"
    ]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_what_was_exported_is_a_duplicate_here_and_the_same_elsewhere(
    store: Store, measured: Path, tmp_path: Path, suffix: str
) -> None:
    import_paths(store, [measured])
    out = tmp_path / f"out{suffix}"
    store.export("op_measurements", out)
    again = import_paths(store, [out])
    assert (again.rows_read, again.duplicates, again.stored) == (4, 4, 0)
    other = Store(tmp_path / "other.duckdb")
    import_paths(other, [out])
    assert other.sql(ALL).rows == store.sql(ALL).rows


def test_a_file_that_grew_adds_only_what_is_new(store: Store, measured: Path) -> None:
    import_paths(store, [measured])
    measured.write_text(CSV + "h200_sxm,vllm,0.24.0,gemm,bf16,4096,4096,512,1.6e-04,,median,2026-01-02T03:04:05Z,\n")
    report = import_paths(store, [measured])
    assert (report.rows_read, report.duplicates, report.stored) == (5, 4, 1)


def test_other_columns_go_to_more_beside_what_is_there(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ops.parquet"
    query = """SELECT 'gemm' AS op, 1e-5 AS latency_s, '{"a":1}' AS more, 7 AS power_w
               UNION ALL SELECT 'gemm', 2e-5, NULL, NULL
               UNION ALL SELECT 'gemm', 2e-5, 'no object', NULL UNION ALL SELECT 'gemm', 2e-5, '[1]', NULL"""
    duckdb.sql(query).write_parquet(str(path))
    report = import_paths(store, [path])
    assert dict(report.reasons) == {"not a JSON object": 2}
    assert store.sql("SELECT more FROM op_measurements ORDER BY source_row").rows == [['{"a":1,"power_w":7}'], [None]]


def test_a_map_renames_columns_of_tables_too(store: Store, tmp_path: Path) -> None:
    path, rules = tmp_path / "ops.csv", tmp_path / "map.yaml"
    path.write_text("op,latency_s,card,cards\ngemm,1e-5,H200,8\n")
    rules.write_text("card: platform\ncards: tp\n")
    import_paths(store, [path], ImportOptions(map=rules))
    assert store.sql("SELECT platform, tp, more FROM op_measurements").rows == [["h200_sxm", 8, None]]


def test_a_number_that_is_none_is_refused_before_anything_is_read(store: Store, measured: Path) -> None:
    with pytest.raises(InputError, match="tp=many"):
        import_paths(store, [measured], ImportOptions(set={"tp": "many"}))
    assert not store.path.exists()


def test_times_that_are_none_are_set_aside(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ops.csv"
    path.write_text("op,latency_s,measured_at\ngemm,1e-5,yesterday\n")
    assert dict(import_paths(store, [path]).reasons) == {"not a time": 1}


def test_without_a_latency_it_is_no_such_table(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ops.csv"
    path.write_text("op,latency\ngemm,1e-5\n")
    with pytest.raises(FileError, match="no column of latencies; expected one of latency_s"):
        import_paths(store, [path], ImportOptions(format="collected"))
