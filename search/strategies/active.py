"""The product's own strategy: a Gaussian process per objective, and the config that should add the most to the front.

Every open config is scored by (probability that it works) × (expected hypervolume improvement); see `search.belief` and
`search.acquire`. No candidate is sampled: the whole grid is predicted and compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.belief import Belief, believe
from search.design import initial_choices, initial_rows
from search.hypervolume import hypervolume
from search.objective import to_values
from search.plan import Choice, State, Verdict
from search.stopping import gains, probability_of_enough
from search.strategies.random_search import exhausted


@dataclass(frozen=True)
class Active:
    """An initial design unless a validated prior stands in for it, then PoF · EHVI.

    Stops when at least 1 - `epsilon` of the hypervolume is measured with probability 1 - `delta`, but not before as
    many runs as an initial design has: from two or three a prior that was checked elsewhere is believed too readily.
    """

    epsilon: float = 0.10
    delta: float = 0.10
    name: str = "active"

    def propose(self, state: State, count: int, rng: np.random.Generator) -> Sequence[Choice]:
        """At most `count` open rows, best first; in a batch each is chosen as if the former came out as expected."""
        count = min(count, len(state.open_rows))
        chosen = initial_choices(state, count, rng)
        while len(chosen) < count:
            chosen.append(_next(_as_expected(state, chosen), rng))
        return chosen

    def verdict(self, state: State, rng: np.random.Generator) -> Verdict:
        """Stop when nothing is open, or when what is open is unlikely to add what matters."""
        is_early = len(state.rows) < state.n_initial
        belief = believe(state) if not is_early and len(state.open_rows) else None
        if belief is None:
            return exhausted(state)
        chance = probability_of_enough(belief, state.open_rows, self.epsilon, rng)
        said = (
            f"the measured front holds {1 - self.epsilon:.0%} of the hypervolume with probability {chance:.2f}, "
            f"{{}} {1 - self.delta:.2f}"
        )
        enough = chance >= 1 - self.delta
        return Verdict(enough, said.format("which reaches" if enough else "short of"))


def _as_expected(state: State, chosen: Sequence[Choice]) -> State:
    """The state after `chosen` ran and measured what is believed of them (Kriging believer, Ginsbourger 2010)."""
    if not chosen:
        return state
    rows = np.array([choice.row for choice in chosen], np.int64)
    belief = believe(state)
    if belief is None:
        allowed = np.ones(len(state.features), bool) if state.allowed is None else state.allowed.copy()
        allowed[rows] = False
        return dataclasses.replace(state, allowed=allowed)
    return dataclasses.replace(
        state,
        rows=np.append(state.rows, rows),
        ok=np.append(state.ok, np.ones(len(rows), bool)),
        values=np.vstack([state.values, to_values(belief.mean[rows], state.objectives)]),
    )


def _next(state: State, rng: np.random.Generator) -> Choice:
    belief, rows = believe(state), state.open_rows
    if belief is None:
        row = int(initial_rows(state, 1, rng)[0])
        return Choice(row, "initial_design", "nothing has worked yet: far from everything that failed")
    score = gains(belief, rows)
    # Configs that the model cannot tell apart tie; the first of them in grid order must not always win.
    best = np.flatnonzero(score >= score.max() * (1 - 1e-9))
    place = int(rng.choice(best))
    row = int(rows[place])
    return Choice(row, "active", _because(belief, row, float(score[place])), belief.intervals(row))


def _because(belief: Belief, row: int, score: float) -> str:
    works = float(belief.feasible[row])
    held = hypervolume(belief.losses, belief.reference)
    gain = score / works if works > 0 else 0.0
    share = f"{gain / held:.1%} of the hypervolume measured so far" if held > 0 else "the first hypervolume"
    return f"expected improvement {share}, works with probability {works:.2f}"
