"""The loop: predict, choose, run, record, until the budget is spent or nothing is worth running.

The database is the only state. Killed anywhere, the same task goes on where its last committed experiment ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from perfdb.metrics import Statistic
from perfdb.records import Experiment, Measurement, PointResult
from runner.execute import Executor, Job, JobResult
from servecast.pricing import device_hours, dollars_per_mtok
from servecast.tuning.budget import Budget
from servecast.tuning.measured import Measured
from servecast.tuning.run_lock import alone
from servecast.tuning.tuning import Planned, Tuning


@dataclass(frozen=True)
class Progress:
    """What the loop tells while it works; every part may be left out."""

    planned: Callable[[int, Planned], None] = field(default=lambda index, planned: None)
    recorded: Callable[[Experiment], None] = field(default=lambda experiment: None)


def tune(tuning: Tuning, executor: Executor, budget: Budget, progress: Progress) -> str:
    """Run experiments until a reason to stop; returns that reason, one sentence.

    Raises:
        BudgetError: a dollar budget without a price. StoreBusyError: another process tunes this run.
    """
    try:
        with alone(tuning.store.path, tuning.run_id):
            while True:
                experiments = tuning.experiments()
                reason = stop_reason(tuning, budget, experiments)
                planned = [] if reason else tuning.plan(experiments)
                if not planned:
                    reason = reason or "every config that may fit has been run"
                    tuning.store.finish_run(tuning.run_id, reason)
                    return reason
                progress.planned(len(experiments), planned[0])
                progress.recorded(_run_one(tuning, executor, planned[0], experiments, budget))
    finally:
        executor.close()


def stop_reason(tuning: Tuning, budget: Budget, experiments: Sequence[Experiment]) -> str | None:
    """Why no further experiment should start, or None."""
    seconds = budget.seconds_left(experiments, tuning.target.devices, tuning.task.usd_per_hour)
    if seconds <= 0:
        return f"the budget of {budget} is spent"
    typical = typical_wall_s(experiments)
    if typical is not None and seconds < typical:
        return f"{seconds:.0f} s are left of the budget of {budget}, and one experiment takes {typical:.0f} s"
    verdict = tuning.verdict(experiments)
    return verdict.reason if verdict.stop else None


def typical_wall_s(experiments: Sequence[Experiment]) -> float | None:
    """Median wall seconds of the successful experiments."""
    walls = sorted(e.wall_s for e in experiments if e.outcome.usable)
    return walls[len(walls) // 2] if walls else None


def _run_one(
    tuning: Tuning, executor: Executor, planned: Planned, experiments: Sequence[Experiment], budget: Budget
) -> Experiment:
    seconds = budget.seconds_left(experiments, tuning.devices_of(planned.config), tuning.task.usd_per_hour)
    job = job_of(tuning, planned, len(experiments), seconds)
    [(_, result)] = list(executor.run([job]))
    return record(tuning, experiment_of(tuning, planned, result, executor.name))


def job_of(tuning: Tuning, planned: Planned, index: int, seconds: float) -> Job:
    """The job of a planned experiment, which ends when the `seconds` that the budget has left are over."""
    return replace(tuning.job(planned.config), experiment_id=f"{tuning.run_id}-{index:04d}", limit_s=seconds)


def experiment_of(tuning: Tuning, planned: Planned, result: JobResult, executor: str) -> Experiment:
    """A result with its plan, priced and with the metrics that follow from what was measured."""
    task = tuning.task
    hours = device_hours(result.wall_s, tuning.devices_of(planned.config))
    target = replace(tuning.target, engine_version=result.engine_version)
    return Experiment(
        experiment_id="",
        run_id=tuning.run_id,
        index=-1,
        config=planned.config,
        target=target,
        outcome=result.outcome,
        selection_reason=planned.reason,
        detail=planned.detail,
        points=tuple(_with_derived(tuning, planned, point) for point in result.points),
        predicted=planned.predicted,
        error=result.error,
        command=result.command,
        log_path=result.log_path,
        executor=executor,
        started_at=result.started_at or time.time(),
        wall_s=result.wall_s,
        gpu_hours=hours,
        cost_usd=hours * (task.usd_per_hour or 0.0),
        is_on_predicted_frontier=planned.on_predicted_frontier,
    )


def _with_derived(tuning: Tuning, planned: Planned, point: PointResult) -> PointResult:
    """Add what is known of the config (quality cost) or follows from a measurement and a price (cost per token)."""
    have = {m.metric for m in point.measurements}
    extra = [
        Measurement(name, Statistic.VALUE, value)
        for name, value in tuning.space.known_of(planned.config).items()
        if name not in have
    ]
    tps = point.value("output_tps")
    price = tuning.task.usd_per_hour
    if tps and price and "cost_per_mtok" not in have:
        cost = float(dollars_per_mtok(tps, price, tuning.devices_of(planned.config)))
        extra.append(Measurement("cost_per_mtok", Statistic.VALUE, cost))
    return replace(point, measurements=(*point.measurements, *extra))


def record(tuning: Tuning, experiment: Experiment) -> Experiment:
    """Commit an experiment under the next free index of its run, mark the measured frontier; returns it as stored."""
    while True:
        index = len(tuning.experiments())
        numbered = replace(experiment, experiment_id=f"{tuning.run_id}-{index:04d}", index=index)
        if tuning.store.record(numbered):
            break
    experiments = tuning.experiments()
    front = {e.experiment_id for m in measured(tuning, experiments).front for e in m.experiments}
    predicted = {e.experiment_id for e in experiments if e.is_on_predicted_frontier}
    tuning.store.mark_frontiers(tuning.run_id, predicted, front)
    return replace(numbered, is_on_actual_frontier=numbered.experiment_id in front)


def measured(tuning: Tuning, experiments: Sequence[Experiment]) -> Measured:
    """What the run has measured at the task's operating point."""
    return Measured.of(experiments, tuning.values(experiments, tuning.objectives), tuning.objectives)
