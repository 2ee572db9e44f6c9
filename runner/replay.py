"""An executor that answers from records: every strategy and the whole loop can be tried without running anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt

from perfdb.metrics import Statistic
from perfdb.records import Config, Experiment, Grid, Measurement, Outcome, PointResult, Workload
from runner.execute import Job, JobResult

Values = Mapping[tuple[str, Statistic], npt.NDArray[np.float64]]
"""(metric, statistic) -> one value per config, `n`, in the metric's unit; NaN where there is none."""


class ReplayExecutor:
    """Gives each job the recorded result of its config, at once; the recorded wall time is what it charges.

    The idea is that of Kernel Tuner's simulation runner (van Werkhoven 2019), which charges recorded time as well.
    """

    name = "replay"

    def __init__(self, recorded: Mapping[Config, JobResult]) -> None:
        self._recorded = dict(recorded)

    @classmethod
    def from_experiments(cls, experiments: Iterable[Experiment]) -> ReplayExecutor:
        """From experiments as the database keeps them; of repeats of a config the first answers."""
        recorded: dict[Config, JobResult] = {}
        for each in experiments:
            result = JobResult(
                outcome=each.outcome,
                points=each.points,
                error=each.error,
                command=each.command,
                log_path=each.log_path,
                started_at=each.started_at,
                wall_s=each.wall_s,
                engine_version=each.target.engine_version,
            )
            recorded.setdefault(each.config, result)
        return cls(recorded)

    @classmethod
    def from_grid(
        cls,
        grid: Grid,
        values: Values,
        wall_s: npt.NDArray[np.float64] | None = None,
        outcomes: Sequence[Outcome] | None = None,
    ) -> ReplayExecutor:
        """From columns of n configs; of equal configs the first answers.

        Args:
            grid: the n configs.
            values: see `Values`.
            wall_s: seconds that each took, `n`; zero where not given or NaN.
            outcomes: how each ended, `n`; where not given, a config without any value failed to launch.
        """
        recorded: dict[Config, JobResult] = {}
        for row in range(len(grid)):
            found = tuple(
                Measurement(name, statistic, float(column[row]))
                for (name, statistic), column in values.items()
                if np.isfinite(column[row])
            )
            outcome = outcomes[row] if outcomes is not None else Outcome.OK if found else Outcome.LAUNCH_FAILED
            result = JobResult(
                outcome=outcome,
                points=(PointResult(Workload(), found, outcome),) if found else (),
                error=None if outcome is Outcome.OK else f"recorded as {outcome}",
                wall_s=float(np.nan_to_num(wall_s[row])) if wall_s is not None else 0.0,
            )
            recorded.setdefault(grid.config(row), result)
        return cls(recorded)

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, JobResult]]:
        """Yield each job with what was recorded; a config that was not is invalid."""
        for job in jobs:
            yield job, self._answer(job)

    def close(self) -> None:
        """Nothing is kept."""

    def _answer(self, job: Job) -> JobResult:
        result = self._recorded.get(job.config)
        if result is None:
            return JobResult(Outcome.INVALID, error=f"config {dict(job.config)} is not in the recorded grid")
        if result.wall_s > job.limit_s:
            error = f"it took {result.wall_s:g} s when recorded, more than the {job.limit_s:g} s that are left"
            return replace(result, outcome=Outcome.CANCELLED, points=(), error=error, wall_s=job.limit_s)
        points = tuple(_matching(result.points, job.workloads))
        if result.outcome is Outcome.OK and len(points) < len(job.workloads):
            error = f"config {dict(job.config)} was not recorded at every load that is asked for"
            return replace(result, outcome=Outcome.INVALID, points=points, error=error)
        return replace(result, points=points)


def _matching(points: Sequence[PointResult], workloads: Sequence[Workload]) -> Iterator[PointResult]:
    """The recorded point of each workload, in their order; a point recorded without a workload answers for any."""
    for workload in workloads:
        for point in points:
            if _same(point.workload, workload):
                yield replace(point, workload=workload) if point.workload == Workload() else point
                break


def _same(recorded: Workload, asked: Workload) -> bool:
    pairs = ((getattr(recorded, each.name), getattr(asked, each.name)) for each in fields(Workload))
    return all(one is None or other is None or one == other for one, other in pairs)
