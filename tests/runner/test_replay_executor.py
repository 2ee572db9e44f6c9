import math

import numpy as np
import pytest

from perfdb.metrics import Statistic
from perfdb.records import Config, Experiment, Grid, Measurement, Outcome, PointResult, Target, Workload
from runner.execute import Job, JobResult
from runner.replay import ReplayExecutor

AT_8, AT_16 = Workload(isl=96, osl=24, concurrency=8), Workload(isl=96, osl=24, concurrency=16)


def job(tmp_path, config, *workloads, limit_s=math.inf):
    return Job("e", Config(config), Target("m", "p", "e"), workloads or (AT_8,), tmp_path, limit_s=limit_s)


def answer(executor, job_):
    [(_, result)] = executor.run([job_])
    return result


def point(workload, value):
    return PointResult(workload, (Measurement("output_tps", Statistic.VALUE, value),))


@pytest.fixture
def grid():
    values = {
        ("output_tps", Statistic.VALUE): np.array([100.0, math.nan, 300.0, 7.0]),
        ("ttft_s", Statistic.MEAN): np.array([0.1, math.nan, math.nan, 7.0]),
    }
    columns = {"tp": np.array([1, 2, 4, 1]), "kv": np.array(["f16", "f16", "q8_0", "f16"], dtype=object)}
    return ReplayExecutor.from_grid(Grid(columns), values, np.array([12.5, 3.0, 9.0, 1.0]))


def test_a_grid_answers_with_its_values_and_charges_its_time(grid, tmp_path):
    """S0.13: two stages end to end without running anything; of equal rows the first answers."""
    result = answer(grid, job(tmp_path, {"kv": "f16", "tp": 1.0}))
    assert (result.outcome, result.wall_s) == (Outcome.OK, 12.5)
    assert result.points[0].value("output_tps") == 100
    assert result.points[0].value("ttft_s") == 0.1
    assert result.points[0].workload == AT_8


def test_an_empty_row_is_a_recorded_failure(grid, tmp_path):
    result = answer(grid, job(tmp_path, {"tp": 2, "kv": "f16"}))
    assert (result.outcome, result.points, result.wall_s) == (Outcome.LAUNCH_FAILED, (), 3.0)
    assert result.error == "recorded as launch_failed"


def test_outcomes_may_be_given(tmp_path):
    values = {("output_tps", Statistic.VALUE): np.array([1.0, math.nan])}
    columns = {"tp": np.array([1, 2])}
    executor = ReplayExecutor.from_grid(Grid(columns), values, outcomes=[Outcome.PARTIAL, Outcome.OOM])
    assert answer(executor, job(tmp_path, {"tp": 2})).outcome is Outcome.OOM
    partial = answer(executor, job(tmp_path, {"tp": 1}))
    assert (partial.outcome, len(partial.points)) == (Outcome.PARTIAL, 1)


def test_a_config_that_was_not_recorded_is_invalid(grid, tmp_path):
    result = answer(grid, job(tmp_path, {"tp": 3, "kv": "f16"}))
    assert result.outcome is Outcome.INVALID
    assert "'tp': 3" in result.error


def test_recorded_time_beyond_the_budget_cancels_at_the_budgets_end(grid, tmp_path):
    result = answer(grid, job(tmp_path, {"tp": 1, "kv": "f16"}, limit_s=10.0))
    assert (result.outcome, result.wall_s, result.points) == (Outcome.CANCELLED, 10.0, ())


def test_experiments_answer_at_the_loads_they_were_measured_at(tmp_path):
    result = JobResult(Outcome.OK, (point(AT_8, 1.0), point(AT_16, 2.0)))
    recorded = Experiment(
        experiment_id="x",
        run_id="r",
        index=0,
        config=Config({"tp": 1}),
        target=Target("m", "p", "e"),
        outcome=Outcome.OK,
        selection_reason="baseline",
        points=result.points,
        wall_s=4.0,
    )
    executor = ReplayExecutor.from_experiments([recorded])
    both = answer(executor, job(tmp_path, {"tp": 1}, AT_16, AT_8))
    assert [each.value("output_tps") for each in both.points] == [2.0, 1.0]
    other = answer(executor, job(tmp_path, {"tp": 1}, AT_8, Workload(isl=512, osl=24, concurrency=8)))
    assert other.outcome is Outcome.INVALID
    assert "not recorded at every load" in other.error
    assert len(other.points) == 1
