"""The second question of a process: nothing is read anew while the database is unchanged, whichever object asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.surrogate import Surrogate
from perfdb.importers.folder import import_paths
from perfdb.records import Arrival, Workload
from perfdb.store import Store
from perfdb.store.connect import Database
from servecast.kernels.kernel_tables import shelf_of
from servecast.predicting import whatif as asking
from servecast.predicting.whatif import WhatIf, surrogate, whatif

CLOSED = Workload(512, 64, Arrival.CLOSED, 8)
_RUNS = "model,platform,engine,devices,isl,osl,concurrency,tpot_s,ttft_s,config"
_TABLE = "platform,engine,engine_version,op,dtype,m,n,k,latency_s"


def asked(**more: Any) -> WhatIf:
    sets = more.pop("sets", {"tp": (1, 2, 4)})
    return WhatIf("llama-3.1-8b", "h200_sxm", "vllm:0.24.0", more.pop("workload", CLOSED), sets, **more)


def runs(file: Path, devices: int = 1, slow: float = 1.0) -> Path:
    """Runs of two models, some in the very scenario that is asked for."""
    rows = [
        f'{model},h200_sxm,vllm,{devices},512,64,{c},{0.01 * slow * c**0.3},{0.05 * slow},"{{""max_num_seqs"": 64}}"'
        for model in ("meta-llama/Llama-3.1-8B", "Qwen/Qwen3-8B")
        for c in (4, 8, 16)
    ]
    file.write_text("\n".join([_RUNS, *rows]))
    return file


def table(file: Path, slow: float = 1.0) -> Path:
    rows = [f"h200_sxm,vllm,0.24.0,gemm,bf16,{m},4096,4096,{slow * (1e-5 + 1e-8 * m)}" for m in (1, 128, 8192)]
    file.write_text("\n".join([_TABLE, *rows]))
    return file


def without_time(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "cpu_s"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "perf.duckdb"
    import_paths(Store(found), [runs(tmp_path / "runs.csv"), table(tmp_path / "table.csv")])
    return found


def test_a_store_of_its_own_for_each_question_reads_nothing_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = whatif(asked(), Store(path))

    def refuse(*_given: object, **_named: object) -> Any:
        raise AssertionError("read again")

    monkeypatch.setattr(Database, "reading", refuse)
    monkeypatch.setattr(Surrogate, "fit", refuse)
    monkeypatch.setattr("perfdb.kept._read", refuse)
    assert without_time(whatif(asked(), Store(path))) == without_time(first)
    assert whatif(asked(workload=Workload(512, 64, Arrival.CLOSED, 7)), Store(path))["configs"] == 3


def test_what_is_imported_meanwhile_changes_the_answer(path: Path, tmp_path: Path) -> None:
    before = whatif(asked(), Store(path))["rows"][0]
    import_paths(Store(path), [runs(tmp_path / "slow.csv", slow=4.0)])
    after = whatif(asked(), Store(path))["rows"][0]
    assert after["tpot_s"]["mean"] > 1.2 * before["tpot_s"]["mean"]


def test_what_another_process_imports_changes_the_answer(path: Path, tmp_path: Path) -> None:
    store = Store(path)
    before = whatif(asked(), store)["rows"][0]
    command = [sys.executable, "-m", "servecast", "import", str(runs(tmp_path / "slow.csv", slow=4.0)), "--db"]
    subprocess.run([*command, str(path)], check=True, capture_output=True)
    assert whatif(asked(), store)["rows"][0]["tpot_s"]["mean"] > 1.2 * before["tpot_s"]["mean"]


def test_another_file_in_its_place_is_another_database(path: Path, tmp_path: Path) -> None:
    store, other = Store(path), tmp_path / "other.duckdb"
    import_paths(Store(other), [table(tmp_path / "slow.csv", slow=9.0)])
    before = whatif(asked(), store)["rows"][0]
    other.replace(path)
    after = whatif(asked(), store)["rows"][0]
    assert (before["provenance"], after["provenance"]) == ("measured", "roofline")
    path.unlink()
    assert whatif(asked(), store)["warnings"] == []


def test_a_state_is_that_of_the_file_and_its_journal(path: Path) -> None:
    first = Store(path).state
    assert Store(path, wait_s=1.0).state == first
    assert hash(Store(path).state) == hash(first)
    journal = path.with_name(f"{path.name}.wal")
    journal.write_bytes(b"x")
    assert Store(path).state != first
    journal.unlink()
    assert Store(path).state == first
    path.touch()
    assert Store(path).state != first


def test_tables_stay_open_while_only_runs_are_written(path: Path, tmp_path: Path) -> None:
    shelf, fitted = shelf_of(Store(path)), surrogate(Store(path))
    assert fitted.shelf is shelf
    import_paths(Store(path), [runs(tmp_path / "more.csv", slow=2.0)])
    assert surrogate(Store(path)) is not fitted
    assert surrogate(Store(path)).shelf is shelf
    import_paths(Store(path), [table(tmp_path / "slow.csv", slow=9.0)])
    assert shelf_of(Store(path)) is not shelf


def test_a_run_that_is_left_out_is_fitted_apart(path: Path) -> None:
    assert surrogate(Store(path), without_run="x") is not surrogate(Store(path))
    assert surrogate(Store(path), without_run="x") is surrogate(Store(path), without_run="x")


LOADS = st.one_of(
    st.builds(lambda c: Workload(512, 64, Arrival.CLOSED, c), st.integers(1, 400)),
    st.builds(lambda r: Workload(512, 64, Arrival.POISSON, request_rate=r), st.floats(0.1, 40.0)),
    st.builds(lambda b: Workload(512, 64, Arrival.BATCH, batch_size=b), st.integers(1, 64)),
)


@given(
    LOADS,
    st.lists(st.sampled_from((1, 2, 3, 4, 8)), min_size=1, max_size=4, unique=True),
    st.sampled_from(((None,), (0, 2), (64, 256))),
)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_configs_of_several_numbers_of_devices_are_answered_as_each_by_itself(
    path: Path, load: Workload, sizes: list[int], others: tuple[int | None, ...]
) -> None:
    name = "num_speculative_tokens" if 0 in others else "max_num_seqs"
    store = Store(path)
    together = whatif(asked(workload=load, sets={"tp": tuple(sizes), name: others}), store)["rows"]
    apart = [
        whatif(asked(workload=load, sets={"tp": (size,), name: others}), store)["rows"][place]
        for size in sizes
        for place in range(len(others))
    ]
    assert [row["config"] for row in together] == [row["config"] for row in apart]
    for one, other in zip(together, apart, strict=True):
        assert one["reason"] == other["reason"]
        assert one["provenance"] == other["provenance"]
        for metric in ("ttft_s", "tpot_s", "output_tps", "e2e_s"):
            assert one[metric] == pytest.approx(other[metric], rel=1e-9)


def test_only_what_was_measured_on_a_number_of_devices_is_asked_apart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, scenarios = asked().grid(), surrogate(Store(path)).scenarios

    def counts(question: WhatIf) -> list[tuple[list[int], int]]:
        return [(rows.tolist(), part.target.devices) for rows, part in question.questions(grid, scenarios)]

    assert counts(asked()) == [([1, 2], 2), ([0], 1)]
    assert counts(asked(workload=Workload(100, 64, Arrival.CLOSED, 8))) == [([0, 1, 2], 1)]
    assert counts(asked(devices=4)) == counts(asked())
    silent = asked(devices=4, sets={"max_num_seqs": (8, 16)})
    assert [(rows.tolist(), part.target.devices) for rows, part in silent.questions(silent.grid())] == [([0, 1], 4)]
    assert len(list(asked().questions(grid))) == 3
    monkeypatch.setattr(asking, "_AT_ONCE", 2)
    assert len(counts(asked())) == 3


def test_a_config_that_says_nothing_takes_one_device_beside_larger_ones(path: Path) -> None:
    rows = whatif(asked(sets={"tp": (None, 8, 1)}), Store(path))["rows"]
    assert {name: rows[0][name] for name in ("tpot_s", "ttft_s")} == {
        name: pytest.approx(rows[2][name], rel=1e-9) for name in ("tpot_s", "ttft_s")
    }
    assert np.diff([row["tpot_s"]["mean"] for row in rows[:2]]) < 0
