"""Configs that failed when they ran, as the database tells: no rule of memory knows better.

At the very load they are not feasible, unless another run served it; beyond it, memory that ran out is warned of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from model.feasibility import as_served, feasibility
from model.knobs import ROLES
from model.learning.history import column, grid_of, size, unreadable
from model.learning.scenario import FAILED, ScenarioIndex
from model.points import Points
from model.prediction import Bools, Floats
from model.question import Analysis, Question
from model.tables.said import say
from perfdb.records import Grid, Outcome

Ints = npt.NDArray[np.int64]

_AGAIN = frozenset({Outcome.OOM, Outcome.LAUNCH_FAILED})
"""What happens again when the same is tried; a crash may not."""


@dataclass(frozen=True)
class Failure:
    """A run that failed at an `amount` of load (see `model.load.Load`): the `rows` of a question that are of the same
    config, how it ended (`outcome`), and `words` that say so."""

    rows: Ints
    amount: float
    outcome: str
    words: str

    def tell(self, amounts: Floats) -> Ints:
        """Which of the loads of servers of this config, of `amounts`, fail again, as places in them; says
        (`model.tables.said`) what failed at a lower load, or may not fail again."""
        here = np.flatnonzero(amounts == self.amount)
        if len(here) and self.outcome not in _AGAIN:
            say([f"a config of these {self.words}"])
        if self.outcome == Outcome.OOM and (amounts > self.amount).any():
            say([f"at a load of {self.amount:g}, less than is asked for, a config of these {self.words}"])
        return here if self.outcome in _AGAIN else here[:0]


def as_ran(
    index: ScenarioIndex, question: Question, found: Analysis, is_measured: Bools
) -> tuple[Bools, Mapping[int, str]]:
    """`model.feasibility.feasibility`, corrected by what was measured (`is_measured`, `n`) and by what failed; says
    what `Failure.tell` does."""
    feasible, reasons = as_served(is_measured, *feasibility(found.points, found.memory))
    feasible, reasons = feasible.copy(), dict(reasons)
    for failure in failures(index, question, found.points):
        rows = failure.rows[~is_measured[failure.rows]]
        again = rows[failure.tell(found.points.load.amount[rows])]
        feasible[again] = False
        reasons |= dict.fromkeys(again.tolist(), failure.words)
    return feasible, reasons


def failures(index: ScenarioIndex, question: Question, points: Points) -> Iterator[Failure]:
    """What failed in the question's scenario, whose grid means `points` to the model."""
    rows = _same_version(index, question)
    if not len(rows):
        return
    configs = column(index.history, "config", size(index.history))[rows]
    load = index.load.take(rows)
    readable = np.delete(np.arange(len(rows)), list(unreadable(question.resolve, configs, load)))
    grid = grid_of(configs[readable])
    failed = question.resolve(grid, load.take(readable))
    for place, row in enumerate(rows[readable].tolist()):
        outcome = str(index.history["outcome"][row])
        words = f"failed when it ran: {FAILED[outcome]} ({_where(index, row)})"
        same = _same_config(points, question.grid, failed, grid, place)
        yield Failure(same, float(failed.load.amount[place]), outcome, words)


def served(index: ScenarioIndex, question: Question, points: Points) -> frozenset[tuple[int, float]]:
    """Rows of a question, whose grid means `points` to the model, that other runs served, each with the amount."""
    rows = index.rows(question)
    if rows is None:
        return frozenset()
    ran, found = question.resolve(rows.grid, rows.load), set[tuple[int, float]]()
    for place, amount in enumerate(rows.load.amount.tolist()):
        same = _same_config(points, question.grid, ran, rows.grid, place)
        found |= {(row, amount) for row in same.tolist()}
    return frozenset(found)


def _same_version(index: ScenarioIndex, question: Question) -> Ints:
    """Rows that failed in the question's scenario, but for those of another version of the engine."""
    rows = np.array(index.failed(question), np.int64)
    versions = column(index.history, "engine_version", size(index.history))[rows]
    asked = question.target.engine_version
    return rows[[asked is None or version in {None, "", asked} for version in versions.tolist()]]


def _same_config(points: Points, grid: Grid, others: Points, ran: Grid, place: int) -> Ints:
    """Rows of `points` whose config means to the model what the one at a `place` of `others` does, and says the same
    of what the model does not see."""
    rows = np.flatnonzero(points.tp == others.tp[place])
    for name in points.__dataclass_fields__:
        values = getattr(points, name)
        if isinstance(values, np.ndarray) and not name.endswith("_row"):
            rows = rows[values[rows] == getattr(others, name)[place]]
    wanted = _unseen(points, ran, place)
    return rows[[_unseen(points, grid, row) == wanted for row in rows.tolist()]]


def _unseen(points: Points, grid: Grid, row: int) -> dict[str, Any]:
    """What a config says of parameters that the model does not see, where it is not the engine's default."""
    known = points.engine.parameters
    own = {name: values.tolist()[row] for name, values in _columns(grid, points).items()}
    return {name: value for name, value in own.items() if value not in {None, known[name].default}}


def _columns(grid: Grid, points: Points) -> dict[str, npt.NDArray[Any]]:
    known = points.engine.parameters
    return {name: values for name, values in grid.columns.items() if name in known and known[name].role not in ROLES}


def _where(index: ScenarioIndex, row: int) -> str:
    """The file and row that tell of a failure, or the run."""
    said = {name: values[row] for name, values in index.history.items() if name in {"source", "source_row", "run_id"}}
    if said.get("source"):
        return f"{PurePath(str(said['source'])).name}, row {said.get('source_row', np.nan):.0f}"
    return f"run {said['run_id']}" if said.get("run_id") else "a run of the database"
