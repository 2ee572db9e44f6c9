"""Predictions for a whole grid: the analytic model, what was learned from history, and what was measured right here.

    log metric = log analytic + residual learned elsewhere + a process over the rows of this very scenario

`Surrogate.fit` takes the database's rows once; `predict` answers any question from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from model.checkpoint.architecture import Architecture
from model.closed_form.limits import as_offered, consistent, in_flight, within_budget
from model.derived import BASIS, derive, family_of, followed, predictable, sum_of
from model.failures import as_ran
from model.kept.training import kept_training
from model.learning.conditioning import NOISE_SD, as_measured, condition, encode_both
from model.learning.descriptors import PLACE_ROLES, ROOM_ROLES
from model.learning.history import Columns, Ints, groups_of, size, training
from model.learning.lessons import NOTHING_LEARNED, Correction, Lessons
from model.learning.residual import familiarity
from model.learning.scenario import ScenarioIndex, ScenarioRows
from model.load import Load
from model.prediction import Bools, Estimate, Floats, GridPrediction
from model.question import Analysis, Question, analyse
from model.tables.shelf import NO_TABLES, Shelf
from perfdb.facts.models import canonical_model
from perfdb.records import Grid, Provenance

__all__ = ["Question", "Surrogate"]

_ENOUGH_OWN = 8
"""Measured rows of a scenario from which on its predictions count as checked."""
_NO_ROWS = np.zeros(0, np.int64)

_QUEUES = ("ttft_s", "e2e_s")


def _near_capacity(found: Analysis) -> Floats:
    """sd of log waiting time that an error in the capacity causes, `n`: near it seconds may be minutes."""
    rho = found.serving.utilisation
    return np.where(found.points.load.is_open, 1.5 * np.exp(-(((rho - 1.0) / 0.15) ** 2)), 0.0)


def _sums(found: Analysis, basis: Mapping[str, Estimate], free: Bools) -> dict[str, Estimate]:
    """Latency as the sum of its measured parts, and by Little's law the throughput of the rows where that is `free`."""
    ttft, tpot, load = basis["ttft_s"], basis["tpot_s"], found.points.load
    decoding = np.where(load.osl > 1.0, tpot.log_mean + np.log(np.maximum(load.osl - 1.0, 1.0)), -np.inf)
    whole_s = sum_of(ttft, Estimate(decoding, tpot.log_sd))
    total, sd = whole_s.log_mean, whole_s.log_sd
    analytic = {name: np.log(found.serving.metrics[name]) for name in ("e2e_s", "e2e_s_p90", "output_tps")}
    rate, given = analytic["output_tps"] + analytic["e2e_s"] - total, basis["output_tps"]
    whole = {"e2e_s": total, "e2e_s_p90": total + analytic["e2e_s_p90"] - analytic["e2e_s"]}
    # a static batch lasts as long as its waves, not as one request
    batch = load.is_batch
    return {
        **{
            name: Estimate(np.where(batch, basis[name].log_mean, mean), np.where(batch, basis[name].log_sd, sd))
            for name, mean in whole.items()
        },
        "output_tps": Estimate(np.where(free, rate, given.log_mean), np.where(free, sd, given.log_sd)),
    }


def _with_slot_waits(found: Analysis, basis: Mapping[str, Estimate], shift: Floats) -> dict[str, Estimate]:
    """Latencies with what requests wait for a slot: as wrong as the times of those who hold the slots (`shift`, `n`);
    and the throughput that follows by Little's law."""
    if found.unqueued is found:
        return dict(basis)
    answer, waits = dict(basis), found.unqueued.points.load.amount < found.points.load.amount
    for name in ("ttft_s", "tpot_s", "itl_s", "e2e_s", "e2e_s_p90"):
        mean, sd, wait = basis[name].log_mean, basis[name].log_sd, found.slot_wait_s(name)
        rows = np.flatnonzero(waits & (wait > 0))
        waiting = np.full(len(mean), -np.inf)
        waiting[rows] = np.log(wait[rows]) + shift[rows]
        total = np.logaddexp(mean, waiting)
        share = np.exp(waiting - total)
        answer[name] = Estimate(total, (1.0 - share) * sd + share * basis["tpot_s"].log_sd)
    in_flight = np.log(found.serving.metrics["output_tps"] * found.serving.metrics["e2e_s"])
    rate = np.where(waits, in_flight - answer["e2e_s"].log_mean, basis["output_tps"].log_mean)
    return {**answer, "output_tps": Estimate(rate, basis["output_tps"].log_sd)}


def _of_closed_loops(correction: Correction, is_open: Bools) -> Correction:
    """What was learned of first tokens in closed loops, which open with a burst, says of random arrivals only how far
    off they may be."""
    shift, sd = (np.broadcast_to(part, len(is_open)) for part in (correction.shift, correction.sd))
    wider = np.where(is_open, np.hypot(sd, np.abs(shift)), sd)
    return replace(correction, shift=np.where(is_open, 0.0, shift), sd=wider)


def _akin(asked: Analysis, measured: Analysis) -> int:
    """How many measured rows are of the groups that are asked for."""
    groups = groups_of(asked.points)[0]
    names, place = groups_of(measured.points)
    return int(np.isin(place, [number for number, name in enumerate(names) if name in groups]).sum())


def _have_places(asked: Grid, measured: Grid, found: Analysis) -> bool:
    """Whether the descriptors say where each config lies among its group's rows: no other parameter differs."""
    others = [p.name for p in found.points.engine.parameters.values() if p.role not in PLACE_ROLES | ROOM_ROLES]
    for name in others:
        columns = [grid.columns[name].tolist() for grid in (asked, measured) if name in grid.columns]
        if len(columns) == 1 or len({value for column in columns for value in column}) > 1:
            return False
    return True


def _provenance(is_measured: Bools, learned: bool) -> npt.NDArray[Any]:
    other = Provenance.LEARNED if learned else Provenance.ROOFLINE
    found = np.empty(len(is_measured), object)
    # from a list: numpy makes a plain text of a single member of an enumeration of texts
    found[:] = [Provenance.MEASURED if own else other for own in is_measured.tolist()]
    return found


@dataclass(frozen=True)
class Surrogate:
    """What the database taught. `history` holds its rows; they are learned from when a question first needs them.

    The analytic model takes the operation tables of `shelf`, where it has any.
    """

    history: Columns
    elder: Surrogate | None = None
    shelf: Shelf = NO_TABLES
    _lessons: dict[Architecture | None, Lessons] = field(default_factory=dict)

    @classmethod
    def fit(cls, history: Columns, shelf: Shelf = NO_TABLES) -> Surrogate:
        """Learn from rows: columns of `perfdb.batch.CONTEXT` and one float column per metric ("ttft_s", "ttft_s_p50").

        An empty mapping is a database without measurements. Rows whose model, platform or load is not known teach
        nothing; `lessons(question).training.skipped` counts them by reason.
        """
        return cls(history, shelf=shelf)

    def taught(self, rows: Columns) -> Surrogate:
        """This surrogate with further rows (columns as those of `history`), without fitting anew what all groups have
        in common: the rows tell of their own groups only."""
        known = size(self.history)
        joined = {name: np.concatenate([self.history[name], rows[name]]) for name in rows} if known else rows
        return Surrogate(joined, self, self.shelf)

    @cached_property
    def scenarios(self) -> ScenarioIndex:
        """Where the rows of every scenario are."""
        return ScenarioIndex(self.history)

    def lessons(self, question: Question) -> Lessons:
        """What is learned for a question. A model known by its files alone adds the rows under its own name."""
        model = question.architecture
        key = None if canonical_model(model.name) else model
        if key not in self._lessons:
            self._lessons[key] = self._learned_from(question, key)
        return self._lessons[key]

    def _learned_from(self, question: Question, key: Architecture | None) -> Lessons:
        if self.elder is None:
            return Lessons(kept_training(self.history, key, self.shelf))
        known = size(self.elder.history)
        data = training({name: values[known:] for name, values in self.history.items()}, key, self.shelf)
        return Lessons(replace(data, rows=data.rows + known), self.elder.lessons(question))

    def predict(self, question: Question, metrics: Sequence[str] = (), load: Load | None = None) -> GridPrediction:
        """Estimates for every config, with what was measured in this scenario taken into account.

        Args:
            question: what to predict.
            metrics: names of `model.derived.PREDICTED`, latencies also with a statistic ("ttft_s_p99"); without any,
                all that can be predicted.
            load: a load for each config, of the workload's lengths and arrival process, instead of the workload's own.

        Raises:
            InputError: the workload or a parameter's value cannot be right, or a metric cannot be predicted.
        """
        if question.shelf is NO_TABLES:
            question = replace(question, shelf=self.shelf)
        found = analyse(question, load=load)
        # what was measured here says nothing of prompts that are partly in the cache
        rows = None if question.reused else self.scenarios.rows(question)
        lessons = self.lessons(question)
        basis, learned = self._corrected(lessons, question, found)
        validated = learned and lessons.validated
        is_measured = np.zeros(len(question.grid), bool)
        if rows is not None:
            basis, is_measured = self._conditioned(lessons, question, found, basis, rows)
            learned = True
            validated |= len(rows.rows) >= _ENOUGH_OWN
        basis = in_flight(found, as_offered(found, consistent(found, basis, is_measured), ~is_measured), ~is_measured)
        estimates = derive(basis, found.points, metrics or predictable(found.points))
        feasible, why = as_ran(self.scenarios, question, found, is_measured)
        provenance = _provenance(is_measured, learned)
        busy = np.where(found.points.load.is_open, found.serving.utilisation, np.nan)
        return GridPrediction(estimates, feasible, found.memory.headroom, why, provenance, busy, validated)

    def _corrected(
        self, lessons: Lessons, question: Question, found: Analysis, own: Ints = _NO_ROWS
    ) -> tuple[dict[str, Estimate], bool]:
        """Analytic metrics with the residual learned from all rows but `own`; whether there were any."""
        corrections, served = NOTHING_LEARNED, found.unqueued
        if lessons.learned:
            corrections = lessons.corrections(*groups_of(found.points), found.features, own)
        # at a rate of its own a deployment serves what is offered, but for those that cannot keep up
        follows = found.points.load.is_open & (found.serving.utilisation < 1.0)
        near_capacity = _near_capacity(found)
        wider = familiarity(question.platform)
        basis = {}
        for name in BASIS:
            family, sign = family_of(name)
            correction = corrections[family]
            if family == "ttft_s" and not lessons.knows_arrivals:
                correction = _of_closed_loops(correction, found.points.load.is_open)
            is_given = follows & (name == "output_tps")
            mean = np.log(served.serving.metrics[name]) + sign * np.where(is_given, 0.0, correction.shift)
            widened = correction.sd if correction.learned else correction.sd * wider
            sd = np.hypot(widened, near_capacity) if family in _QUEUES else widened
            basis[name] = Estimate(mean, np.where(is_given, NOISE_SD, sd))
        parts = (corrections["ttft_s"], corrections["tpot_s"])
        if corrections["e2e_s"].stands_in and all(part.learned and not part.stands_in for part in parts):
            load = found.points.load
            basis |= _sums(served, basis, ~(load.is_open | load.is_batch))
        basis = _with_slot_waits(found, basis, np.broadcast_to(corrections["tpot_s"].shift, len(follows)))
        basis = within_budget(found, as_offered(found, basis))
        return basis, any(correction.learned for correction in corrections.values())

    def _conditioned(
        self,
        lessons: Lessons,
        question: Question,
        found: Analysis,
        basis: Mapping[str, Estimate],
        rows: ScenarioRows,
    ) -> tuple[dict[str, Estimate], Bools]:
        """`basis` with the scenario's own rows. A few of them, where the group's rows tell of each other, stay among
        those; else a process of their own, over a basis without them, follows the parameters of the config."""
        encoded = encode_both(question, rows, found.points.engine, found.points.load.amount)
        here = analyse(question, rows.grid, rows.load.varied_as(found.points.load))
        if lessons.validated and _akin(found, here) < _ENOUGH_OWN and _have_places(question.grid, rows.grid, found):
            answers = {name: as_measured(basis[name], rows.measured[name], encoded) for name in BASIS}
            taught = frozenset[str]()
        else:
            before, _ = self._corrected(lessons, question, found, rows.rows)
            there, learned = self._corrected(lessons, question, here, rows.rows)
            checked = learned and lessons.validated
            answers = {
                name: condition(before[name], there[name], rows.measured[name], encoded, checked) for name in BASIS
            }
            taught = frozenset(name for name in BASIS if np.isfinite(rows.measured[name]).any())
        is_measured = np.any([own for _, own in answers.values()], axis=0)
        return followed(answers, found.points, taught), is_measured
