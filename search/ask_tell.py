"""A strategy for callers who run the experiments themselves: ask for parameters, tell what came out.

The state is the list of what was told; everything else follows from it and the seed, so a restored search goes on with
exactly the suggestions that the original would have made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.learning.features import encode
from perfdb.errors import InputError, UnknownNameError
from perfdb.records import Config, Grid, Scalar
from search.objective import Objective, complete, to_loss
from search.plan import Choice, Ints, Prior, State, Strategy
from search.strategies import strategy


@dataclass
class AskTell:
    """One search over a grid. Not thread-safe; `seed` makes it repeatable.

    Args:
        grid: the configs to choose from.
        objectives: what is optimised; with one objective its value may be told as the score alone.
        strategy_name: see `search.strategies`.
        seed: of every random choice.
        n_initial: runs of the initial design.
        prior: predictions for the grid, if there are any.
    """

    grid: Grid
    objectives: tuple[Objective, ...]
    strategy_name: str = "active"
    seed: int = 0
    n_initial: int = 5
    prior: Prior | None = None
    _told: list[tuple[int, tuple[float, ...]]] = field(default_factory=list, init=False)
    _pending: list[int] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._strategy: Strategy = strategy(self.strategy_name)
        self._features = encode(self.grid)
        self._rows = {self.grid.config(row).key: row for row in reversed(range(len(self.grid)))}

    def suggest_parameters(self) -> dict[str, Scalar]:
        """The next config to run; what was suggested and not yet told is not suggested again.

        Raises:
            InputError: every config was suggested or run (see `should_stop`).
        """
        choice = self.suggest()
        return dict(self.grid.config(choice.row).params)

    def suggest(self) -> Choice:
        """As `suggest_parameters`, with the reason and what is predicted.

        Raises:
            InputError: every config was suggested or run.
        """
        state = self._state()
        if not len(state.open_rows):
            raise InputError.at("search", f"all {len(self.grid)} configs were suggested", "a larger space, or to stop")
        choice = self._strategy.propose(state, 1, self._rng())[0]
        self._pending.append(choice.row)
        return choice

    def tell_result(
        self,
        parameters: Mapping[str, Scalar],
        objective_score: float | None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Take one result in, whether it was suggested or not.

        Args:
            parameters: the config that was run.
            objective_score: value of the only objective, in its own unit and direction; None where it failed.
            metrics: name -> value; needed where there are several objectives. An objective that is absent, not finite
                or not positive makes the run a failure.

        Raises:
            InputError: the config is not in the grid.
            UnknownNameError: `parameters` names something that is no parameter.
        """
        row = self._row(parameters)
        values = dict(metrics or {})
        if len(self.objectives) == 1 and objective_score is not None:
            values.setdefault(self.objectives[0].name, objective_score)
        self._told.append((row, tuple(float(values.get(o.name, math.nan)) for o in self.objectives)))
        if row in self._pending:
            self._pending.remove(row)

    def should_stop(self) -> bool:
        """Whether the strategy sees nothing left that is worth running."""
        return self._strategy.verdict(self._state(), self._rng()).stop

    def get_state(self) -> dict[str, Any]:
        """All that is needed to go on, as JSON: what was told and what is pending, each with its parameters."""
        return {
            "strategy": self.strategy_name,
            "seed": self.seed,
            "n_initial": self.n_initial,
            "objectives": [o.name for o in self.objectives],
            "told": [
                {"parameters": dict(self.grid.config(row).params), "values": [_finite(v) for v in values]}
                for row, values in self._told
            ],
            "pending": [dict(self.grid.config(row).params) for row in self._pending],
        }

    @classmethod
    def restore(
        cls,
        saved: Mapping[str, Any],
        grid: Grid,
        objectives: Sequence[Objective],
        prior: Prior | None = None,
    ) -> AskTell:
        """The search that `get_state` described, over the same grid; its next suggestions are the same.

        Raises:
            InputError: the objectives differ, or a config is not in the grid.
        """
        names = [o.name for o in objectives]
        if list(saved["objectives"]) != names:
            raise InputError.at("saved search", f"its objectives are {saved['objectives']}", f"{names}")
        search = cls(grid, tuple(objectives), saved["strategy"], saved["seed"], saved["n_initial"], prior)
        for result in saved["told"]:
            values = tuple(math.nan if value is None else float(value) for value in result["values"])
            search._told.append((search._row(result["parameters"]), values))
        search._pending = [search._row(parameters) for parameters in saved["pending"]]
        return search

    def _row(self, parameters: Mapping[str, Scalar]) -> int:
        for name in parameters:
            if name not in self.grid.columns:
                raise UnknownNameError.of("parameter", name, self.grid.columns)
        full = {name: parameters.get(name) for name in self.grid.columns}
        row = self._rows.get(Config(full).key)
        if row is None:
            raise InputError.at("result", f"{full} is not a config of the grid", f"one of its {len(self.grid)} configs")
        return row

    def _rng(self) -> np.random.Generator:
        """A generator that depends on the seed and on how far the search is, not on how it got there."""
        return np.random.default_rng([self.seed, len(self._told), len(self._pending)])

    def _state(self) -> State:
        rows: Ints = np.array([row for row, _ in self._told], np.int64)
        values = np.array([told for _, told in self._told], float).reshape(len(rows), len(self.objectives))
        ok = complete(to_loss(values, self.objectives))
        allowed = np.ones(len(self.grid), bool)
        allowed[self._pending] = False
        return State(
            features=self._features,
            objectives=self.objectives,
            rows=rows,
            ok=ok,
            values=np.where(ok[:, None], values, np.nan),
            prior=self.prior,
            allowed=allowed,
            n_initial=self.n_initial,
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
