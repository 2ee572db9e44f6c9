"""What was learned from a database: the residual of every family, and whose stands in where one has no rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model.history import FAMILIES, Ints, Training
from model.prediction import Floats
from model.residual import PRIOR_SD, Residual

_STANDS_IN = {"ttft_s": ("e2e_s", "tpot_s"), "tpot_s": ("e2e_s",), "e2e_s": ("tpot_s",)}
"""Whose correction serves a family that has no measurements."""


@dataclass(frozen=True)
class Correction:
    """log(measured / analytic) expected of n rows: `shift` `n`, its `sd`, and whether it was learned from anything."""

    shift: Floats
    sd: float
    learned: bool


@dataclass(frozen=True)
class Lessons:
    """Residuals of every family, each fitted when it is first needed."""

    training: Training

    @cached_property
    def residuals(self) -> Mapping[str, Residual]:
        """The correction of each of `model.history.FAMILIES`."""
        data, found = self.training, {}
        for family in FAMILIES:
            rows = self.rows(family)
            parts = (data.features[rows], data.residual[family][rows], data.group[rows], data.scenario[rows])
            found[family] = Residual(family, *parts)
        return found

    def rows(self, family: str) -> Ints:
        """The training rows that measured the family."""
        return np.flatnonzero(np.isfinite(self.training.residual[family]))

    @property
    def learned(self) -> bool:
        """Whether there was anything to learn from."""
        return any(residual.learned for residual in self.residuals.values())

    @property
    def validated(self) -> bool:
        """Whether every family that has measurements was checked on groups never seen, and one has."""
        return self.learned and all(found.validated for found in self.residuals.values() if found.learned)

    def corrections(self, group: tuple[str, str, str], features: Floats, own: Ints) -> dict[str, Correction]:
        """The correction of every family for n rows (`features` `n x d`) of one group.

        `own` are rows of the database that they must not come from.
        """
        data = self.training
        number = data.groups.index(group) if group in data.groups else None
        found: dict[str, Correction] = {}
        for family, source in self.residuals.items():
            without = np.flatnonzero(np.isin(data.rows[self.rows(family)], own))
            shift, sd = source.predict(features, number, without if len(without) else None)
            found[family] = Correction(shift, sd, learned=len(without) < len(source.residual))
        return {family: self._or_stand_in(family, found) for family in FAMILIES}

    def _or_stand_in(self, family: str, found: Mapping[str, Correction]) -> Correction:
        if found[family].learned:
            return found[family]
        others = (found[other] for other in _STANDS_IN[family] if found[other].learned)
        other = next(others, None)
        if other is None:
            return found[family]
        return Correction(other.shift, float(np.hypot(other.sd, PRIOR_SD[family] / 2)), learned=True)
