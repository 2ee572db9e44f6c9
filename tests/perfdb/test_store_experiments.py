"""Runs, experiments and suggestions come back as they went in."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.errors import StoreError
from perfdb.metrics import Statistic
from perfdb.records import (
    Arrival,
    Config,
    Experiment,
    Interval,
    Measurement,
    Outcome,
    PointResult,
    Suggestion,
    Target,
    Workload,
)
from perfdb.store import Store
from perfdb.store.codec import dump, dump_intervals, load_config, load_intervals

CONFIG = Config({"flag": True, "count": 1, "share": 1.0, "ratio": 0.9, "unset": None, "kv_type": "q8_0"})
TARGET = Target("llama-3-8b", "H100", "vllm", 2, "0.9.1")
POINT = PointResult(
    Workload(128.0, 24.0, Arrival.CLOSED, 8, None, None, "D(128,24)", 32, 4, "builtin"),
    (
        Measurement("output_tps", Statistic.VALUE, 812.5),
        Measurement("ttft_s", Statistic.MEAN, 0.1),
        Measurement("ttft_s", Statistic.P99, 1 / 3),
        Measurement("tpot_s", Statistic.MEAN, 0.02),
        Measurement("e2e_s", Statistic.P90, 2.25),
    ),
)
POISSON = PointResult(Workload(arrival=Arrival.POISSON, request_rate=math.inf), (), Outcome.PARTIAL)


@pytest.fixture
def run(store: Store) -> str:
    return store.open_run("demo", "key-1", {"model": "m", "objectives": ["ttft_s:min"]})


def experiment(run: str, index: int = 0, **changes: object) -> Experiment:
    full = Experiment(
        experiment_id=f"{run}-{index:04d}",
        run_id=run,
        index=index,
        config=CONFIG,
        target=TARGET,
        outcome=Outcome.OK,
        selection_reason="gap_fill",
        detail="the widest gap of the front",
        points=(POINT, POISSON),
        predicted={
            "output_tps": Interval(800.0, 700.0, 900.1),
            "ttft_s": Interval(0.11, 0.0, math.inf),
            "tpot_s": Interval(0.021, 0.02, 0.03),
            "e2e_s_p90": Interval(2.0, 1.0, 3.0),
        },
        command="llama-server --port 1",
        log_path="logs/0.log",
        executor="local",
        started_at=1738317600.125,
        wall_s=12.3456789,
        gpu_hours=0.0068,
        cost_usd=0.01,
        is_on_predicted_frontier=True,
    )
    return replace(full, **changes)  # type: ignore[arg-type]


def test_an_experiment_is_restored_exactly(store: Store, run: str) -> None:
    """S2.36: params equal, in value, type and order."""
    assert store.record(experiment(run))
    (restored,) = store.experiments(run)
    assert restored == experiment(run)
    assert [(k, type(v), v) for k, v in restored.config.items()] == [(k, type(v), v) for k, v in CONFIG.items()]
    assert restored.points == (POINT, POISSON)
    assert restored.predicted["ttft_s"].hi == math.inf


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        max_size=6,
    )
)
def test_every_config_keeps_its_values_and_types(params: dict[str, str | int | float | bool | None]) -> None:
    """S2.36."""
    restored = load_config(dump(Config(params)))
    assert [(k, type(v), v) for k, v in restored.items()] == [(k, type(v), v) for k, v in params.items()]


@given(st.dictionaries(st.text(), st.builds(Interval, st.floats(), st.floats(), st.floats())))
def test_every_interval_is_restored_infinite_or_not(predicted: dict[str, Interval]) -> None:
    restored = load_intervals(dump_intervals(predicted))
    assert repr(restored) == repr(predicted)


def test_numpy_scalars_of_a_grid_are_stored_as_plain_ones(store: Store, run: str) -> None:
    given = Config({"n": np.int64(4), "on": np.bool_(True), "x": np.float64(0.5)})  # type: ignore[dict-item]
    store.record(experiment(run, config=given))
    assert [type(value) for value in store.experiments(run)[0].config.values()] == [int, bool, float]


def test_an_experiment_is_recorded_once(store: Store, run: str) -> None:
    assert store.record(experiment(run))
    assert not store.record(experiment(run, outcome=Outcome.OOM))
    assert [e.outcome for e in store.experiments(run)] == [Outcome.OK]
    assert store.info()["tables"]["measurements"] == len(POINT.measurements)


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.OK])
def test_a_failure_is_recorded_like_a_success(store: Store, run: str, outcome: Outcome) -> None:
    failed = experiment(run, outcome=outcome, points=(), predicted={}, error="the server died", started_at=0.0)
    assert store.record(failed)
    assert store.experiments(run) == [failed]
    columns = "outcome, error, actual_throughput, predicted_throughput"
    assert store.sql(f"SELECT {columns} FROM experiments").rows == [[str(outcome), "the server died", None, None]]


def test_the_table_shows_predicted_beside_actual(store: Store, run: str) -> None:
    """S0.42, S0.43, S0.44, S0.45: the headline columns, the frontier flags and the reason of the choice."""
    store.record(experiment(run))
    names = [
        f"{kind}_{name}" for kind in ("predicted", "actual") for name in ("throughput", "ttft", "tpot", "latency_p90")
    ]
    table = store.sql(f"SELECT {', '.join(names)} FROM experiments")
    assert table.rows == [[800.0, 0.11, 0.021, 2.0, 812.5, 0.1, 0.02, 2.25]]
    flags = "is_on_predicted_frontier, is_on_actual_frontier, selection_reason"
    assert store.sql(f"SELECT {flags} FROM experiments").rows == [[True, False, "gap_fill"]]


def test_frontier_flags_are_set_and_taken_back(store: Store, run: str) -> None:
    """S0.44."""
    for index in range(3):
        store.record(experiment(run, index))
    other = store.open_run("other", "key-2", {})
    store.record(experiment(other))
    store.mark_frontiers(run, {f"{run}-0000", f"{run}-0001"}, {f"{run}-0001"})
    store.mark_frontiers(run, {f"{run}-0000"}, {f"{run}-0001", f"{run}-0002"})
    flags = [(e.is_on_predicted_frontier, e.is_on_actual_frontier) for e in store.experiments(run)]
    assert flags == [(True, False), (False, True), (False, True)]
    assert store.experiments(other)[0].is_on_predicted_frontier


def test_experiments_come_in_the_order_of_their_index(store: Store, run: str) -> None:
    for index in (2, 0, 1):
        store.record(experiment(run, index, config=Config({"n": index})))
    assert [e.index for e in store.experiments(run)] == [0, 1, 2]
    other = store.open_run("other", "key-2", {})
    store.record(experiment(other))
    assert [e.run_id for e in store.experiments()] == [run, run, run, other]
    assert store.experiments("no such run") == []


def test_a_run_is_found_again_by_its_task_finished_or_not(store: Store, run: str) -> None:
    assert store.open_run("renamed", "key-1", {}) == run
    store.finish_run(run, "the budget of 12 experiments is spent")
    assert store.sql("SELECT stopped_because FROM runs").rows == [["the budget of 12 experiments is spent"]]
    assert store.open_run("demo", "key-1", {}) == run
    assert store.sql("SELECT stopped_because, finished_at, name FROM runs").rows == [[None, None, "demo"]]
    assert store.open_run("demo", "key-2", {}) != run


def test_a_run_that_is_not_there_is_named(store: Store, run: str) -> None:
    with pytest.raises(StoreError, match="no run 'gone'"):
        store.record(experiment("gone"))
    with pytest.raises(StoreError, match="no run 'gone'"):
        store.finish_run("gone", "")
    assert store.experiments() == []


def test_of_several_suggestions_for_a_config_the_latest_counts(store: Store, run: str) -> None:
    first = Suggestion(Config({"n": 1}), "extreme_point", "", {"ttft_s": Interval(1.0, 0.5, 2.0)})
    second = Suggestion(Config({"n": 2, "on": False}), "uncertain", "wide interval", {}, True)
    again = replace(first, reason="gap_fill", config=Config({"n": 1.0}))
    store.note_suggestions(run, [first, second])
    assert store.suggestions(run) == [first, second]
    store.note_suggestions(run, [again])
    assert store.suggestions(run) == [second, again]
    assert store.suggestions("another") == []


def test_a_recorded_point_is_history_for_the_model(store: Store, run: str) -> None:
    store.record(experiment(run))
    history = store.results()
    assert history["ttft_s"][0] == 0.1
    assert np.isnan(history["ttft_s"][1])
    assert history["ttft_s_p99"][0] == 1 / 3
    assert history["run_id"].tolist() == [run, run]
    assert history["experiment_id"].tolist() == [f"{run}-0000"] * 2
    assert history["config"][0] == '{"count":1,"flag":true,"kv_type":"q8_0","ratio":0.9,"share":1,"unset":null}'
    assert history["outcome"].tolist() == ["ok", "partial"]
    assert history["measured_at"][0] == 1738317600.125
    assert history["devices"].tolist() == [2.0, 2.0]
