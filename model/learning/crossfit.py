"""What all groups have in common: boosted trees, fitted several times, each time without some of the groups.

The rows of a group are predicted by the trees that have not seen it, a new group by the mean of all: so the errors that
are left on known groups are honest ones, there is nothing to fit again when a question must not use its own rows, and
the mean is a bag of trees. Source: cross-fitting, Chernozhukov et al. 2018 (arXiv 1608.00060); Breiman 1996 (bagging).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.kept.fits import kept
from model.learning.descriptors import LENGTHS, ROOF_DECODING, ROOF_WAITING, WAITING
from model.learning.intervals import balanced_weights, conformal_sd, folds
from model.learning.kriging import Kriging, Spread, spaced, spread_of
from model.learning.trees import Trees, fit_trees, joined
from model.prediction import Bools, Floats

Ints = npt.NDArray[np.int64]

ENOUGH = 200
ENOUGH_GROUPS = 4
FOLDS = 8
_MOST_CHECKED = 50
_SHARPNESS = 4.0
_LEAST_WEIGHT = 0.15
_FAR = 2.0
"""A group whose median residual is so many standard deviations of them from most counts half as much."""
_SIMPLER: Mapping[str, tuple[int, ...]] = {"ttft_s": (WAITING, ROOF_WAITING), "tpot_s": (ROOF_DECODING,)}
"""Descriptors that tell, as a logarithm, how far the analytic answer is from a simpler one."""


def places_of(features: Floats) -> Floats:
    """Where rows lie within their group, `n x c`, in units of the lengths."""
    places: Floats = features[:, : len(LENGTHS)] / LENGTHS
    return places


@dataclass(frozen=True)
class Bag:
    """Trees of several members; `member_of` group number -> which of them has not seen it. They correct the analytic
    answer, or what remains of it without the descriptor in column `without`. `errors`, `m`: what trees that have not
    seen the group of a row they were fitted to leave of its residual."""

    members: tuple[Trees, ...]
    member_of: Mapping[int, int]
    without: int | None
    errors: Floats

    def predict(self, features: Floats, group: int | None) -> Floats:
        """log(measured / analytic) of n rows, `n`, of a known group or (None) a new one."""
        member = None if group is None else self.member_of.get(group)
        if member is None:
            total = self._together.predict(features) / len(self.members)
        else:
            total = self.members[member].predict(features)
        return total if self.without is None else total - features[:, self.without]

    @cached_property
    def _together(self) -> Trees:
        """The sum of all members, walked down at once."""
        return joined(self.members)


def trust(residual: Floats, group: Ints) -> Floats:
    """How much rows tell of other groups, `m`, at most 1: little where their whole group is far from most (Cauchy
    weights of the group's median, on the scale of all groups')."""
    names, place = np.unique(group, return_inverse=True)
    middle = np.array([np.median(residual[place == number]) for number in range(len(names))])
    apart = np.abs(middle - np.median(middle))
    scale = 1.4826 * np.median(apart) * _FAR
    return (1.0 / (1.0 + (apart / scale) ** 2))[place] if scale > 0 else np.ones(len(group))


def fit_bag(features: Floats, residual: Floats, group: Ints, without: int | None) -> Bag:
    """Fit one member per fold of groups; a group that is far off counts for little."""
    target = residual if without is None else residual + features[:, without]
    held = list(folds(group, FOLDS))

    def member(rows: Bools) -> Trees:
        weights = balanced_weights(group[rows]) * trust(residual[rows], group[rows])
        return fit_trees(features[rows], target[rows], weights)

    def fit() -> tuple[list[Trees], Floats]:
        members = [member(~rows) for rows in held]
        left = target.copy()
        for rows, trees in zip(held, members, strict=True):
            left[rows] -= trees.predict(features[rows])
        return members, left

    members, errors = kept((features, target, group), fit)
    member_of = {int(name): member for member, rows in enumerate(held) for name in np.unique(group[rows])}
    return Bag(tuple(members), member_of, without, errors)


@dataclass(frozen=True)
class CrossFit:
    """Learned from m rows: `features` `m x d`, `residual` log(measured / analytic) and `group` numbers, both `m`."""

    metric: str
    features: Floats
    residual: Floats
    group: Ints
    prior_sd: float

    @cached_property
    def _blend(self) -> tuple[list[tuple[float, Bag]], Floats]:
        """Bags with their weights, and the errors that they leave, `m`. They correct the analytic answer, or something
        simpler: smooth where the analytic wait is not, of one kind where operation tables come from several sources.
        Each counts by how wrong it is about groups that it has not seen (mean of |predicted/measured − 1|)."""
        data = (self.features, self.residual, self.group)
        simpler = {self.features[:, column].tobytes(): column for column in _SIMPLER.get(self.metric, ())}
        bags = [fit_bag(*data, without) for without in (None, *simpler.values())]
        errors = [bag.errors for bag in bags]
        wrong = np.array([balanced_weights(self.group) @ np.abs(np.expm1(-left)) for left in errors])
        weights = (wrong.min() / wrong) ** _SHARPNESS
        weights[weights < _LEAST_WEIGHT * weights.sum()] = 0.0
        weights /= weights.sum()
        left = np.sum([weight * each for weight, each in zip(weights, errors, strict=True)], axis=0)
        return [(float(weight), bag) for weight, bag in zip(weights, bags, strict=True) if weight], left

    @cached_property
    def uses_trees(self) -> bool:
        """Whether there is enough history for trees, and they beat a constant on groups never seen."""
        if len(self.residual) < ENOUGH or len(np.unique(self.group)) < ENOUGH_GROUPS:
            return False
        constant = self.residual.copy()
        for held in folds(self.group, FOLDS):
            constant[held] -= spread_of(self.residual[~held], self.group[~held], self.prior_sd).overall
        weight = balanced_weights(self.group)
        return float(weight @ np.abs(self._blend[1])) < float(weight @ np.abs(constant))

    def expected(self, features: Floats, group: int | None) -> Floats:
        """What trees that have not seen the group tell of the residual of n rows, `n`; zeros without trees."""
        if not self.uses_trees:
            return np.zeros(len(features))
        return np.asarray(sum(weight * bag.predict(features, group) for weight, bag in self._blend[0]))

    @cached_property
    def errors(self) -> Floats:
        """What is left of the residual of every row, `m`."""
        return self._blend[1] if self.uses_trees else self.residual

    @cached_property
    def spread(self) -> Spread:
        """How the errors lie between and within groups; trees leave no common mean."""
        found = spread_of(self.errors, self.group, self.prior_sd)
        return replace(found, overall=0.0) if self.uses_trees else found

    @cached_property
    def sd_new(self) -> float:
        """sd of the error of a group never seen."""
        if self.uses_trees:
            return conformal_sd(self.errors, self.group)
        return float(np.hypot(self.spread.between, self.spread.within))

    @cached_property
    def inflation(self) -> float:
        """How many times wider the errors within known groups are than the process over a group's rows says."""
        if not self.uses_trees:
            return 1.0
        scores, labels = [], []
        for group in np.unique(self.group):
            rows = np.flatnonzero(self.group == group)
            rows = rows[spaced(len(rows), _MOST_CHECKED)]
            process = Kriging(places_of(self.features[rows]), self.errors[rows], self.spread)
            scores.append(process.left_out)
            labels.append(self.group[rows])
        return conformal_sd(np.concatenate(scores), np.concatenate(labels))
