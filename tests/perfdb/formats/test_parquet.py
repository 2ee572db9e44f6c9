"""Parquet files of results: typed columns, exact numbers, damaged files."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from perfdb.errors import FileError, ServecastError
from perfdb.importers.content import look_at
from perfdb.importers.folder import import_paths
from perfdb.importers.importer import ReadSettings
from perfdb.importers.options import ImportOptions
from perfdb.importers.sniff import importer, recognise
from perfdb.store.parquet import scan_parquet
from perfdb.store.store import Store

Facts = Callable[..., dict[str, Any]]

ROWS = """
    SELECT 'Qwen/Qwen3-8B' AS model, '8xH100' AS gpu, 'vllm' AS engine, 8::TINYINT AS tp, conc::BIGINT AS concurrency,
           ttft::DOUBLE AS mean_ttft_ms, tps::FLOAT AS output_throughput, chunked::BOOLEAN AS chunked,
           TIMESTAMP '2026-03-01 12:30:00' AS date, 'hush-hush' AS api_key
    FROM (VALUES (1, 50.1, 900.5, true), (2, NULL, 1200.25, false), (4, -1, 1300, NULL)) AS t(conc, ttft, tps, chunked)
"""


def write(path: Path, query: str = ROWS) -> Path:
    duckdb.sql(query).write_parquet(str(path))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "results.parquet")


def test_typed_columns_are_read_as_a_csv_s(file: Path, facts: Facts) -> None:
    assert recognise(look_at(file).head, file) is importer("generic")
    (batch,) = importer("generic").read(file, ReadSettings())
    found = facts(batch, 0)
    assert (found["model"], found["platform"], found["devices"]) == ("Qwen/Qwen3-8B", "h100_sxm", 8)
    assert (found["ttft_s:mean"], found["output_tps:value"]) == (pytest.approx(0.0501), 900.5)
    assert (found["concurrency"], found["measured_at"]) == (1, "2026-03-01T12:30:00")
    assert found["extra"] == {"chunked": True, "hardware_label": "8xH100", "api_key": "[redacted]"}
    assert "ttft_s:mean" not in facts(batch, 1)
    assert [(row.row, row.reason) for row in batch.bad] == [(3, "negative ttft_s")]


def test_every_number_comes_back_as_it_was(tmp_path: Path) -> None:
    random.seed(7)
    numbers = [random.uniform(-1, 1) * 10.0 ** random.randint(-300, 300) for _ in range(2000)]
    numbers += [0.1, 1e16, 5e-324, 1.7976931348623157e308, 2**53 + 1.0, 0.30000000000000004]
    duckdb.sql("CREATE OR REPLACE TABLE numbers AS SELECT unnest($numbers)::DOUBLE AS n", params={"numbers": numbers})
    table = scan_parquet(write(tmp_path / "numbers.parquet", "SELECT n, 9007199254740993 AS whole FROM numbers"))
    assert [float(text) for text in table.columns[0]] == numbers
    assert set(table.columns[1]) == {"9007199254740993"}


def test_many_rows_keep_their_order(tmp_path: Path) -> None:
    query = "SELECT i AS n, (i % 3)::VARCHAR AS name FROM range(30000) AS r(i)"
    table = scan_parquet(write(tmp_path / "many.parquet", query))
    assert table.rows.tolist() == list(range(1, 30001))
    assert table.columns[0].tolist() == [str(number) for number in range(30000)]
    assert table.columns[1].tolist()[:4] == ["0", "1", "2", "0"]


def test_names_of_folders_are_no_columns(tmp_path: Path) -> None:
    folder = tmp_path / "tp=8"
    folder.mkdir()
    assert "tp" not in scan_parquet(write(folder / "r.parquet", "SELECT 1 AS a")).header


def test_not_a_number_is_set_aside(tmp_path: Path) -> None:
    path = write(tmp_path / "nan.parquet", "SELECT unnest([1.5, 'nan'::DOUBLE, 'inf'::DOUBLE]) AS mean_ttft_ms")
    (batch,) = importer("generic").read(path, ReadSettings())
    assert [row.reason for row in batch.bad] == ["not a number (NaN)", "infinite"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT 'x' AS name", "no column is a metric that we know"),
        ("SELECT [1.0, 2.0] AS ttft_ms", "holds lists"),
        ("SELECT 1.0 AS ttft_ms WHERE false", "no record below the header"),
    ],
)
def test_a_file_without_results_has_one_clear_reason(tmp_path: Path, query: str, reason: str) -> None:
    path = write(tmp_path / "x.parquet", query)
    with pytest.raises(FileError, match=reason):
        list(importer("generic").read(path, ReadSettings()))


def test_a_name_that_would_match_other_files_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet").rename(tmp_path / "a[1].parquet")
    with pytest.raises(FileError, match="a name without them"):
        scan_parquet(path)


def test_billions_of_rows_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.parquet", "SELECT 1 AS ttft_ms FROM range(50000001)")
    assert path.stat().st_size < 2**20
    with pytest.raises(FileError, match="50,000,001 rows; expected at most 50,000,000"):
        scan_parquet(path)


def test_it_is_stored_once(file: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "db.duckdb")
    first, second = import_paths(store, [file]), import_paths(store, [file])
    assert (first.rows_read, first.stored, first.quarantined, second.duplicates) == (3, 2, 1, 3)
    table = store.sql("SELECT value FROM measurements WHERE metric = 'output_tps' ORDER BY ALL")
    assert [row[0] for row in table.rows] == [900.5, 1200.25]
    assert "hush-hush" not in repr(store.sql("SELECT * FROM operating_points").rows)


def test_damaged_files_end_in_one_clear_error_or_in_accounted_rows(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    random.seed(11)
    broken = [whole[:4], whole[:-1], whole[: len(whole) // 2], b"PAR1" * 3, b"PAR1" + bytes(200) + b"PAR1"]
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(random.randint(1, 6)):
            damaged[random.randrange(4, len(damaged))] = random.randrange(256)
        broken.append(bytes(damaged))
    path = tmp_path / "damaged.parquet"
    said = []
    for content in broken:
        path.write_bytes(content)
        try:
            (batch,) = importer("generic").read(path, ReadSettings())
        except ServecastError as error:
            said.append(str(error))
            continue
        rows = [*batch.rows.tolist(), *(row.row for row in batch.bad)]
        assert len(rows) == len(set(rows))
    assert len(said) >= 5
    assert all(text.startswith(str(path)) for text in said)


def test_a_folder_with_a_broken_one_goes_on(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(file.read_bytes()[:-20])
    report = import_paths(Store(tmp_path / "db.duckdb"), [tmp_path], ImportOptions(dry_run=True))
    assert (report.files, report.stored) == (1, 2)
    assert [reason.split(" (")[0] for _, reason in report.skipped] == ["no readable Parquet file"]
