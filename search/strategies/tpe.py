"""Optuna's multi-objective TPE on the same grid, as a strategy: a peer to compare with, and for those who trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from model.learning.features import column_groups
from model.prediction import Floats
from search.design import initial_choices
from search.objective import to_loss
from search.plan import Choice, Ints, State, Verdict
from search.strategies.random_search import exhausted


@dataclass(frozen=True)
class Tpe:
    """TPE (Bergstra 2011; multi-objective after Ozaki 2022) told everything that was run, asked for the next config.

    The study is rebuilt from the state each time: the state is all that there is, and resuming is exact. Optuna knows
    no list of candidates and repeats configs, so each suggestion goes to the nearest open row. A failed run is a trial
    that violates a constraint and whose losses are worse than any success.
    """

    name: str = "tpe"

    def propose(self, state: State, count: int, rng: np.random.Generator) -> Sequence[Choice]:
        """The initial design that every strategy shares, then TPE's suggestions moved to distinct open rows."""
        count = min(count, len(state.open_rows))
        chosen = initial_choices(state, count, rng)
        if len(chosen) == count:
            return chosen
        space = OptunaSpace.of(state.features)
        study = _study(state, space, int(rng.integers(2**31)))
        open_rows = np.setdiff1d(state.open_rows, [choice.row for choice in chosen])
        while len(chosen) < count:
            row = space.nearest(study.ask(space.distributions()).params, open_rows, rng)
            open_rows = open_rows[open_rows != row]
            chosen.append(Choice(row, "tpe", "suggested by Optuna's TPE, nearest config not yet run"))
        return chosen

    def verdict(self, state: State, rng: np.random.Generator) -> Verdict:
        """Stop when nothing is open."""
        return exhausted(state)


@dataclass(frozen=True)
class OptunaSpace:
    """The grid as Optuna sees it: per parameter the level of each config, `n x q`, and whether levels have an order."""

    codes: Ints
    ordinal: tuple[bool, ...]
    features: Floats

    @classmethod
    def of(cls, features: Floats) -> OptunaSpace:
        """Read the parameters and their levels off the features, `n x d`."""
        groups = column_groups(features)
        codes = []
        for group in range(int(groups.max()) + 1):
            _, code = np.unique(features[:, groups == group], axis=0, return_inverse=True)
            codes.append(code.reshape(-1))
        ordinal = tuple(bool((groups == group).sum() == 1) for group in range(len(codes)))
        return cls(np.column_stack(codes).astype(np.int64), ordinal, features)

    def distributions(self) -> dict[str, BaseDistribution]:
        """Parameter ("p0", "p1", …) -> its levels."""
        most = self.codes.max(axis=0)
        return {
            f"p{i}": IntDistribution(0, int(top)) if ordinal else CategoricalDistribution(range(int(top) + 1))
            for i, (ordinal, top) in enumerate(zip(self.ordinal, most, strict=True))
        }

    def params(self, row: int) -> dict[str, int]:
        """The levels of one config."""
        return {f"p{i}": int(code) for i, code in enumerate(self.codes[row])}

    def nearest(self, params: dict[str, int], open_rows: Ints, rng: np.random.Generator) -> int:
        """The open row that differs least from the suggestion; of equals a random one."""
        wanted = np.array([params[f"p{i}"] for i in range(len(self.ordinal))])
        span = np.maximum(self.codes.max(axis=0), 1)
        steps = np.abs(self.codes[open_rows] - wanted) / span
        steps = np.where(self.ordinal, steps, steps > 0)
        distance = (steps**2).sum(axis=1)
        return int(rng.choice(open_rows[distance <= distance.min() + 1e-12]))


def _study(state: State, space: OptunaSpace, seed: int) -> optuna.Study:
    """A study that holds every experiment of the state, with a sampler of that seed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(state.n_initial, len(state.rows)))
    study = optuna.create_study(directions=["minimize"] * len(state.objectives), sampler=sampler)
    failures = not state.ok.all()
    for row, ok, loss in zip(state.rows, state.ok, _finite_losses(state), strict=True):
        study.add_trial(
            optuna.trial.create_trial(
                params=space.params(int(row)),
                distributions=space.distributions(),
                values=[float(value) for value in loss],
                constraints={"works": -1.0 if ok else 1.0} if failures else None,
            )
        )
    return study


def _finite_losses(state: State) -> Floats:
    """Log losses, `t x k`; a failure gets one unit more than the worst success."""
    losses = to_loss(state.values, state.objectives)
    known = np.where(np.isfinite(losses), losses, -np.inf).max(axis=0, initial=-np.inf)
    worst = np.where(np.isfinite(known), known, 0.0) + 1.0
    return np.where(np.isfinite(losses).all(axis=1, keepdims=True) & state.ok[:, None], losses, worst)
