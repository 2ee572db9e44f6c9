"""The first runs, when nothing reliable is known: spread over the space, and the same for every strategy."""

from __future__ import annotations

import numpy as np

from model.prediction import Floats
from search.belief import believe
from search.plan import Choice, Ints, State

CANDIDATES = 256
"""Random configs that compete for each place of the design: enough to spread, few enough not to seek only corners."""


def initial_rows(state: State, count: int, rng: np.random.Generator) -> Ints:
    """Up to `count` open rows, each far from what was run and from each other (maximin over random candidates).

    The first is drawn at random. Configs whose memory does not suffice are left out while others remain. Two strategies
    with generators in the same state draw the same rows.
    """
    open_rows = state.open_rows
    if state.headroom is not None:
        fitting = open_rows[state.headroom[open_rows] >= 0]
        open_rows = fitting if len(fitting) else open_rows
    known = list(state.rows)
    chosen: list[int] = []
    for _ in range(min(count, len(open_rows))):
        free = np.setdiff1d(open_rows, chosen, assume_unique=True)
        candidates = rng.choice(free, min(CANDIDATES, len(free)), replace=False)
        gaps = _gaps(state.features[candidates], state.features[np.array([*known, *chosen], np.int64)])
        # The candidates stand in random order, so the first of equals is a random one.
        chosen.append(int(candidates[np.argmax(np.round(gaps, 9))]))
    return np.array(chosen, np.int64)


def _gaps(candidates: Floats, known: Floats) -> Floats:
    """Squared distance of each candidate to the nearest known config, `m`; zeros where none is known."""
    nearest = np.full(len(candidates), np.inf if len(known) else 0.0)
    for config in known:
        nearest = np.minimum(nearest, ((candidates - config) ** 2).sum(axis=1))
    return nearest


def wanted(state: State) -> int:
    """How many runs of the initial design are still to come: none where a validated prior stands in for it."""
    if state.prior is not None and state.prior.validated:
        return 0
    return max(0, state.n_initial - len(state.rows))


def initial_choices(state: State, count: int, rng: np.random.Generator) -> list[Choice]:
    """At most `count` of the runs that are still wanted, with what is predicted of each where anything is."""
    rows = initial_rows(state, min(count, wanted(state)), rng)
    if not len(rows):
        return []
    belief = believe(state)
    done = len(state.rows)
    return [
        Choice(
            int(row),
            "initial_design",
            f"run {done + i + 1} of the first {state.n_initial}, far from the others to cover the space",
            belief.intervals(int(row)) if belief else {},
        )
        for i, row in enumerate(rows)
    ]
