"""From a task to the configs that may be run: its grid, its baseline, and what each config costs in quality."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model.missing import missing_in
from model.prediction import Bools, Floats
from perfdb.errors import InputError, UnknownNameError
from perfdb.facts.engines import Applied, EngineFacts, EngineParameter, engine
from perfdb.facts.platforms import platform
from perfdb.records import Config, Grid, Scalar
from search.space import ConfigSpace, Parameter

if TYPE_CHECKING:
    from servecast.tuning.spec import TaskSpec

_MOST_EACH = 1 << 20
"""A count beyond which none fits anything, and of which three make a product that int64 holds."""
QUALITY_FLOOR = 1e-6
"""The quality cost of an unquantised model, which a log scale cannot hold as zero."""


@dataclass(frozen=True)
class TaskSpace:
    """The n configs of a task. `allowed` is False for an off-grid baseline; `known` holds exact metrics, `n` each."""

    grid: Grid
    allowed: Bools
    baseline: int | None
    raw_count: int
    known: Mapping[str, Floats]

    def known_of(self, config: Config) -> dict[str, float]:
        """What is known of a config without measuring it."""
        row = row_of(self.grid, config)
        return {} if row is None else {name: float(column[row]) for name, column in self.known.items()}

    def check(self, config: Config, where: str) -> Config:
        """The config as the grid spells it (1.0 is 1); refuses one that is not on the grid.

        Raises:
            UnknownNameError: a parameter is not tuned. InputError: one is missing, has another value, or breaks a rule.
        """
        for name in config:
            if name not in self.grid.columns:
                raise UnknownNameError.of("parameter of this task", name, self.grid.columns)
        for name, column in self.grid.columns.items():
            values = list(dict.fromkeys(column.tolist()))
            if name not in config:
                raise InputError.at(where, f"{name} is missing", f"one of {values}")
            if config[name] not in values:
                raise InputError.at(where, f"{name} is {config[name]!r}", f"one of {values}")
        row = row_of(self.grid, config)
        if row is None:
            raise InputError.at(where, "this combination breaks a constraint of the task", "one of its grid")
        return self.grid.config(row)


def row_of(grid: Grid, config: Mapping[str, Scalar]) -> int | None:
    """The row of `grid` that equals `config` in every column, if there is one. Cost: one comparison per column."""
    if set(grid.columns) != set(config):
        return None
    same = np.ones(len(grid), dtype=bool)
    for name, column in grid.columns.items():
        same &= np.asarray(column == config[name], dtype=bool)
    rows = np.flatnonzero(same)
    return int(rows[0]) if len(rows) else None


def task_space(task: TaskSpec) -> TaskSpace:
    """Build the space of a task.

    Raises:
        UnknownNameError: the engine has no such parameter. InputError: a constraint is wrong, or nothing is left.
    """
    facts = engine(task.engine)
    _check_files(task, facts)
    space = ConfigSpace(_parameters(task, facts), tuple(task.constraints))
    grid = space.grid()
    few_enough = devices_of(grid, facts) <= (task.devices or np.inf)
    grid = grid.take(np.flatnonzero(_good_enough(task, grid) & few_enough))
    if not len(grid):
        what = f"no config of {space.size} meets the constraints, max_quality_loss and devices"
        raise InputError.at("space", what, "at least one that does")
    baseline_config = baseline_of(task, facts.on(platform(task.platform)))
    allowed = np.ones(len(grid), dtype=bool)
    baseline = None if baseline_config is None else row_of(grid, baseline_config)
    if baseline_config is not None and baseline is None:
        grid = _append(grid, baseline_config)
        allowed = np.append(allowed, False)
        baseline = len(grid) - 1
    return TaskSpace(grid, allowed, baseline, space.size, _known(task, grid))


def devices_of(grid: Grid, facts: EngineFacts, held: int | None = None) -> npt.NDArray[np.int64]:
    """tp x pp x dp of each config, `n`, what it does not say being 1; `held` where configs say nothing of any.

    Ranks that share the devices of a group under data parallel attention take none of their own.

    Values that are no counts are left to the model, which refuses them.
    """
    columns = {facts.parameters[name].role: grid.columns[name] for name in grid.columns if name in facts.parameters}
    spread = {role: column for role, column in columns.items() if role in {"tp", "pp", "dp"}}
    attention = columns.get("dp_attention", np.zeros(0))
    shares = np.array([value is True for value in attention.tolist()] or [False])
    devices, is_silent = np.ones(len(grid), dtype=np.int64), np.ones(len(grid), dtype=bool)
    for role, column in spread.items():
        devices *= np.where(shares & (role == "dp"), 1, _counts(column))
        is_silent &= missing_in(column)
    return np.where(is_silent, held or 1, devices)


def _counts(column: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """A column as the model reads it: 2.0 and "2" are 2, and 1 stands for what is no count."""
    if column.dtype.kind == "i":
        return np.asarray(np.clip(column, 1, _MOST_EACH), dtype=np.int64)
    return np.array([_count(value) for value in column.tolist()], dtype=np.int64)


def _count(value: Scalar) -> int:
    with suppress(TypeError, ValueError):
        number = float(value or 1)
        return int(min(number, _MOST_EACH)) if number >= 1 and number.is_integer() else 1
    return 1


def _check_files(task: TaskSpec, facts: EngineFacts) -> None:
    """Every quantisation of the space must have its file: found out now, not by a failed experiment."""
    if not facts.launches or task.replay is not None or "quantization" not in task.space:
        return
    for value in task.space["quantization"].values:
        if value is not None and value not in task.model_files:
            raise UnknownNameError.of("quantization (the task's model_files name none)", str(value), task.model_files)


def _parameters(task: TaskSpec, facts: EngineFacts) -> tuple[Parameter, ...]:
    parameters = []
    for name, spec in task.space.items():
        declared = facts.parameters.get(name)
        if declared is None and facts.launches and task.replay is None:
            raise UnknownNameError.of(f"parameter of {facts.name}", name, facts.parameters)
        if declared is None and task.replay is None:
            _check_spelling(name, facts)
        own = declared.applied if declared else Applied.RESTART
        applied = spec.applied or own
        if applied is Applied.LIVE and own is not Applied.LIVE:
            raise InputError.at(f"space.{name}.applied", f"{facts.name} cannot change {name} while it runs", own.value)
        parameters.append(Parameter(name, tuple(spec.values), applied))
    return tuple(parameters)


def _check_spelling(name: str, facts: EngineFacts) -> None:
    """Refuse another word for a parameter that is known: the model would not see it, and the engine not take it.

    Other names are those of flags that the model knows nothing of; runs teach what they do.
    """
    with suppress(UnknownNameError):
        known = facts.parameter(name).name
        raise InputError.at(f"space.{name}", f"{facts.name} calls it {known}", known)


def baseline_of(task: TaskSpec, facts: EngineFacts) -> Config | None:
    """The engine's own defaults for the tuned parameters; what the task says of the baseline comes first.

    A default that depends on the machine or the model (None) is the first listed value.
    """
    if task.baseline is False:
        return None
    unknown = sorted(set(task.baseline) - set(task.space))
    if unknown:
        raise UnknownNameError.of("parameter in baseline", unknown[0], task.space)
    return Config({name: _default(name, task, facts.parameters.get(name)) for name in task.space})


def _default(name: str, task: TaskSpec, declared: EngineParameter | None) -> Scalar:
    assert task.baseline is not False
    if name in task.baseline:
        return task.baseline[name]
    values = task.space[name].values
    return values[0] if declared is None or declared.default is None else declared.default


def _good_enough(task: TaskSpec, grid: Grid) -> Bools:
    if task.max_quality_loss is None:
        return np.ones(len(grid), dtype=bool)
    return np.asarray(_quality(task, grid) <= task.max_quality_loss, dtype=bool)


def _quality(task: TaskSpec, grid: Grid) -> Floats:
    """Quality cost per config, `n`; one that is not declared is the floor."""
    column = grid.columns.get("quantization")
    losses = [task.quality_loss.get(str(q), 0.0) for q in column] if column is not None else [0.0] * len(grid)
    return np.maximum(np.asarray(losses, dtype=np.float64), QUALITY_FLOOR)


def _known(task: TaskSpec, grid: Grid) -> dict[str, Floats]:
    return {"quality_loss": _quality(task, grid)} if task.quality_loss else {}


def _append(grid: Grid, config: Config) -> Grid:
    rows = Grid.of([grid.config(row) for row in range(len(grid))] + [config]) if len(grid) < 2 else None
    if rows is not None:
        return rows
    columns = {}
    for name, column in grid.columns.items():
        extra = Grid.of([{name: config[name]}]).columns[name]
        same = extra.dtype == column.dtype
        columns[name] = np.append(column if same else column.astype(object), extra if same else extra.astype(object))
    return Grid(columns)
