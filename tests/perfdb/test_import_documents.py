"""JSON that is valid and still no measurement: half characters, endless numbers, wells of brackets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfdb.errors import FileError
from perfdb.importers.documents import at
from perfdb.importers.folder import import_paths
from perfdb.store.store import Store

RUN = {
    "model_id": "Qwen/Qwen3-8B", "num_prompts": 10, "request_rate": "inf", "max_concurrency": 4, "duration": 20.0,
    "completed": 10, "request_throughput": 0.5, "median_ttft_ms": 70.0,
}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.json"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "db.duckdb")


@pytest.mark.parametrize("changes", [{"model_id": "my\ud800model"}, {"note\ud800": "x"}, {"note": "\udfff"}])
def test_half_a_character_is_replaced(path: Path, store: Store, changes: dict[str, str]) -> None:
    path.write_text(json.dumps(RUN | changes))
    assert import_paths(store, [path]).stored == 1
    (row,) = store.sql("SELECT concat(model, extra) FROM operating_points").rows
    assert "\ufffd" in str(row[0])


def test_a_number_of_thousands_of_digits(path: Path, store: Store) -> None:
    path.write_text(json.dumps(RUN).replace("70.0", "7" * 5000))
    with pytest.raises(FileError, match=r"run\.json: a whole number of thousands of digits"):
        import_paths(store, [path])


def test_a_well_of_brackets(path: Path, store: Store) -> None:
    path.write_text(json.dumps(RUN)[:-1] + ', "deep": ' + "[" * 100_000)
    with pytest.raises(FileError, match="nested too deeply"):
        import_paths(store, [path])


def test_the_first_path_that_leads_anywhere() -> None:
    document = {"config": {"rates": [1.0, 2.0], "name": None}, "name": "x"}
    assert at(document, "config.rates.1") == 2
    assert at(document, "config.name", "name") == "x"
    assert at(document, "config.rates.2", "config.rates.first", "name.first", "absent") is None
