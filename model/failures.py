"""Configs that failed when they ran, as the database tells: no rule of memory knows better.

At the very load they are not feasible, unless another run served it; beyond it, memory that ran out is warned of.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from model.feasibility import as_served, feasibility
from model.history import column, grid_of, size, unreadable
from model.knobs import ROLES
from model.points import Points
from model.prediction import Bools
from model.question import Analysis, Question
from model.scenario import FAILED, ScenarioIndex
from model.tables.said import say
from perfdb.records import Grid, Outcome

Ints = npt.NDArray[np.int64]

_AGAIN = frozenset({Outcome.OOM, Outcome.LAUNCH_FAILED})
"""What happens again when the same is tried; a crash may not."""


def as_ran(
    index: ScenarioIndex, question: Question, found: Analysis, is_measured: Bools
) -> tuple[Bools, Mapping[int, str]]:
    """`model.feasibility.feasibility`, corrected by what was measured (`is_measured`, `n`) and by what failed; says
    (`model.tables.said`) what failed at a lower load, or may not fail again."""
    feasible, reasons = as_served(is_measured, *feasibility(found.points, found.memory))
    rows = _same_version(index, question)
    if not len(rows):
        return feasible, reasons
    configs = column(index.history, "config", size(index.history))[rows]
    load = index.load.take(rows)
    readable = np.delete(np.arange(len(rows)), list(unreadable(question.resolve, configs, load)))
    grid, reasons = grid_of(configs[readable]), dict(reasons)
    failed = question.resolve(grid, load.take(readable))
    feasible = feasible.copy()
    for place, row in enumerate(rows[readable].tolist()):
        same = _same_config(found.points, question.grid, failed, grid, place)
        same = same[~is_measured[same]]
        amount, outcome = failed.load.amount[place], str(index.history["outcome"][row])
        words = f"failed when it ran: {FAILED[outcome]} ({_where(index, row)})"
        here = same[found.points.load.amount[same] == amount]
        if outcome in _AGAIN:
            feasible[here] = False
            reasons |= dict.fromkeys(here.tolist(), words)
        elif len(here):
            say([f"a config of these {words}"])
        if outcome == Outcome.OOM and (found.points.load.amount[same] > amount).any():
            say([f"at a load of {amount:g}, less than is asked for, a config of these {words}"])
    return feasible, reasons


def _same_version(index: ScenarioIndex, question: Question) -> Ints:
    """Rows that failed in the question's scenario, but for those of another version of the engine."""
    rows = np.array(index.failed(question), np.int64)
    versions = column(index.history, "engine_version", size(index.history))[rows]
    asked = question.target.engine_version
    return rows[[asked is None or version in {None, "", asked} for version in versions.tolist()]]


def _same_config(points: Points, grid: Grid, failed: Points, ran: Grid, place: int) -> Ints:
    """Rows of `points` whose config means to the model what the one at a `place` of `failed` does, and says the same
    of what the model does not see."""
    rows = np.flatnonzero(points.tp == failed.tp[place])
    for name in points.__dataclass_fields__:
        values = getattr(points, name)
        if isinstance(values, np.ndarray) and not name.endswith("_row"):
            rows = rows[values[rows] == getattr(failed, name)[place]]
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
