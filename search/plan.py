"""The seam between the search and everything else: what a strategy is told (`State`) and what it answers (`Choice`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.prediction import Bools, Floats
from perfdb.records import Interval
from search.objective import Objective

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Prior:
    """What is believed of the n configs before any of them ran, for the k objectives.

    `loss` is `n x k`, the predicted log loss (see `search.objective.to_loss`), finite also for configs that will not
    fit (those are the business of `headroom` and `allowed`); `sd` is `n x k`, its standard deviation;
    `validated` says that the prediction was checked against measurements of related contexts.
    """

    loss: Floats
    sd: Floats
    validated: bool = False


@dataclass(frozen=True)
class State:
    """All that a strategy may know. n configs, k objectives, t experiments so far (in the order they were run).

    `features` is `n x d` (see `model.learning.features`); `rows` the grid row of each experiment, `t`; `ok` whether it
    succeeded, `t`; `values` its native objective values, `t x k`, NaN where it failed; `headroom` log(memory
    available / needed), `n`, or None where memory is not modelled; `allowed` is False for configs that must not be
    chosen, `n`.
    """

    features: Floats
    objectives: tuple[Objective, ...]
    rows: Ints
    ok: Bools
    values: Floats
    prior: Prior | None = None
    headroom: Floats | None = None
    allowed: Bools | None = None
    n_initial: int = 5

    def __post_init__(self) -> None:
        n, k, t = len(self.features), len(self.objectives), len(self.rows)
        if self.values.shape != (t, k) or self.ok.shape != (t,):
            raise ValueError(f"values must be {t} x {k} and ok {t}, not {self.values.shape} and {self.ok.shape}")
        if self.prior is not None and self.prior.loss.shape != (n, k):
            raise ValueError(f"prior.loss must be {n} x {k}, not {self.prior.loss.shape}")
        if self.prior is not None and not (np.isfinite(self.prior.loss).all() and np.isfinite(self.prior.sd).all()):
            raise ValueError("prior.loss and prior.sd must be finite")

    @property
    def open_rows(self) -> Ints:
        """Grid rows that were not run and may be, ascending."""
        free = np.ones(len(self.features), bool) if self.allowed is None else self.allowed.copy()
        free[self.rows] = False
        return np.flatnonzero(free)


@dataclass(frozen=True)
class Choice:
    """One config to run next, why, and what is expected of it (objective name -> interval; empty without a model)."""

    row: int
    reason: str
    detail: str = ""
    predicted: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Whether going on is worth it. `reason` is one sentence with the number that decided."""

    stop: bool
    reason: str = ""


class Strategy(Protocol):
    """One way to choose. Pure: no clock, no I/O; the same state and generator state give the same choices."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        ...

    def propose(self, state: State, count: int, rng: np.random.Generator) -> Sequence[Choice]:
        """At most `count` distinct open rows, best first; fewer where fewer are left."""
        ...

    def verdict(self, state: State, rng: np.random.Generator) -> Verdict:
        """Whether the search should end before its budget does."""
        ...
