"""The learned correction log(measured / analytic) of one metric, and how far to trust it.

Three levels, each used only where it is earned:
- nothing measured: no correction, and the wide `PRIOR_SD`;
- some rows: an offset per group, drawn towards the mean of all groups, and that towards zero;
- at least `ENOUGH` rows in `ENOUGH_GROUPS` groups: boosted trees over `model.descriptors`, if they beat the offset on
  groups that neither has seen.
A *known* group has rows in the database; a new one has not, and gets the wider interval of groups never seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.intervals import balanced_weights, conformal_sd, folds
from model.prediction import Floats
from model.trees import Trees, fit_trees
from perfdb.facts.platforms import PlatformFacts

Ints = npt.NDArray[np.int64]

PRIOR_SD: Mapping[str, float] = {"ttft_s": 0.8, "tpot_s": 0.7, "e2e_s": 0.7}
UNFAMILIAR = 2.0
"""sd of log(measured / roofline) without any history, and how many times wider it is for accelerators that are not
NVIDIA's, whose kernels the efficiencies of the roofline do not describe. On a public set of static batches nine tenths
of the raw |log errors| of e2e are below 0.4 to 1.2 on NVIDIA devices (10 of 11 pairs of platform and engine;
1.645 · 0.7 is 1.15) and below 1.4 to 4.0 on AMD and Intel GPUs. The time to first token, which queueing makes harder,
is taken as a little worse. `tests/bench/bench_model_accuracy.py` prints them."""
ENOUGH = 200
ENOUGH_GROUPS = 4
FOLDS = 5
_WITHIN_SD = 0.25
_STRENGTH = 3.0
_SMALLEST_SD = 0.03


def familiarity(platform: PlatformFacts) -> float:
    """How many times wider the error of the raw roofline is here than where its efficiencies come from."""
    return 1.0 if platform.kind == "cpu" or platform.vendor == "NVIDIA" else UNFAMILIAR


@dataclass(frozen=True)
class Offsets:
    """A constant per group: `means`, `counts` of the known groups, standard deviations `between` and `within` them."""

    means: Mapping[int, float]
    counts: Mapping[int, int]
    overall: float
    between: float
    within: float

    def of(self, group: int | None) -> tuple[float, float]:
        """(offset, sd of a prediction) for a known group's number, or None for a new group."""
        if group not in self.means or group is None:
            return self.overall, float(np.hypot(self.between, self.within))
        precision = self.counts[group] / self.within**2
        share = precision / (precision + 1.0 / self.between**2)
        offset = share * self.means[group] + (1.0 - share) * self.overall
        return offset, float(np.hypot(self.within, self.between * np.sqrt(1.0 - share)))


def fit_offsets(residual: Floats, group: Ints, prior_sd: float) -> Offsets:
    """Offsets from m finite residuals and their group numbers; standard deviations start from the priors and are drawn
    to what the rows show (`_STRENGTH` pseudo-observations)."""
    means = {int(g): float(residual[group == g].mean()) for g in np.unique(group)}
    counts = {g: int((group == g).sum()) for g in means}
    of_groups = np.array(list(means.values()))
    overall = float(of_groups.sum() / (len(of_groups) + 1.0))
    inside = residual - np.array([means[int(g)] for g in group])
    within2 = (float(inside @ inside) + _STRENGTH * _WITHIN_SD**2) / (len(residual) - len(means) + _STRENGTH)
    apart = float(((of_groups - overall) ** 2).sum())
    between2 = (apart + _STRENGTH * prior_sd**2) / (len(of_groups) + _STRENGTH)
    return Offsets(means, counts, overall, float(np.sqrt(between2)), float(np.sqrt(within2)))


@dataclass(frozen=True)
class Residual:
    """The correction of one metric, learned from m rows: `features` `m x d`, `residual`, `group` and `scenario` `m`."""

    metric: str
    features: Floats
    residual: Floats
    group: Ints
    scenario: Ints
    _memo: dict[str, Trees] = field(default_factory=dict)

    @property
    def learned(self) -> bool:
        """Whether there is anything to learn from."""
        return len(self.residual) > 0

    @cached_property
    def _offsets(self) -> Offsets:
        return fit_offsets(self.residual, self.group, PRIOR_SD[self.metric])

    @cached_property
    def grouped(self) -> tuple[Floats, Floats]:
        """Held-out errors of (trees, offsets) on groups that the fit had not seen, each `m`."""
        trees, offsets = np.zeros(len(self.residual)), np.zeros(len(self.residual))
        for held in folds(self.group, FOLDS):
            kept = ~held
            fitted = self._fit(kept)
            trees[held] = self.residual[held] - fitted.predict(self.features[held])
            constant = fit_offsets(self.residual[kept], self.group[kept], PRIOR_SD[self.metric])
            offsets[held] = self.residual[held] - constant.overall
        return trees, offsets

    @cached_property
    def uses_trees(self) -> bool:
        """Whether there is enough history for trees, and they beat the offset on groups never seen."""
        if len(self.residual) < ENOUGH or len(np.unique(self.group)) < ENOUGH_GROUPS:
            return False
        trees, offsets = self.grouped
        weight = balanced_weights(self.group)
        return float(weight @ np.abs(trees)) < float(weight @ np.abs(offsets))

    @property
    def validated(self) -> bool:
        """Whether the correction was checked on related groups, and is more than a constant."""
        return self.uses_trees

    def predict(self, features: Floats, group: int | None, without: Ints | None = None) -> tuple[Floats, float]:
        """The correction of n rows of one group, `n`, and its sd.

        Args:
            features: `n x d`.
            group: the number of a known group, None for a new one.
            without: rows (of the m) that the correction must not have been fitted to.
        """
        if not self.learned:
            return np.zeros(len(features)), PRIOR_SD[self.metric]
        kept = np.ones(len(self.residual), bool)
        if without is not None:
            kept[without] = False
        known = group if group is not None and bool((self.group[kept] == group).any()) else None
        if self.uses_trees and kept.any():
            return self._kept_trees(kept).predict(features), self._sd_known if known is not None else self._sd_new
        if not kept.any():
            return np.zeros(len(features)), PRIOR_SD[self.metric]
        offsets = (
            self._offsets if kept.all() else fit_offsets(self.residual[kept], self.group[kept], PRIOR_SD[self.metric])
        )
        offset, sd = offsets.of(known)
        return np.full(len(features), offset), max(sd, _SMALLEST_SD)

    @cached_property
    def _sd_new(self) -> float:
        return max(conformal_sd(self.grouped[0], self.group), _SMALLEST_SD)

    @cached_property
    def _sd_known(self) -> float:
        """From errors on scenarios that the fit had not seen, of groups that it had."""
        errors = np.zeros(len(self.residual))
        for held in folds(self.scenario, FOLDS):
            errors[held] = self.residual[held] - self._fit(~held).predict(self.features[held])
        return max(conformal_sd(errors, self.group), _SMALLEST_SD)

    def _fit(self, kept: npt.NDArray[np.bool_]) -> Trees:
        return fit_trees(self.features[kept], self.residual[kept], balanced_weights(self.group[kept]))

    def _kept_trees(self, kept: npt.NDArray[np.bool_]) -> Trees:
        key = np.packbits(kept).tobytes().hex()
        if key not in self._memo:
            self._memo[key] = self._fit(kept)
        return self._memo[key]
