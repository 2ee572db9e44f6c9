"""What was learned from a database: the residual of every family, and whose stands in where one has no rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model.learning.descriptors import IS_OPEN
from model.learning.history import FAMILIES, Group, Ints, Training
from model.learning.residual import PRIOR_SD, Residual
from model.prediction import Floats

_STANDS_IN = {"ttft_s": ("e2e_s", "tpot_s"), "tpot_s": ("e2e_s",), "e2e_s": ("tpot_s",)}
"""Whose correction serves a family that has no measurements."""


@dataclass(frozen=True)
class Correction:
    """log(measured / analytic) expected of n rows: `shift` and its `sd`, both `n`, whether anything told it, and
    whether that was another family's measurements."""

    shift: Floats
    sd: Floats
    learned: bool
    stands_in: bool = False


NOTHING_LEARNED: Mapping[str, Correction] = {
    family: Correction(np.zeros(1), np.full(1, PRIOR_SD[family]), learned=False) for family in FAMILIES
}
"""What a database without measurements says: `n` is 1, for any number of rows."""


def _distinct(features: Floats) -> tuple[Ints, Ints]:
    """Which of n rows stand for all, and each row's place among those, `n`: many configs of a large grid differ in
    nothing that the descriptors tell."""
    n, width = features.shape
    _, first, again = np.unique(features @ np.sqrt(np.arange(width) + 2.0), return_index=True, return_inverse=True)
    if all(np.array_equal(column[first][again], column) for column in features.T):
        return first, again
    # rows that differ may have one sum
    return np.arange(n), np.arange(n)


def _of_group(number: int, place: Ints, features: Floats) -> tuple[slice | Ints, Floats, Ints]:
    """The rows of one group, the features of those that stand for all, and each row's place among these."""
    rows = slice(None) if (place == number).all() else np.flatnonzero(place == number)
    part = features[rows]
    first, again = _distinct(part)
    return rows, part[first], again


@dataclass(frozen=True)
class Lessons:
    """Residuals of every family, each fitted when it is first needed.

    With an `elder`, the training rows tell of their own groups only, and the elder's serve all (see `Residual.taught`).
    """

    training: Training
    elder: Lessons | None = None

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Known groups, by number: the elder's first."""
        old = () if self.elder is None else self.elder.groups
        return (*old, *(name for name in self.training.groups if name not in old))

    @cached_property
    def residuals(self) -> Mapping[str, Residual]:
        """The correction of each of `model.learning.history.FAMILIES`."""
        data, found = self.training, {}
        numbers = np.array([self.groups.index(name) for name in data.groups], np.int64)
        for family in FAMILIES:
            rows = self.rows(family)
            parts = (data.features[rows], data.residual[family][rows], numbers[data.group[rows]])
            elder = None if self.elder is None else self.elder.residuals[family]
            found[family] = Residual(family, *parts) if elder is None else elder.taught(*parts)
        return found

    @cached_property
    def knows_arrivals(self) -> bool:
        """Whether first tokens of requests that arrived at a rate of their own were learned from."""
        at_rate = self.training.features[self.rows("ttft_s"), IS_OPEN] > 0 if len(self.training.rows) else np.zeros(0)
        return bool(at_rate.any()) or (self.elder is not None and self.elder.knows_arrivals)

    def rows(self, family: str) -> Ints:
        """The training rows that measured the family."""
        return np.flatnonzero(np.isfinite(self.training.residual[family]))

    def _sources(self, family: str) -> Ints:
        """Which row of the database each row of the family's residual is, the elder's first."""
        own = self.training.rows[self.rows(family)]
        return own if self.elder is None else np.concatenate([self.elder._sources(family), own])

    @property
    def learned(self) -> bool:
        """Whether there was anything to learn from."""
        return any(residual.learned for residual in self.residuals.values())

    @property
    def validated(self) -> bool:
        """Whether every family that has measurements was checked on groups never seen, and one has."""
        return self.learned and all(found.validated for found in self.residuals.values() if found.learned)

    def corrections(self, groups: Sequence[Group], place: Ints, features: Floats, own: Ints) -> dict[str, Correction]:
        """The correction of every family for n rows (`features` `n x d`), each of the group at its `place` (`n`).

        `own` are rows of the database that they must not come from.
        """
        found: dict[str, Correction] = {}
        parts = [_of_group(number, place, features) for number in range(len(groups))]
        for family, source in self.residuals.items():
            without = np.flatnonzero(np.isin(self._sources(family), own)) if len(own) else own
            shift, sd = np.empty(len(features)), np.empty(len(features))
            for group, (rows, distinct, again) in zip(groups, parts, strict=True):
                known = self.groups.index(group) if group in self.groups else None
                shift[rows], sd[rows] = (part[again] for part in source.predict(distinct, known, without))
            found[family] = Correction(shift, sd, learned=len(without) < len(source.residual))
        return {family: self._or_stand_in(family, found) for family in FAMILIES}

    def _or_stand_in(self, family: str, found: Mapping[str, Correction]) -> Correction:
        if found[family].learned:
            return found[family]
        others = (found[other] for other in _STANDS_IN[family] if found[other].learned)
        other = next(others, None)
        if other is None:
            return found[family]
        return Correction(other.shift, np.hypot(other.sd, PRIOR_SD[family] / 2), learned=True, stands_in=True)
