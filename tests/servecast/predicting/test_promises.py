"""`accuracy --promised` (FEATURES S0.33): what tunings promised, by task and over time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from perfdb.metrics import Statistic
from perfdb.records import Arrival, Config, Experiment, Interval, Measurement, Outcome, PointResult, Target, Workload
from perfdb.store import Store

LOAD = {"isl": 128, "osl": 32, "concurrency": [1, 8]}
TASK = {"name": "chat", "model": "meta-llama/Llama-3.1-8B", "engine": "vllm", "load": LOAD, "at": 1}
TASK |= {"space": {"tp": [1, 2]}, "objectives": ["output_tps:max"], "budget": 3}
DAY = 86_400.0


def point(concurrency: int, tps: float, p90: float) -> PointResult:
    load = Workload(128, 32, Arrival.CLOSED, concurrency)
    return PointResult(
        load,
        (Measurement("output_tps", Statistic.VALUE, tps), Measurement("e2e_s", Statistic.P90, p90)),
    )


def experiment(run: str, index: int, tps: float, day: float = 0.0) -> Experiment:
    """100 tok/s (80 to 125) were promised, and an e2e p90 of 2 s (1 to 4)."""
    return Experiment(
        experiment_id=f"{run}-{index}",
        run_id=run,
        index=index,
        config=Config({"tp": index}),
        target=Target("meta-llama/Llama-3.1-8B", "h100_sxm", "vllm", 1),
        outcome=Outcome.OK,
        selection_reason="active",
        points=(point(1, 1.0, 99.0), point(8, tps, 2.0)),
        predicted={"output_tps": Interval(100, 80, 125), "e2e_s_p90": Interval(2, 1, 4)},
        started_at=day * DAY,
    )


@pytest.fixture
def db(tmp_path):
    """Four experiments of a task on two days, the first two 30 % faster than promised, and one that failed."""
    store = Store(tmp_path / "a.duckdb")
    run = store.open_run("chat", "key", TASK)
    for index in (0, 9, 10, 11):
        store.record(experiment(run, index, 130.0 if index < 10 else 100.0, index // 10))
    store.record(replace(experiment(run, 12, 1.0), outcome=Outcome.OOM, points=()))
    return store.path


def rows(cli, db, by: str) -> dict[tuple[str, str], dict[str, object]]:
    answer = cli.json("accuracy", "--promised", by, "--db", str(db))
    return {(row["metric"], row.get(by, "")): row for row in answer["rows"]}


def test_a_task_is_scored_at_its_own_load(cli, db):
    found = rows(cli, db, "task")
    assert set(found) == {("output_tps", "chat"), ("e2e_s_p90", "chat")}
    tps, p90 = found["output_tps", "chat"], found["e2e_s_p90", "chat"]
    assert (tps["n"], tps["coverage90"]) == (4, 0.5)
    assert tps["median"] == pytest.approx((1 - 100 / 130) / 2)
    assert (p90["n"], p90["mape"], p90["coverage90"]) == (4, 0.0, 1.0)


def test_errors_are_followed_over_days(cli, db):
    found = rows(cli, db, "day")
    days = {day: row["coverage90"] for (metric, day), row in found.items() if metric == "output_tps"}
    assert days == {"1970-01-01": 0.0, "1970-01-02": 1.0}


def test_and_over_the_experiments_of_a_task(cli, db):
    found = rows(cli, db, "experiments")
    tens = {ten: row["n"] for (metric, ten), row in found.items() if metric == "output_tps"}
    assert tens == {"1-10": 2, "11-20": 2}


def test_people_read_a_table(cli, db):
    done = cli.run("accuracy", "--promised", "day", "--db", str(db))
    assert done.returncode == 0
    assert "chat" in done.stdout
    assert "1970-01-02" in done.stdout


def test_a_task_that_cannot_be_read_any_more_is_scored_at_its_first_load(cli, tmp_path):
    store = Store(tmp_path / "a.duckdb")
    store.record(experiment(store.open_run("old", "key", {"name": "old"}), 0, 100.0))
    assert rows(cli, store.path, "task")["output_tps", "old"]["mape"] == pytest.approx(99.0)


def test_tasks_of_one_name_on_several_models_are_told_apart(cli, db):
    store = Store(db)
    store.record(experiment(store.open_run("chat", "other", {**TASK, "model": "Qwen/Qwen3-8B"}), 0, 100.0))
    answer = cli.json("accuracy", "--promised", "task", "--db", str(db))
    found = {row["task"]: row["n"] for row in answer["rows"] if row["metric"] == "output_tps"}
    assert found == {"chat (meta-llama/Llama-3.1-8B, vllm)": 4, "chat (Qwen/Qwen3-8B, vllm)": 1}


def test_a_promise_of_nothing_is_not_scored(cli, db):
    store = Store(db)
    nothing = {"output_tps": Interval(math.nan, 80, 125)}
    store.record(replace(experiment(store.open_run("chat", "key", TASK), 13, 100.0), predicted=nothing))
    assert rows(cli, db, "task")["output_tps", "chat"]["n"] == 4


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--promised", "year"), "unknown grouping 'year'"),
        (("--promised", "day", "--shots", "10"), "--promised: with folds, shots or groups; expected it alone"),
        (("--promised", "day", "--db", "none.duckdb"), "no experiment was promised what it measured"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(cli, db, flags, says):
    done = cli.run("accuracy", *(() if "--db" in flags else ("--db", str(db))), *flags)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
