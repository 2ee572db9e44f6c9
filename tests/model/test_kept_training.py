"""Training data with operation tables: worked out once for the same database, anew for another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import kept_training
from model.kept_training import kept_training as kept
from model.tables.shelf import Shelf


def history(tpot: float = 0.01) -> dict[str, np.ndarray[Any, Any]]:
    texts = {
        "model": "meta-llama/Llama-3.1-8B",
        "platform": "h100_sxm",
        "engine": "vllm",
        "arrival": "closed",
        "config": "{}",
    }
    numbers = {"devices": 1.0, "isl": 512.0, "osl": 64.0, "concurrency": 8.0, "tpot_s": tpot}
    return {
        **{name: np.array([text] * 3, object) for name, text in texts.items()},
        **{name: np.full(3, value) for name, value in numbers.items()},
    }


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts how often training data is worked out; its cache is an empty folder."""
    made: list[int] = []
    work = kept_training.training

    def counted(*arguments: Any) -> Any:
        made.append(1)
        return work(*arguments)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kept_training, "training", counted)
    return made


def shelf(identity: str | None) -> Shelf:
    return Shelf(lambda _platform: (), lambda **_: None, identity)


def test_the_second_time_it_is_read(calls: list[int]) -> None:
    first, second = (kept(history(), None, shelf("db")) for _ in range(2))
    assert len(calls) == 1
    assert first.groups == second.groups
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.residual["tpot_s"], second.residual["tpot_s"])


def test_other_rows_or_another_state_of_the_database_are_worked_out_anew(calls: list[int]) -> None:
    kept(history(), None, shelf("db"))
    kept(history(0.02), None, shelf("db"))
    kept(history(), None, shelf("db, changed"))
    assert len(calls) == 3


def test_without_tables_nothing_is_kept(calls: list[int], tmp_path: Path) -> None:
    for without in (None, shelf(None)):
        kept(history(), None, without)
    assert len(calls) == 2
    assert not (tmp_path / "servecast").exists()


def test_a_damaged_file_is_as_good_as_none(calls: list[int], tmp_path: Path) -> None:
    kept(history(), None, shelf("db"))
    (file,) = (tmp_path / "servecast" / "fits").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert len(kept(history(), None, shelf("db")).rows) == 3
    assert len(calls) == 2
