"""How well a strategy does on a grid that was measured in full: it proposes, the record answers, for many seeds.

Notation: n records, k objectives. Records equal in every parameter are replicates of one config: the first answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.learning.features import encode
from model.prediction import Bools, Floats
from perfdb.errors import InputError
from perfdb.records import Grid
from search.frontier import reference_point
from search.hypervolume import hypervolume, hypervolume_trace
from search.objective import Objective, complete, to_loss
from search.plan import Ints, State, Strategy
from search.strategies import strategy
from search.strategies.grid import GridSearch


@dataclass(frozen=True)
class ReplayRun:
    """One seed: the row numbers in the order they were run, and the share of the grid's hypervolume after each."""

    seed: int
    order: tuple[int, ...]
    hypervolume: tuple[float, ...]


@dataclass(frozen=True)
class ReplayResult:
    """All seeds of one strategy on one grid of `size` distinct configs."""

    strategy: str
    size: int
    runs: tuple[ReplayRun, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of `servecast replay --json`."""
        runs = [{"seed": r.seed, "order": list(r.order), "hypervolume": list(r.hypervolume)} for r in self.runs]
        return {"strategy": self.strategy, "grid": self.size, "runs": runs}


@dataclass(frozen=True)
class _Table:
    """m distinct configs: features `m x d`, native values and log losses `m x k`, success and row number, both `m`."""

    features: Floats
    values: Floats
    losses: Floats
    worked: Bools
    numbers: Ints
    objectives: tuple[Objective, ...]


def grid_of_text(columns: dict[str, Sequence[str | None]]) -> Grid:
    """A grid from the text of a file: a column is of numbers if every value that is not empty is one, else of text.

    Empty text and None both mean "not set".
    """
    return Grid({name: _typed(values) for name, values in columns.items()})


def _typed(texts: Sequence[str | None]) -> npt.NDArray[Any]:
    stripped = [text.strip() if text is not None else "" for text in texts]
    try:
        numbers = np.array([float(text) if text else np.nan for text in stripped])
    except ValueError:
        numbers = np.full(1, np.inf)
    if np.isinf(numbers).any() or any(text.lower() == "nan" for text in stripped):
        column = np.empty(len(stripped), dtype=object)
        column[:] = [text or None for text in stripped]
        return column
    return numbers


def _first_of_each(grid: Grid) -> Ints:
    """Rows whose config did not occur before, ascending."""
    if not grid.columns:
        return np.arange(min(1, len(grid)), dtype=np.int64)
    codes = []
    for column in grid.columns.values():
        texts = np.array([f"{type(value).__name__}:{value}" for value in column.tolist()])
        codes.append(np.unique(texts, return_inverse=True)[1])
    _, first = np.unique(np.column_stack(codes), axis=0, return_index=True)
    return np.sort(first).astype(np.int64)


def _run(table: _Table, chooser: Strategy, budget: int, seed: int, n_initial: int) -> Ints:
    """Rows of the table in the order that the strategy ran them; its stopping rule is not asked."""
    rng = np.random.default_rng(seed)
    rows, worked = np.zeros(0, np.int64), table.worked
    while len(rows) < min(budget, len(table.features)):
        ok = worked[rows]
        values = np.where(ok[:, None], table.values[rows], np.nan)
        state = State(table.features, table.objectives, rows, ok, values, n_initial=n_initial)
        rows = np.append(rows, chooser.propose(state, 1, rng)[0].row)
    return rows


def _table(grid: Grid, values: Floats, objectives: tuple[Objective, ...], numbers: Ints) -> _Table:
    """The first record of every config.

    Raises:
        InputError: there are no records, or shapes disagree.
    """
    if not len(values):
        raise InputError.at("replay", "no rows", "at least one recorded config")
    if len(grid) != len(values) or len(numbers) != len(values) or values.shape[1] != len(objectives):
        raise InputError.at("replay", f"{len(grid)} configs and values {values.shape}", "one row of values per config")
    first = _first_of_each(grid)
    losses = to_loss(values[first], objectives)
    return _Table(encode(grid.take(first)), values[first], losses, complete(losses), numbers[first], objectives)


def replay(
    grid: Grid,
    values: Floats,
    objectives: Sequence[Objective],
    row_numbers: Sequence[int] | Ints,
    strategy_name: str,
    budget: int,
    seeds: Sequence[int],
    n_initial: int = 5,
) -> ReplayResult:
    """Let a strategy search a recorded grid, once per seed, with the generator `np.random.default_rng(seed)`.

    Each run makes min(budget, distinct configs) experiments; one that failed in the record costs one too. The
    hypervolume is on log losses, from the reference point of the whole grid's front (`search.frontier`), as a share of
    the whole grid's; it is 0 throughout where nothing in the grid worked.

    Args:
        grid: the parameters of the n records.
        values: native objective values, `n x k`; a record with one that is not finite and positive is a failure.
        objectives: the k objectives.
        row_numbers: what each record is called in `order`, `n`.
        strategy_name: see `search.strategies`.
        budget: experiments per run, at least 1.
        seeds: one run each.
        n_initial: experiments of the initial design.

    Raises:
        UnknownNameError: no strategy has that name.
        InputError: no records, a budget below 1, or shapes that disagree.
    """
    if budget < 1:
        raise InputError.at("replay", f"a budget of {budget}", "at least 1")
    table = _table(grid, values, tuple(objectives), np.asarray(row_numbers))
    chooser: Strategy = GridSearch(budget) if strategy_name == "grid" else strategy(strategy_name)
    runs = []
    for seed in seeds:
        rows = _run(table, chooser, budget, seed, n_initial)
        order = tuple(int(number) for number in table.numbers[rows])
        runs.append(ReplayRun(seed, order, _shares(table, rows)))
    return ReplayResult(chooser.name, len(table.numbers), tuple(runs))


def _shares(table: _Table, rows: Ints) -> tuple[float, ...]:
    if not table.worked.any():
        return (0.0,) * len(rows)
    losses = table.losses[table.worked]
    reference = reference_point(losses, table.objectives)
    trace = hypervolume_trace(table.losses[rows], reference) / hypervolume(losses, reference)
    return tuple(float(share) for share in trace)
