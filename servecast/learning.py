"""How good the predictions were: before anything ran, after learning, and how often the promised interval held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.prediction import Floats
from perfdb.records import Experiment
from search.objective import to_loss
from servecast.space import row_of
from servecast.tuning import Tuning


@dataclass(frozen=True)
class Learning:
    """Median relative error per output, before and after learning, and the intervals that held.

    `before` is the model without this run's experiments; `after` is its error on each experiment when it has learned
    from all the others (leave-one-out). `hit` of `of` intervals, promised before each experiment ran, held its result.
    """

    before: dict[str, float]
    after: dict[str, float]
    hit: int
    of: int


def learning(tuning: Tuning, experiments: Sequence[Experiment]) -> Learning:
    """Score the predictions of a run on its successful experiments."""
    names = [o.name for o in tuning.outputs]
    losses = to_loss(tuning.values(experiments, tuning.outputs), tuning.outputs)
    usable = [i for i in range(len(experiments)) if np.isfinite(losses[i]).all() and _on_grid(tuning, experiments[i])]
    if not usable:
        return Learning({}, {}, 0, 0)
    rows = np.array([row_of(tuning.grid, experiments[i].config) for i in usable], dtype=np.int64)
    truth = losses[usable]
    before = _median_error(tuning.belief([]).mean[rows] - truth)
    after = _median_error(_left_out(tuning, experiments, usable) - truth)
    hits = [hit for i in usable for hit in _hits(tuning, experiments[i])]
    return Learning(
        dict(zip(names, before, strict=True)), dict(zip(names, after, strict=True)), int(sum(hits)), len(hits)
    )


def _on_grid(tuning: Tuning, experiment: Experiment) -> bool:
    return row_of(tuning.grid, experiment.config) is not None


def _left_out(tuning: Tuning, experiments: Sequence[Experiment], usable: Sequence[int]) -> Floats:
    """Predicted losses of each usable experiment from all those of other configs, `u x m`."""
    predicted = []
    for i in usable:
        others = [e for e in experiments if e.config != experiments[i].config]
        predicted.append(tuning.belief(others).mean[row_of(tuning.grid, experiments[i].config)])
    return np.array(predicted)


def _median_error(log_errors: Floats) -> list[float]:
    """Median of |predicted/actual - 1| with the larger of both as numerator, per column."""
    return [float(np.median(np.expm1(np.abs(column)))) for column in log_errors.T]


def _hits(tuning: Tuning, experiment: Experiment) -> list[bool]:
    values = tuning.values([experiment], tuning.outputs)[0]
    pairs = zip(tuning.outputs, values, strict=True)
    return [
        experiment.predicted[o.name].lo <= value <= experiment.predicted[o.name].hi
        for o, value in pairs
        if o.name in experiment.predicted
    ]
