"""What the store keeps between processes: the same answer without opening the database, anew when it changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operation_files import Write, gemm, put

from perfdb.batch import Batch, Source
from perfdb.metrics import Statistic
from perfdb.store import Store
from perfdb.store.connect import Database
from perfdb.store.engine import engine
from perfdb.store.operations import operation_sets


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "servecast" / "kept"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows each time a database is opened to be read."""
    found: list[int] = []
    reading = Database.reading

    def counted(self: Database, is_kept: bool = False) -> Any:
        found.append(1)
        return reading(self, is_kept)

    monkeypatch.setattr(Database, "reading", counted)
    return found


def runs(store: Store, name: str, *models: str | None) -> None:
    n = len(models)
    texts = {"model": models, "platform": ["h100_sxm"] * n, "engine": ["vllm"] * n, "config": ['{"ä":"ö"}'] * n}
    columns: dict[str, np.ndarray[Any, Any]] = {
        key: np.array(values, dtype=object) for key, values in {**texts, "isl": np.arange(1.0, n + 1)}.items()
    }
    values = {("ttft_s", Statistic.P99): np.linspace(0.1, 1.0, n), ("output_tps", Statistic.VALUE): np.full(n, np.nan)}
    values["output_tps", Statistic.VALUE][0] = 3.0
    store.ingest(Source(name, name, "csv"), [Batch(np.arange(1, n + 1), columns, values, ())])


def test_results_are_the_same_read_and_kept(store: Store, opened: list[int]) -> None:
    runs(store, "a.csv", "a", None, "b", "a")
    first = store.results()
    before = len(opened)
    second = Store(store.path).results()
    assert len(opened) == before
    assert list(first) == list(second)
    for name, values in first.items():
        assert values.dtype == second[name].dtype, name
        np.testing.assert_array_equal(values, second[name])
    assert second["model"].tolist() == ["a", None, "b", "a"]


def test_what_was_stored_since_is_read_and_replaces_what_was_kept(store: Store, folder: Path) -> None:
    runs(store, "a.csv", "a")
    assert len(store.results()["model"]) == 1
    kept = sorted(folder.iterdir())
    runs(store, "b.csv", "b", "c")
    assert store.results()["model"].tolist() == ["a", "b", "c"]
    assert sorted(folder.iterdir()) == kept


def test_without_a_database_nothing_is_kept(store: Store, folder: Path) -> None:
    assert len(store.results()["model"]) == 0
    assert store.operation_sets("h100_sxm") == ()
    assert not folder.exists()


def test_which_tables_there_are_is_kept(store: Store, write: Write, opened: list[int]) -> None:
    given = {"op": "gemm", "platform": "h100_sxm", "engine": "vllm"}
    put(store, gemm(write("m,ms\n1,1\n2,1\n"), given=given))
    found = store.operation_sets("h100_sxm")
    assert [(one.engine, one.dtype, one.rows) for one in found] == [("vllm", None, 2)]
    before = len(opened)
    # as another process would, which has nothing in memory
    elsewhere = Database(Path(f"{store.path.parent}/./{store.path.name}"), 1.0, None)
    assert operation_sets(elsewhere, "h100_sxm") == found
    assert len(opened) == before
    put(store, gemm(write("m,ms\n3,1\n", "b.csv"), given=given))
    assert store.operation_sets("h100_sxm")[0].rows == 3


def test_the_tables_identity_follows_tables_not_runs(store: Store, write: Write, opened: list[int]) -> None:
    put(store, gemm(write("m,ms\n1,1\n")))
    first = store.tables_identity()
    runs(store, "a.csv", "a")
    assert store.tables_identity() == first
    before = len(opened)
    assert store.tables_identity() == first
    assert len(opened) == before
    put(store, gemm(write("m,ms\n2,1\n", "b.csv")))
    assert store.tables_identity() != first


def test_equal_tables_have_one_identity_wherever_they_are(tmp_path: Path, write: Write) -> None:
    path, numbers = write("m,ms\n1,1\n"), write("m,ms\n1,2\n", "other.csv")
    stores = [Store(tmp_path / f"{name}.duckdb") for name in "abcd"]
    for store in stores[:2]:
        put(store, gemm(path))
    put(stores[2], gemm(numbers))
    runs(stores[3], "a.csv", "a")
    found = [store.tables_identity() for store in stores]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_the_tables_identity_follows_the_latencies_themselves(store: Store, write: Write) -> None:
    put(store, gemm(write("m,ms\n1,1\n2,5\n")))
    first = store.tables_identity()
    with engine() as connection, Database(store.path, 1.0, None).writing(connection):
        connection.execute("UPDATE op_measurements SET latency_s = latency_s + 1 WHERE m = 2")
    assert store.tables_identity() != first
