"""The user's SQL, exports, the overview, and the history for the model."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.batch import CONTEXT, Batch, Source
from perfdb.errors import InputError, UnknownNameError
from perfdb.metrics import METRICS, Statistic
from perfdb.store import Store, schema
from perfdb.store.query import jsonable


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "perf.duckdb")
    context = {
        "model": np.array(["m1", "m1", "m2"], dtype=object),
        "platform": np.array(["H100", "H100", None], dtype=object),
        "engine": np.array(["vllm"] * 3, dtype=object),
        "concurrency": np.array([8.0, np.nan, 16.0]),
    }
    values = {
        ("ttft_s", Statistic.MEAN): np.array([0.1, np.nan, 0.3]),
        ("ttft_s", Statistic.MEDIAN): np.array([0.09, np.nan, np.nan]),
        ("output_tps", Statistic.VALUE): np.array([100.0, 200.0, np.nan]),
        ("output_tps", Statistic.MEAN): np.array([np.nan, 201.0, np.nan]),
    }
    store.ingest(Source("a.csv", "a", "csv"), [Batch(np.arange(1, 4), context, values)])
    return store


def test_a_select_answers_with_names_and_rows(store: Store) -> None:
    table = store.sql("SELECT model, concurrency FROM operating_points ORDER BY point_id; -- all of them")
    assert table.columns == ["model", "concurrency"]
    assert table.rows == [["m1", 8], ["m1", None], ["m2", 16]]


@pytest.mark.parametrize(
    "query",
    ["DESCRIBE runs", "SHOW TABLES", "EXPLAIN SELECT 1", "FROM runs", "PIVOT measurements ON metric USING sum(value)"],
)
def test_what_only_reads_is_answered(store: Store, query: str) -> None:
    assert store.sql(query).columns


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("INSERT INTO runs VALUES (1)", "INSERT is refused"),
        ("DELETE FROM measurements", "DELETE is refused"),
        ("WITH x AS (DELETE FROM measurements RETURNING *) SELECT * FROM x", "a write is refused"),
        ("EXPLAIN ANALYZE DELETE FROM measurements", "a write is refused"),
        ("CREATE TEMP TABLE x (a INTEGER)", "CREATE is refused"),
        ("ATTACH 'other.duckdb'", "ATTACH is refused"),
        ("COPY measurements TO 'out.csv'", "COPY is refused"),
        ("SET enable_external_access = true", "SET is refused"),
        ("CHECKPOINT", "CALL is refused"),
        ("SELECT * FROM read_text('/etc/hostname')", "file system operations are disabled"),
        ("SELECT * FROM glob('/*')", "file system operations are disabled"),
        ("SELECT * FROM '/etc/hostname'", "does not exist"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("-- nothing", "0 statements"),
        ("SELEC 1", "syntax error"),
        ("SELECT nosuch FROM runs", "nosuch"),
        ("SELECT 'x'::INTEGER", "x"),
    ],
)
def test_what_writes_or_reaches_for_files_or_is_wrong_is_bad_input(store: Store, query: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        store.sql(query)
    assert "\n" not in str(caught.value)
    assert store.info()["tables"]["measurements"] == 6


def test_refusals_hold_on_a_missing_file_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="disabled"):
        Store(tmp_path / "no.duckdb").sql("SELECT * FROM read_text('/etc/hostname')")


def test_times_with_a_zone_are_told_in_utc(store: Store) -> None:
    moment = "'2024-01-01 10:00:00+02'::TIMESTAMPTZ"
    query = f"SELECT {moment} AS t, {moment} AS t, [{moment}], {{'a b': {moment}}}, 1, NULL::TIMESTAMPTZ -- a note"
    told = "2024-01-01T08:00:00"
    table = store.sql(query)
    assert table.columns[:2] == ["t", "t"]
    assert table.rows == [[told, told, [told], {"a b": told}, 1, None]]
    assert len(str(store.sql("SELECT now()").rows[0][0])) >= len(told)


def test_values_are_what_json_can_say(store: Store) -> None:
    query = """SELECT 1.5::DECIMAL(9,2), DATE '2020-01-02', '\\xAA'::BLOB, [1, NULL], {'a': 'nan'::DOUBLE},
               INTERVAL 3 DAYS, 'inf'::DOUBLE, TIME '10:00', TIMESTAMP '2020-01-02', MAP {'k': 1}, true,
               '90015098-3cd2-4fb0-d696-3f7d28e17f72'::UUID, 170141183460469231731687303715884105727::HUGEINT"""
    (row,) = store.sql(query).rows
    assert row[:6] == [1.5, "2020-01-02", "aa", [1, None], {"a": None}, 259200.0]
    assert row[6:11] == [None, "10:00:00", "2020-01-02T00:00:00", {"k": 1}, True]
    assert row[11:] == ["90015098-3cd2-4fb0-d696-3f7d28e17f72", 2**127 - 1]
    json.dumps(row, allow_nan=False)


nested = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.datetimes()
    | st.binary()
    | st.uuids(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(nested)
def test_everything_becomes_json(value: object) -> None:
    json.dumps(jsonable(value), allow_nan=False)


def test_results_have_a_row_per_point_and_a_column_per_metric(store: Store) -> None:
    results = store.results()
    assert set(CONTEXT) | set(METRICS) | {"experiment_id", "run_id", "source", "source_row", "ttft_s_p50"} == set(
        results
    )
    assert {len(column) for column in results.values()} == {3}
    assert all(results[name].dtype == np.float64 for name in METRICS)
    assert np.array_equal(results["ttft_s"], [0.1, np.nan, 0.3], equal_nan=True)
    assert np.array_equal(results["ttft_s_p50"], [0.09, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(results["output_tps"], [100.0, 201.0, np.nan], equal_nan=True)
    assert np.array_equal(results["concurrency"], [8.0, np.nan, 16.0], equal_nan=True)
    assert results["platform"].tolist() == ["H100", "H100", None]
    assert results["outcome"].tolist() == ["ok"] * 3
    assert results["origin"].tolist() == ["measured"] * 3
    assert results["source"].tolist() == ["a.csv"] * 3


def read(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines()
    if path.suffix in {".csv", ".tsv"}:
        return list(csv.DictReader(lines, delimiter="," if path.suffix == ".csv" else "\t"))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in lines]
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return rows


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
def test_a_table_or_a_query_is_exported(store: Store, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    assert store.export("measurements", path) == 6
    assert [row["metric"] for row in read(path)].count("ttft_s") == 3
    assert store.export("SELECT model FROM operating_points WHERE model = 'm2' -- one", path, replaces=True) == 1
    assert read(path) == [{"model": "m2"}]
    assert {file.name for file in tmp_path.iterdir()} == {"perf.duckdb", path.name}


def test_a_parquet_export_is_parquet(store: Store, tmp_path: Path) -> None:
    from perfdb.store import scan

    assert store.export("SELECT source_row, model FROM operating_points", tmp_path / "x.parquet") == 3
    back = scan(tmp_path / "x.parquet", where="source_row > 1")
    assert back.rows.tolist() == [1, 2]
    assert back.columns["source_row"].tolist() == [2, 3]
    assert back.text["source_row"].tolist() == ["2", "3"]
    assert back.columns["model"].tolist() == ["m1", "m2"]


def test_an_export_that_fails_leaves_the_old_file(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("precious")
    with pytest.raises(InputError, match="nosuch"):
        store.export("SELECT nosuch FROM runs", path, replaces=True)
    with pytest.raises(InputError, match="Could not convert"):
        store.export("SELECT model::INTEGER FROM operating_points", path, replaces=True)
    with pytest.raises(InputError, match=r"out\.csv: it exists already; expected the name of a new file, or --force"):
        store.export("runs", path)
    assert path.read_text() == "precious"
    assert {file.name for file in tmp_path.iterdir()} == {"perf.duckdb", "out.csv"}


def test_an_export_reads_no_file_and_writes_no_other(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="disabled"):
        store.export("SELECT * FROM read_text('/etc/hostname')", tmp_path / "out.csv")
    with pytest.raises(InputError, match="COPY is refused"):
        store.export(f"COPY runs TO '{tmp_path}/other.csv'", tmp_path / "out.csv")


def test_export_says_what_it_knows(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'\.xlsx'; expected \.csv"):
        store.export("runs", tmp_path / "x.xlsx")
    with pytest.raises(UnknownNameError, match="did you mean experiments"):
        store.export("experiment", tmp_path / "x.csv")
    with pytest.raises(InputError, match="folder does not exist"):
        store.export("runs", tmp_path / "no" / "x.csv")


def test_the_overview_counts_tables_and_contexts(store: Store) -> None:
    info = store.info()
    assert info["tables"]["operating_points"] == 3
    assert info["tables"]["sources"] == 1
    assert info["schema_version"] == schema.CURRENT
    assert info["file_bytes"] > 0
    first = info["contexts"][0]
    assert (first["platform"], first["engine"], first["model"], first["points"]) == ("H100", "vllm", "m1", 2)
    assert first["measured_at"] is None
    assert first["stored_at"].startswith("20")
    json.dumps(info, allow_nan=False)


def test_nan_is_none_in_answers(store: Store) -> None:
    assert jsonable(math.nan) is None
