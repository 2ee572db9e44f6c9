"""Predictions for a whole grid: the analytic model, what was learned from history, and what was measured right here.

    log metric = log analytic + residual learned elsewhere + a process over the rows of this very scenario

`Surrogate.fit` takes the database's rows once; `predict` answers any question from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from model.architecture import Architecture
from model.conditioning import NOISE_SD, condition, encode_both
from model.derived import BASIS, derive, family_of, predictable
from model.feasibility import feasibility
from model.history import Columns, training
from model.lessons import Lessons
from model.prediction import Bools, Estimate, Floats, GridPrediction
from model.question import Analysis, Question, analyse
from model.residual import familiarity
from model.scenario import ScenarioIndex, ScenarioRows
from perfdb.facts.models import canonical_model
from perfdb.records import Provenance

__all__ = ["Question", "Surrogate"]

_ENOUGH_OWN = 8
"""Measured rows of a scenario from which on its predictions count as checked."""
_NO_ROWS = np.zeros(0, np.int64)

_QUEUES = ("ttft_s", "e2e_s")


def _near_capacity(found: Analysis) -> Floats:
    """sd of log waiting time that an error in the capacity causes, `n`: near it seconds may be minutes."""
    rho = found.serving.utilisation
    return np.where(found.points.load.is_open, 1.5 * np.exp(-(((rho - 1.0) / 0.15) ** 2)), 0.0)


def _provenance(is_measured: Bools, learned: bool) -> npt.NDArray[Any]:
    other = Provenance.LEARNED if learned else Provenance.ROOFLINE
    found = np.empty(len(is_measured), object)
    # from a list: numpy makes a plain text of a single member of an enumeration of texts
    found[:] = [Provenance.MEASURED if own else other for own in is_measured.tolist()]
    return found


def _consistent(basis: Mapping[str, Estimate], is_measured: Bools) -> dict[str, Estimate]:
    """No first token after the last one: each metric is corrected by itself, and a waiting time that is extrapolated
    from short waits can run away. It is cut at the whole latency, which widens it; what was measured stands."""
    ttft, e2e = basis["ttft_s"], basis["e2e_s"]
    cut = np.where(is_measured, 0.0, np.maximum(ttft.log_mean - e2e.log_mean, 0.0))
    return {**basis, "ttft_s": Estimate(ttft.log_mean - cut, np.hypot(ttft.log_sd, cut / 2))}


@dataclass(frozen=True)
class Surrogate:
    """What the database taught. `history` holds its rows; they are learned from when a question first needs them."""

    history: Columns
    _lessons: dict[Architecture | None, Lessons] = field(default_factory=dict)

    @classmethod
    def fit(cls, history: Columns) -> Surrogate:
        """Learn from rows: columns of `perfdb.batch.CONTEXT` and one float column per metric ("ttft_s", "ttft_s_p50").

        An empty mapping is a database without measurements. Rows whose model, platform or load is not known teach
        nothing; `lessons(question).training.skipped` counts them by reason.
        """
        return cls(history)

    @cached_property
    def _index(self) -> ScenarioIndex:
        return ScenarioIndex(self.history)

    def lessons(self, question: Question) -> Lessons:
        """What is learned for a question. A model known by its files alone adds the rows under its own name."""
        model = question.architecture
        key = None if canonical_model(model.name) else model
        if key not in self._lessons:
            self._lessons[key] = Lessons(training(self.history, key))
        return self._lessons[key]

    def predict(self, question: Question, metrics: Sequence[str] = ()) -> GridPrediction:
        """Estimates for every config, with what was measured in this scenario taken into account.

        Args:
            question: what to predict.
            metrics: names of `model.derived.PREDICTED`, latencies also with a statistic ("ttft_s_p99"); without any,
                all that can be predicted.

        Raises:
            InputError: the workload or a parameter's value cannot be right, or a metric cannot be predicted.
        """
        found = analyse(question)
        rows = self._index.rows(question)
        lessons = self.lessons(question)
        basis, learned = self._corrected(lessons, question, found, rows)
        validated = learned and lessons.validated
        is_measured = np.zeros(len(question.grid), bool)
        if rows is not None:
            basis, is_measured = self._conditioned(lessons, question, found, basis, rows)
            learned = True
            validated |= len(rows.rows) >= _ENOUGH_OWN
        basis = _consistent(basis, is_measured)
        estimates = derive(basis, found.points, metrics or predictable(found.points))
        feasible, why = feasibility(found.points, found.memory)
        provenance = _provenance(is_measured, learned)
        return GridPrediction(estimates, feasible, found.memory.headroom, why, provenance, validated)

    def _corrected(
        self, lessons: Lessons, question: Question, found: Analysis, rows: ScenarioRows | None
    ) -> tuple[dict[str, Estimate], bool]:
        """Analytic metrics with the residual learned from all rows but this scenario's own; whether there were any."""
        own = _NO_ROWS if rows is None else rows.rows
        corrections = lessons.corrections(question.group, found.features, own)
        # at a rate of its own a deployment serves what is offered, but for those that cannot keep up
        follows = found.points.load.is_open & (found.serving.utilisation < 1.0)
        near_capacity = _near_capacity(found)
        wider = familiarity(question.platform)
        basis = {}
        for name in BASIS:
            family, sign = family_of(name)
            correction = corrections[family]
            is_given = follows & (name == "output_tps")
            mean = np.log(found.serving.metrics[name]) + sign * np.where(is_given, 0.0, correction.shift)
            widened = correction.sd if correction.learned else correction.sd * wider
            sd = np.hypot(widened, near_capacity) if family in _QUEUES else widened
            basis[name] = Estimate(mean, np.where(is_given, NOISE_SD, sd))
        return basis, any(correction.learned for correction in corrections.values())

    def _conditioned(
        self,
        lessons: Lessons,
        question: Question,
        found: Analysis,
        basis: Mapping[str, Estimate],
        rows: ScenarioRows,
    ) -> tuple[dict[str, Estimate], Bools]:
        here = analyse(question, rows.grid, rows.load)
        rows_basis, learned = self._corrected(lessons, question, here, rows)
        encoded = encode_both(question, rows, found.points.engine, found.points.load.amount)
        validated = learned and lessons.validated
        answers, is_measured = {}, np.zeros(len(question.grid), bool)
        for name in BASIS:
            answers[name], own = condition(basis[name], rows_basis[name], rows.measured[name], encoded, validated)
            is_measured |= own
        return answers, is_measured
