"""Uniform random choice among the open configs: the baseline that every other strategy has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.plan import Choice, State, Verdict


@dataclass(frozen=True)
class RandomSearch:
    """Learns nothing and never stops by itself before everything was run."""

    name: str = "random"

    def propose(self, state: State, count: int, rng: np.random.Generator) -> Sequence[Choice]:
        """At most `count` distinct open rows, uniformly at random."""
        rows = state.open_rows
        drawn = rng.choice(rows, min(count, len(rows)), replace=False)
        return [Choice(int(row), "random", f"drawn from {len(rows)} open configs") for row in drawn]

    def verdict(self, state: State, rng: np.random.Generator) -> Verdict:
        """Stop when nothing is open."""
        return exhausted(state)


def exhausted(state: State) -> Verdict:
    """The verdict of a strategy without a stopping rule: stop when every config that may run has been run."""
    if len(state.open_rows):
        return Verdict(False)
    return Verdict(True, f"all {len(np.unique(state.rows))} configs that may run were run")
