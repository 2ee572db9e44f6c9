"""One task bound to a database: its grid, its prior and what was measured so far. Every decision is made from this.

The same experiments give the same choices, whoever recorded them: a tuning keeps nothing in memory that the database
does not hold, and its random numbers depend on the task's seed and the number of recorded experiments alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from model.derived import can_predict
from model.learning.features import encode
from model.prediction import Bools, Estimate, Floats, GridPrediction
from perfdb.errors import ServecastError
from perfdb.facts.engines import engine
from perfdb.metrics import Direction
from perfdb.records import Config, Experiment, Grid, Interval, Outcome, PointResult, Target
from perfdb.store import Store
from runner.engines.command import launch_command
from runner.execute import Job
from search.belief import Belief, believe
from search.frontier import non_dominated
from search.objective import Objective, to_loss
from search.plan import Choice, Prior, State, Strategy, Verdict
from search.strategies import strategy
from servecast.predicting.whatif import surrogate
from servecast.pricing import dollars_per_mtok
from servecast.tuning.context import TaskContext
from servecast.tuning.space import TaskSpace, devices_of, row_of
from servecast.tuning.spec import ObjectiveSpec, TaskSpec

REPORTED = tuple(
    ObjectiveSpec.model_validate(name).objective() for name in ("output_tps", "ttft_s", "tpot_s", "e2e_s_p90")
)
"""Predicted beside every experiment, whether they are objectives or not."""
REPLICATE_AFTER = 6
"""Experiments after which the baseline is run once more: two runs of one config, minutes apart, show the noise."""
HOPELESS = 3
"""Launch failures in a row, with nothing else recorded, after which a tuning gives up: the launch itself is wrong."""


@dataclass(frozen=True)
class Planned:
    """One experiment to run: its config, why it was chosen and what is expected of it (metric -> interval)."""

    config: Config
    reason: str
    detail: str
    predicted: Mapping[str, Interval]
    on_predicted_frontier: bool


@dataclass(frozen=True)
class Tuning:
    """A task, its database, and everything derived from both."""

    task: TaskSpec
    context: TaskContext
    store: Store
    run_id: str
    space: TaskSpace

    @property
    def grid(self) -> Grid:
        """All configs that may be run, n of them; the baseline is the last one where it lies off the grid."""
        return self.space.grid

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """The task's objectives, k of them."""
        return tuple(spec.objective() for spec in self.task.objectives)

    @cached_property
    def outputs(self) -> tuple[Objective, ...]:
        """The objectives, then what is reported beside them."""
        names = {objective.name for objective in self.objectives}
        return (*self.objectives, *(o for o in REPORTED if o.name not in names))

    @cached_property
    def strategy(self) -> Strategy:
        """The task's strategy."""
        return strategy(self.task.strategy)

    @cached_property
    def prediction(self) -> GridPrediction:
        """What the model says of all n configs from everything but this run's own experiments."""
        model = surrogate(self.store, without_run=self.run_id)
        known = [o.name for o in self.outputs if can_predict(o.name) and o.name != "cost_per_mtok"]
        return model.predict(self.context.question(self.task, self.grid), known)

    @cached_property
    def features(self) -> Floats:
        """The grid as features, `n x d`."""
        return encode(self.grid)

    def experiments(self) -> list[Experiment]:
        """What this run has recorded, in order."""
        return self.store.experiments(self.run_id)

    @property
    def target(self) -> Target:
        """What serves, under the names that the database knows it by."""
        return self.context.target

    @property
    def baseline(self) -> Config | None:
        """The config that everything is compared with."""
        return None if self.space.baseline is None else self.grid.config(self.space.baseline)

    def job(self, config: Config) -> Job:
        """A config of this task as a job."""
        task = self.task
        declared = {name: spec.applied for name, spec in task.space.items() if spec.applied is not None}
        return Job(
            experiment_id=self.run_id,
            config=config,
            target=self.target,
            workloads=task.load.workloads(),
            log_dir=self.context.log_dir,
            model_path=self.context.model_path,
            model_files=self.context.model_files,
            launch_timeout_s=task.launch_timeout_s,
            run_timeout_s=task.run_timeout_s,
            seed=task.seed,
            applied=declared,
        )

    def command(self, config: Config) -> str | None:
        """The line that launches a config, None where this machine lacks what the line is made of."""
        try:
            return launch_command(self.job(config))
        except ServecastError:
            return None

    def point_of(self, experiment: Experiment) -> PointResult | None:
        """What an experiment measured at the task's operating point, if it did."""
        return experiment.point_under(self.task.load.workloads()[self.task.at])

    def values(self, experiments: Sequence[Experiment], objectives: Sequence[Objective]) -> Floats:
        """Native values at the task's operating point, `t x k`; NaN where one failed or a value is missing."""
        table = np.full((len(experiments), len(objectives)), np.nan)
        for i, experiment in enumerate(experiments):
            point = self.point_of(experiment)
            if experiment.outcome.usable and point is not None:
                table[i] = [_value(point, objective) for objective in objectives]
        return table

    def state(self, experiments: Sequence[Experiment], objectives: Sequence[Objective] | None = None) -> State:
        """What a strategy is told. A cancelled experiment says nothing of its config and is left out."""
        objectives = self.objectives if objectives is None else tuple(objectives)
        told = (e for e in experiments if e.outcome is not Outcome.CANCELLED)
        placed = [(row, e) for e in told if (row := row_of(self.grid, e.config)) is not None]
        values = self.values([e for _, e in placed], objectives)
        return State(
            features=self.features,
            objectives=tuple(objectives),
            rows=np.array([row for row, _ in placed], dtype=np.int64),
            ok=np.asarray(np.isfinite(to_loss(values, objectives)).all(axis=1), dtype=bool),
            values=values,
            prior=self._prior(objectives),
            headroom=self.prediction.headroom,
            allowed=self.space.allowed & self.prediction.feasible,
        )

    def _prior(self, objectives: Sequence[Objective]) -> Prior:
        estimates = [self.prediction.metrics.get(o.name) or self._own_estimate(o.name) for o in objectives]
        signs = np.array([-1.0 if o.direction is Direction.MAX else 1.0 for o in objectives])
        loss = signs * np.column_stack([e.log_mean for e in estimates])
        return Prior(loss, np.column_stack([e.log_sd for e in estimates]), self.prediction.validated)

    def devices_of(self, config: Config) -> int:
        """How many devices an experiment with this config takes, and is charged for."""
        return int(devices_of(Grid.of([config]), engine(self.target.engine), self.task.devices)[0])

    def _own_estimate(self, name: str) -> Estimate:
        """Metrics that the model does not speak of: known by declaration (quality), derived (cost), or unknown."""
        n = len(self.grid)
        known = self.space.known.get(name)
        if known is not None:
            return Estimate(np.log(known), np.full(n, 1e-3))
        if name == "cost_per_mtok" and self.task.usd_per_hour:
            tps = self.prediction.metrics["output_tps"]
            devices = devices_of(self.grid, engine(self.target.engine), self.task.devices)
            return Estimate(np.log(dollars_per_mtok(tps.mean, self.task.usd_per_hour, devices)), tps.log_sd)
        return Estimate(np.zeros(n), np.full(n, 3.0))

    def belief(self, experiments: Sequence[Experiment]) -> Belief:
        """What is now believed over the grid of the objectives, then of every other output that all results hold."""
        belief = believe(self.state(experiments, self.answered(experiments)))
        assert belief is not None, "there is always a prior"
        return belief

    def answered(self, experiments: Sequence[Experiment]) -> tuple[Objective, ...]:
        """The outputs without those that a result lacks: it would pass for a failure and teach nothing."""
        values = self.values(experiments, self.outputs)
        k = len(self.objectives)
        succeeded = np.asarray(np.isfinite(values[:, :k]).all(axis=1))
        there = np.asarray(np.isfinite(values[succeeded]).all(axis=0))
        return tuple(o for i, o in enumerate(self.outputs) if i < k or there[i])

    def plan(self, experiments: Sequence[Experiment], count: int = 1) -> list[Planned]:
        """The next experiments, best first; empty where nothing is left to run."""
        belief = self.belief(experiments)
        return [self._planned(choice, belief) for choice in self._choices(experiments, count)]

    def _choices(self, experiments: Sequence[Experiment], count: int) -> list[Choice]:
        fixed = self._fixed(experiments)
        rng = np.random.default_rng([self.task.seed, len(experiments)])
        state = self.state(experiments)
        pending = [choice.row for choice in fixed]
        if pending:
            allowed = self.space.allowed & self.prediction.feasible
            allowed[pending] = False
            state = replace(state, allowed=allowed)
        return [*fixed, *self.strategy.propose(state, count - len(fixed), rng)][:count]

    def _fixed(self, experiments: Sequence[Experiment]) -> list[Choice]:
        """Experiments that no strategy decides on: the baseline first, and once more when enough others have run."""
        row = self.space.baseline
        if row is None:
            return []
        baseline = self.grid.config(row)
        # One that the budget cut off measured nothing: a larger budget starts with it again.
        before = [e for e in experiments if e.config == baseline and e.outcome is not Outcome.CANCELLED]
        if not before:
            return [Choice(row, "baseline", "the engine's own defaults, to compare with")]
        due = len(experiments) >= REPLICATE_AFTER and len(before) == 1 and before[0].outcome.usable
        if due and self.task.replay is None:
            return [Choice(row, "replicate", "the baseline again: two runs of one config show the noise")]
        return []

    def _planned(self, choice: Choice, belief: Belief) -> Planned:
        front = self.predicted_front(belief)
        predicted = belief.intervals(choice.row)
        return Planned(self.grid.config(choice.row), choice.reason, choice.detail, predicted, bool(front[choice.row]))

    def describe(self, config: Config, experiments: Sequence[Experiment], reason: str) -> Planned:
        """A config of the grid that somebody else chose, with what was expected of it."""
        row = row_of(self.grid, config)
        assert row is not None
        return self._planned(Choice(row, reason), self.belief(experiments))

    def predicted_front(self, belief: Belief) -> Bools:
        """Which of the n configs are on the frontier of the predicted objectives, among those that fit in memory."""
        front = np.zeros(len(self.grid), dtype=bool)
        rows = np.flatnonzero(self.prediction.feasible)
        front[rows] = non_dominated(belief.mean[rows, : len(self.objectives)])
        return front

    def verdict(self, experiments: Sequence[Experiment]) -> Verdict:
        """Whether the strategy sees nothing more worth running (never, where the task says `stop_early: false`)."""
        if not len(self.state(experiments).open_rows):
            unfit = int((self.space.allowed & ~self.prediction.feasible).sum())
            rest = f"; {unfit} are predicted not to fit in memory" if unfit else ""
            return Verdict(True, f"every config {'that may fit' if unfit else 'of the space'} has been run{rest}")
        if launch := _hopeless(experiments):
            return Verdict(True, launch)
        if not self.task.stop_early:
            return Verdict(False)
        rng = np.random.default_rng([self.task.seed, len(experiments), 1])
        return self.strategy.verdict(self.state(experiments), rng)


def _value(point: PointResult, objective: Objective) -> float:
    name = objective.name.removesuffix(f"_{objective.statistic}") if objective.statistic else objective.name
    value = point.value(name, objective.statistic)
    return np.nan if value is None else value


def _hopeless(experiments: Sequence[Experiment]) -> str | None:
    """A sentence if nothing but launch failures was recorded: going on would spend the budget on the same mistake."""
    failed = [e for e in experiments if e.outcome is Outcome.LAUNCH_FAILED]
    if len(failed) < HOPELESS or len(failed) < len(experiments):
        return None
    return f"all {len(failed)} experiments failed to launch; the last one: {failed[-1].error}"
