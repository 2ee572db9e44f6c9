"""What any Executor must do. To check a new one, add a fixture function to `KINDS`."""

import importlib.util
import sys
from pathlib import Path

import pytest

from perfdb.metrics import METRICS, Statistic
from perfdb.records import Config, Measurement, Outcome, PointResult, Workload
from runner.execute import JobResult
from runner.local import LocalExecutor
from runner.replay import ReplayExecutor

FAKE = Path(__file__).parents[1] / "runner" / "fake_engine.py"
GOOD, BAD, REFUSED = {"size": 1}, {"mode": "crashes"}, {"mode": "unknown"}


@pytest.fixture(scope="module")
def fake():
    spec = importlib.util.spec_from_file_location("conformance_fake_engine", FAKE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def local(fake):
    return LocalExecutor(adapter=lambda _name: fake.ENGINE)


def replay(_fake):
    point = PointResult(Workload(), (Measurement("ttft_s", Statistic.MEAN, 0.1),))
    return ReplayExecutor(
        {
            Config(GOOD): JobResult(Outcome.OK, (point,), wall_s=2.0),
            Config(GOOD | {"size": 2}): JobResult(Outcome.OK, (point,), wall_s=2.0),
            Config(BAD): JobResult(Outcome.CRASHED, (point,), error="recorded as crashed", wall_s=1.0),
        }
    )


KINDS = {"local": local, "replay": replay}


@pytest.fixture(params=list(KINDS))
def executor(request, fake):
    made = KINDS[request.param](fake)
    yield made
    made.close()


@pytest.fixture
def jobs(fake, tmp_path):
    configs = (GOOD, BAD, REFUSED, GOOD | {"size": 2}, GOOD)
    return [fake.fake_job(tmp_path, config, name=f"job-{i}") for i, config in enumerate(configs)]


def test_every_job_is_answered_once_and_a_failure_stops_nothing(executor, jobs):
    answers = list(executor.run(jobs))
    assert sorted(job.experiment_id for job, _ in answers) == [job.experiment_id for job in jobs]
    outcome = {job.experiment_id: result.outcome for job, result in answers}
    assert [outcome[f"job-{i}"] for i in (0, 1, 2, 3, 4)] == [
        Outcome.OK,
        Outcome.CRASHED,
        Outcome.INVALID,
        Outcome.OK,
        Outcome.OK,
    ]


def test_results_are_whole(executor, jobs):
    for job, result in executor.run(jobs):
        assert isinstance(result.outcome, Outcome)
        assert result.wall_s >= 0
        assert (result.error is None) == (result.outcome is Outcome.OK)
        assert "\n" not in (result.error or "")
        if result.outcome is Outcome.OK:
            assert len(result.points) == len(job.workloads)
        for point in result.points:
            assert {m.metric for m in point.measurements} <= set(METRICS)
            assert len({(m.metric, m.statistic) for m in point.measurements}) == len(point.measurements)


def test_results_come_one_by_one(executor, jobs):
    stream = executor.run(jobs[:2])
    job, result = next(stream)
    assert job is jobs[0]
    assert result.outcome is Outcome.OK
    stream.close()


def test_no_jobs_no_results(executor):
    assert list(executor.run([])) == []


def test_close_is_idempotent_and_an_executor_has_a_name(executor, jobs):
    list(executor.run(jobs[:1]))
    executor.close()
    executor.close()
    assert executor.name in KINDS
