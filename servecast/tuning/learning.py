"""How good the predictions were: before anything ran, after learning, and how often the promised interval held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.prediction import Floats
from perfdb.records import Experiment
from search.belief import Belief
from search.objective import Objective, to_loss
from servecast.tuning.space import row_of
from servecast.tuning.tuning import Tuning


@dataclass(frozen=True)
class Learning:
    """Median relative error per output, before and after learning, and the intervals that held.

    Metrics that a config declares (its quality cost) are left out: nobody predicts them. `before` is the model without
    this run's experiments; `after` is its error on each experiment when it has learned from all the others
    (leave-one-out). `hit` of `of` intervals, promised before each experiment ran, held its result.
    """

    before: dict[str, float]
    after: dict[str, float]
    hit: int
    of: int


def learning(tuning: Tuning, experiments: Sequence[Experiment]) -> Learning:
    """Score the predictions of a run on its successful experiments."""
    outputs = [o for o in tuning.answered(experiments) if o.name not in tuning.space.known]
    losses = to_loss(tuning.values(experiments, outputs), outputs)
    usable = [i for i in range(len(experiments)) if np.isfinite(losses[i]).all() and _on_grid(tuning, experiments[i])]
    if not usable or not outputs:
        return Learning({}, {}, 0, 0)
    rows = np.array([row_of(tuning.grid, experiments[i].config) for i in usable], dtype=np.int64)
    truth = losses[usable]
    before = _median_errors(outputs, _means(tuning.belief([]), outputs)[rows] - truth)
    after = _median_errors(outputs, _left_out(tuning, experiments, usable, outputs) - truth)
    hits = [hit for i in usable for hit in _hits(tuning, experiments[i], outputs)]
    return Learning(before, after, int(sum(hits)), len(hits))


def _on_grid(tuning: Tuning, experiment: Experiment) -> bool:
    return row_of(tuning.grid, experiment.config) is not None


def _means(belief: Belief, outputs: Sequence[Objective]) -> Floats:
    """The believed losses of some outputs, `n x m`."""
    columns = [belief.objectives.index(output) for output in outputs]
    means: Floats = belief.mean[:, columns]
    return means


def _left_out(
    tuning: Tuning, experiments: Sequence[Experiment], usable: Sequence[int], outputs: Sequence[Objective]
) -> Floats:
    """Predicted losses of each usable experiment from all those of other configs, `u x m`."""
    predicted = []
    for i in usable:
        others = [e for e in experiments if e.config != experiments[i].config]
        predicted.append(_means(tuning.belief(others), outputs)[row_of(tuning.grid, experiments[i].config)])
    return np.array(predicted)


def _median_errors(outputs: Sequence[Objective], log_errors: Floats) -> dict[str, float]:
    """Median of |predicted/actual - 1| with the larger of both as numerator, per output."""
    return {o.name: float(np.median(np.expm1(np.abs(c)))) for o, c in zip(outputs, log_errors.T, strict=True)}


def _hits(tuning: Tuning, experiment: Experiment, outputs: Sequence[Objective]) -> list[bool]:
    values = tuning.values([experiment], outputs)[0]
    pairs = zip(outputs, values, strict=True)
    return [
        experiment.predicted[o.name].lo <= value <= experiment.predicted[o.name].hi
        for o, value in pairs
        if o.name in experiment.predicted
    ]
