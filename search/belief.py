"""What the search believes after the runs so far: every config's losses with their spread, and whether it will work.

Notation as in `search.plan`: n configs, k objectives, t experiments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.learning.features import column_groups
from model.learning.gp import GP, fit
from model.prediction import Z90, Bools, Floats
from perfdb.metrics import Direction
from perfdb.records import Interval
from search.acquire import probability_of_feasibility
from search.frontier import reference_point
from search.objective import Objective, complete, to_loss
from search.plan import Ints, State

HEADROOM_UNIT = 0.15
HEADROOM_CLIP = 1.5
"""log(available / needed memory) is divided by the first and clipped to ± the second: the memory model's own error."""

SPREAD = 0.3
"""Expected sd of a log loss around its prior mean, before the runs say it; counts as one run."""

Z_WEIGHT = 0.5
"""How far a standard deviation of a prediction, or a unit of headroom, moves a config in feature space."""


@dataclass(frozen=True)
class Belief:
    """Predictions for all n configs.

    `mean` and `sd` are the noise-free log losses, `n x k`; `noise_sd` the sd of one run around them, `k`; `feasible`
    the probability that a config starts and answers, `n`; `reference` the worst losses that count, `k`; `losses` the
    measured losses, `t x k`, NaN for failures; `processes` the k fitted processes, empty where only a prior speaks.
    """

    objectives: tuple[Objective, ...]
    mean: Floats
    sd: Floats
    noise_sd: Floats
    feasible: Floats
    reference: Floats
    losses: Floats
    processes: tuple[GP, ...]
    _features: Floats
    _prior: Floats
    _z: Floats

    def intervals(self, row: int) -> dict[str, Interval]:
        """Objective name -> what one run of the config in `row` should measure, with its 90 % interval."""
        half = Z90 * np.hypot(self.sd[row], self.noise_sd)
        return {o.name: _native(o, float(self.mean[row, j]), float(half[j])) for j, o in enumerate(self.objectives)}

    def draw(self, rows: Ints, count: int, rng: np.random.Generator) -> Floats:
        """Joint draws of the noise-free losses of some configs, `count x m x k`; m up to a few thousand."""
        if not self.processes:
            noise = rng.standard_normal((count, len(rows), len(self.objectives)))
            return self.mean[rows] + self.sd[rows] * noise
        x, z = self._features[rows], self._z[rows]
        draws = [process.sample(x, self._prior[rows, j], z, count, rng) for j, process in enumerate(self.processes)]
        return np.stack(draws, axis=2)


def _native(objective: Objective, loss: float, half: float) -> Interval:
    low, mid, high = np.exp([loss - half, loss, loss + half])
    if objective.direction is Direction.MAX:
        low, mid, high = 1 / high, 1 / mid, 1 / low
    return Interval(float(mid), float(low), float(high))


def _standard_predictions(state: State) -> tuple[Floats, Floats]:
    """Prior losses, `n x k` (zeros without a prior), and the same standardised over the grid, `n x p`."""
    n, k = len(state.features), len(state.objectives)
    if state.prior is None:
        return np.zeros((n, k)), np.zeros((n, 0))
    loss = state.prior.loss
    spread = loss.std(axis=0)
    varied = spread > 1e-9
    return loss, (loss[:, varied] - loss[:, varied].mean(axis=0)) / spread[varied]


def _evidence(state: State) -> Floats:
    """Clipped memory headroom h, `n`; zeros where memory is not modelled."""
    if state.headroom is None:
        return np.zeros(len(state.features))
    headroom = np.nan_to_num(state.headroom / HEADROOM_UNIT, nan=0.0)
    return np.clip(headroom, -HEADROOM_CLIP, HEADROOM_CLIP)


def _extended(state: State, *extra: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """φ with the columns that vary among `extra` (each `n x any`) added, and every column's parameter."""
    added = np.column_stack([Z_WEIGHT * block for block in extra])
    added = added[:, np.ptp(added, axis=0) > 0] if len(added) else added[:, :0]
    groups = column_groups(state.features)
    more = groups.max(initial=-1) + 1 + np.arange(added.shape[1])
    return np.column_stack([state.features, added]), np.concatenate([groups, more])


def _feasibility(state: State, features: Floats, groups: npt.NDArray[np.int64]) -> Floats:
    """Probability of success, `n`: a process on what the outcomes (±1) say beyond the memory model."""
    evidence = _evidence(state)
    n, t = len(features), len(state.rows)
    expected = np.clip(evidence, -1.0, 1.0)
    if state.ok.all():
        # Nothing failed yet: success is the rule, and only the memory model can say otherwise.
        usual = np.full(n, 1.0 if state.headroom is None else 0.0)
        return probability_of_feasibility(evidence, usual, np.full(n, 0.5))
    outcome = np.where(state.ok, 1.0, -1.0)
    none = np.zeros((n, 0))
    process = fit(features[state.rows], outcome, expected[state.rows], none[:t], groups=groups, spread=1.0)
    mean, sd = process.predict(features, np.zeros(n), none)
    return probability_of_feasibility(evidence, mean, sd)


def _permitted(state: State) -> Bools:
    return np.ones(len(state.features), bool) if state.allowed is None else state.allowed


def _reference(state: State, mean: Floats, losses: Floats, possible: Bools) -> Floats:
    """Reference of the front that is expected of the whole grid, never better than the measured front's own.

    The ends of the true front are usually not yet measured: from the measured nadir alone they would gain nothing.
    """
    expected = mean.copy()
    expected[~possible] = np.nan
    expected[state.rows] = losses
    fronts = [rows for rows in (expected, losses) if complete(rows).any()] or [mean]
    worst: Floats = np.max([reference_point(rows, state.objectives) for rows in fronts], axis=0)
    return worst


def _processes(
    state: State, features: Floats, groups: npt.NDArray[np.int64], rows: Ints, losses: Floats, z: Floats
) -> tuple[GP, ...]:
    """One fitted process per objective, from the losses measured in `rows`."""
    prior = state.prior
    mean = np.zeros_like(losses) if prior is None else prior.loss[rows]
    validated = prior is not None and prior.validated
    spread = np.full(losses.shape[1], SPREAD)
    if prior is not None and prior.validated:
        spread = np.clip(prior.sd.mean(axis=0), 0.01, SPREAD)
    return tuple(
        fit(features[rows], losses[:, j], mean[:, j], z[rows], validated, groups=groups, spread=float(spread[j]))
        for j in range(losses.shape[1])
    )


def believe(state: State) -> Belief | None:
    """Condition on the state's results; None while there is neither a result nor a prior.

    Failed experiments say nothing about the losses, but lower `feasible` around them.
    """
    losses = to_loss(state.values, state.objectives)
    ok = state.ok & complete(losses)
    if state.prior is None and not ok.any():
        return None
    losses = np.where(ok[:, None], losses, np.nan)
    prior, z = _standard_predictions(state)
    features, groups = _extended(state, z, _evidence(state)[:, None])
    rows = state.rows[ok]
    if len(rows):
        processes = _processes(state, features, groups, rows, losses[ok], z)
        predicted = [process.predict(features, prior[:, j], z) for j, process in enumerate(processes)]
        mean, sd = (np.column_stack(part) for part in zip(*predicted, strict=True))
        noise_sd = np.array([process.noise_sd for process in processes])
    else:
        processes, mean, noise_sd = (), prior, np.zeros(len(state.objectives))
        sd = np.zeros_like(prior) if state.prior is None else state.prior.sd
    feasible = _feasibility(state, features, groups)
    return Belief(
        objectives=state.objectives,
        mean=mean,
        sd=sd,
        noise_sd=noise_sd,
        feasible=feasible,
        reference=_reference(state, mean, losses, (feasible > 0.5) & _permitted(state)),
        losses=losses,
        processes=processes,
        _features=features,
        _prior=prior,
        _z=z,
    )
