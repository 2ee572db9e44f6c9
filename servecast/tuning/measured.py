"""What was measured: repeats of one config taken together, their frontier, the knee, the gain over the baseline.

Only measurements come in here, never a prediction. Means are geometric: objectives are positive, noise is relative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from model.prediction import Floats
from perfdb.metrics import Direction
from perfdb.records import Config, Experiment, Interval
from search.frontier import knee, non_dominated
from search.objective import Objective, to_loss

PRIOR_NOISE = 0.03
"""Relative noise of one run before any repeat is seen: the median spread of repeats on a quiet machine."""
PRIOR_WEIGHT = 2.0
"""How many repeats that belief is worth."""


@dataclass(frozen=True)
class MeasuredConfig:
    """One config, its successful experiments in order, and its objective values (geometric mean of repeats, `k`)."""

    config: Config
    experiments: tuple[Experiment, ...]
    values: Floats


@dataclass(frozen=True)
class Measured:
    """All m measured configs in the order of their first run, for k objectives; `losses` is `m x k`."""

    configs: tuple[MeasuredConfig, ...]
    objectives: tuple[Objective, ...]
    losses: Floats
    noise_sd: Floats
    noise_dof: float

    @classmethod
    def of(cls, experiments: Sequence[Experiment], values: Floats, objectives: Sequence[Objective]) -> Measured:
        """Take repeats together.

        Args:
            experiments: t of them, of any outcome.
            values: their native objective values, `t x k`, NaN where one failed.
            objectives: the k objectives.
        """
        losses = to_loss(values, objectives)
        groups: dict[str, list[int]] = {}
        for row, experiment in enumerate(experiments):
            if np.isfinite(losses[row]).all():
                groups.setdefault(experiment.config.key, []).append(row)
        configs = tuple(
            MeasuredConfig(
                experiments[rows[0]].config,
                tuple(experiments[row] for row in rows),
                np.exp(np.log(values[rows]).mean(axis=0)),
            )
            for rows in groups.values()
        )
        means = [losses[rows].mean(axis=0) for rows in groups.values()]
        table = np.array(means, dtype=np.float64).reshape(len(means), len(objectives))
        return cls(configs, tuple(objectives), table, *_noise(losses, list(groups.values())))

    @property
    def front(self) -> list[MeasuredConfig]:
        """The measured Pareto frontier, best of the first objective first."""
        rows = np.flatnonzero(non_dominated(self.losses))
        return [self.configs[row] for row in rows[np.argsort(self.losses[rows, 0], kind="stable")]]

    @property
    def knee(self) -> MeasuredConfig | None:
        """The best compromise on the frontier (see `search.frontier.knee`)."""
        row = knee(self.losses) if len(self.configs) else None
        return None if row is None else self.configs[row]

    def find(self, config: Config | None) -> MeasuredConfig | None:
        """The measured config that equals `config`."""
        return next((m for m in self.configs if m.config == config), None)

    def gain(self, over: MeasuredConfig, of: MeasuredConfig) -> dict[str, Interval]:
        """How many times better `of` is than `over`, per objective, with a 90 % interval (above 1 is better)."""
        t90 = float(stdtrit(self.noise_dof, 0.95))
        spread = t90 * self.noise_sd * math.sqrt(1 / len(of.experiments) + 1 / len(over.experiments))
        signs = np.array([1.0 if o.direction is Direction.MAX else -1.0 for o in self.objectives])
        better = signs * (np.log(of.values) - np.log(over.values))
        if of is over:
            spread = np.zeros_like(better)
        return {
            objective.name: Interval(*(float(np.exp(x)) for x in (gain, gain - half, gain + half)))
            for objective, gain, half in zip(self.objectives, better, spread, strict=True)
        }


def _noise(losses: Floats, groups: Sequence[Sequence[int]]) -> tuple[Floats, float]:
    """Relative sd of one run per objective, `k`, and its degrees of freedom: the repeats' spread, shrunk to a prior."""
    squares = np.zeros(losses.shape[1])
    dof = 0
    for rows in groups:
        if len(rows) > 1:
            squares += ((losses[rows] - losses[rows].mean(axis=0)) ** 2).sum(axis=0)
            dof += len(rows) - 1
    total = PRIOR_WEIGHT + dof
    return np.sqrt((PRIOR_WEIGHT * PRIOR_NOISE**2 + squares) / total), total
