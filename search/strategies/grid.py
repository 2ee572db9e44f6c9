"""Everything, in the order of the grid; a seeded shuffle where the budget does not reach the end of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.plan import Choice, Ints, State, Verdict
from search.strategies.random_search import exhausted

SHUFFLE_SEED = 0


@dataclass(frozen=True)
class GridSearch:
    """Runs the open rows in order.

    `budget` is the most experiments that can be paid for, None where it is unknown. If the grid is longer, its order is
    shuffled by a fixed seed: the first rows of a product hold only one value of its first parameter, and what a
    truncated sweep then says of the space is biased.
    """

    budget: int | None = None
    name: str = "grid"

    def propose(self, state: State, count: int, rng: np.random.Generator) -> Sequence[Choice]:
        """The next `count` open rows; the generator is not used, so a resumed sweep goes on where it was."""
        order = self._order(state)
        n = len(state.features)
        return [Choice(int(row), "grid_order", f"row {row + 1} of the grid's {n}") for row in order[:count]]

    def _order(self, state: State) -> Ints:
        rows = state.open_rows
        if self.budget is None or len(rows) + len(state.rows) <= self.budget:
            return rows
        place = np.random.default_rng(SHUFFLE_SEED).permutation(len(state.features))
        return rows[np.argsort(place[rows])]

    def verdict(self, state: State, rng: np.random.Generator) -> Verdict:
        """Stop when nothing is open."""
        return exhausted(state)
