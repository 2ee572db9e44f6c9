"""Training data with operation tables: worked out once for the same database, anew for another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.kept import training as kept_training
from model.kept.training import kept_training as kept
from model.tables.said import listening
from model.tables.shelf import Shelf
from perfdb.operations import OperationSet, OperationTable


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


def test_without_an_identity_nothing_is_kept(calls: list[int], tmp_path: Path) -> None:
    for _ in range(2):
        kept(history(), None, shelf(None))
    assert len(calls) == 2
    assert not (tmp_path / "servecast").exists()


def test_a_damaged_file_is_as_good_as_none(calls: list[int], tmp_path: Path) -> None:
    kept(history(), None, shelf("db"))
    (file,) = (tmp_path / "servecast" / "kept").glob("training-*")
    file.write_bytes(file.read_bytes()[:100])
    assert len(kept(history(), None, shelf("db")).rows) == 3
    assert len(calls) == 2


def test_equal_rows_have_one_name_whichever_objects_they_are(calls: list[int]) -> None:
    """A history that was read again has texts of its own."""
    own = history()
    own["model"] = np.array([name + "".join(["8", "B"]) for name in ["meta-llama/Llama-3.1-"] * 3], object)
    kept(history(), None, shelf("db"))
    kept(own, None, shelf("db"))
    assert len(calls) == 1


def test_what_stands_in_for_rows_is_not_said_of_the_question(calls: list[int]) -> None:
    proxy = OperationSet("vllm", "0.1.0", "gemm", "bf16", None, 12)
    m = np.arange(1.0, 13.0)
    table = OperationTable({"m": m, "n": m, "k": m, "latency_s": m}, 12)
    for identity in (None, "db"):
        with listening() as said:
            kept(
                {**history(), "engine_version": np.array(["0.9.0"] * 3, object)},
                None,
                Shelf(lambda _: (proxy,), lambda **_: table, identity),
            )
        assert said == set()
    assert len(calls) == 2
