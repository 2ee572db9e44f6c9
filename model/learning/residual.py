"""The learned correction log(measured / analytic) of one metric, and how far to trust it.

Three levels, each used only where it is earned:
- nothing measured: no correction, and the wide `PRIOR_SD`;
- some rows: what they have in common, drawn towards zero, and what the rows of the same group say
  (`model.learning.kriging`);
- at least `ENOUGH` rows in `ENOUGH_GROUPS` groups: boosted trees over `model.learning.descriptors` in place of the
  common mean,
  if they beat it on groups that neither has seen (`model.learning.crossfit`).
A *known* group has rows in the database; a new one has not, and gets the wider interval of groups never seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.learning.crossfit import CrossFit, places_of
from model.learning.descriptors import PROMPT
from model.learning.kriging import MOST_ROWS, Kriging, Spread, spaced, spread_of
from model.prediction import Floats
from perfdb.facts.platforms import PlatformFacts

Ints = npt.NDArray[np.int64]

PRIOR_SD: Mapping[str, float] = {"ttft_s": 0.8, "tpot_s": 0.7, "e2e_s": 0.7}
UNFAMILIAR = 2.0
"""sd of log(measured / roofline) without any history, and how many times wider it is for accelerators that are not
NVIDIA's, whose kernels the efficiencies of the roofline do not describe. On a public set of static batches nine tenths
of the raw |log errors| of e2e are below 0.4 to 1.2 on NVIDIA devices (10 of 11 pairs of platform and engine;
1.645 · 0.7 is 1.15) and below 1.4 to 4.0 on AMD and Intel GPUs. The time to first token, which queueing makes harder,
is taken as a little worse. `tests/bench/bench_model_accuracy.py` prints them."""
_SMALLEST_SD = 0.03
_FADES = frozenset({"ttft_s"})
"""Metrics whose correction halves with every doubling of the prompt beyond the longest that it was learned from.

What delays short prompts is lost in the computation of long ones: learned from up to 2,000 tokens and asked for 8,000
(649 public points) it left first tokens 67 % off, and no correction 32 %. Of times per output token it left 11 %, and
none 23: those do not fade."""
_NONE = np.zeros(0, np.int64)


def familiarity(platform: PlatformFacts) -> float:
    """How many times wider the error of the raw roofline is here than where its efficiencies come from."""
    return 1.0 if platform.kind == "cpu" or platform.vendor == "NVIDIA" else UNFAMILIAR


@dataclass(frozen=True)
class Residual:
    """The correction of one metric, learned from m rows: `features` `m x d`, `residual` and `group` numbers, `m`.

    With an `elder`, what groups have in common is the elder's, fitted to its rows, which are the first of the m.
    """

    metric: str
    features: Floats
    residual: Floats
    group: Ints
    elder: Residual | None = None
    _memo: dict[tuple[int, bytes], Kriging] = field(default_factory=dict)

    @property
    def learned(self) -> bool:
        """Whether there is anything to learn from."""
        return len(self.residual) > 0

    @cached_property
    def common(self) -> CrossFit:
        """What all groups have in common."""
        if self.elder is not None and self.elder.learned:
            return self.elder.common
        return CrossFit(self.metric, self.features, self.residual, self.group, PRIOR_SD[self.metric])

    @property
    def validated(self) -> bool:
        """Whether the correction was checked on related groups, and is more than a constant."""
        return self.common.uses_trees

    def taught(self, features: Floats, residual: Floats, group: Ints) -> Residual:
        """This correction with further rows of known or new groups: they tell of their own groups only."""
        if not self.learned:
            return Residual(self.metric, features, residual, group)
        return Residual(
            self.metric,
            np.concatenate([self.features, features]),
            np.concatenate([self.residual, residual]),
            np.concatenate([self.group, group]),
            elder=self,
        )

    @cached_property
    def errors(self) -> Floats:
        """What the common part, not having seen the group, leaves of the residual of every row, `m`."""
        known = len(self.common.residual)
        errors = np.concatenate([self.common.errors, self.residual[known:]])
        for group in np.unique(self.group[known:]):
            rows = known + np.flatnonzero(self.group[known:] == group)
            errors[rows] -= self.common.expected(self.features[rows], int(group))
        return errors

    def predict(self, features: Floats, group: int | None, without: Ints = _NONE) -> tuple[Floats, Floats]:
        """The correction of n rows of one group and its sd, both `n`.

        Args:
            features: `n x d`.
            group: the number of a known group, None for a new one.
            without: rows (of the m) that the correction must not come from.
        """
        kept = np.ones(len(self.residual), bool)
        kept[without] = False
        if not kept.any():
            return np.zeros(len(features)), np.full(len(features), PRIOR_SD[self.metric])
        spread = self._spread(kept)
        common, of_all = self.common.expected(features, group), self._fading(features, np.flatnonzero(kept))
        new_sd = self.common.sd_new if self.common.uses_trees else float(np.hypot(spread.between, spread.within))
        own = np.flatnonzero(kept & (self.group == group)) if group is not None else _NONE
        if not len(own):
            shift = common + spread.overall
            return of_all * shift, np.hypot(max(new_sd, _SMALLEST_SD), (1.0 - of_all) * shift)
        shift, sd = self._process(int(self.group[own[0]]), own, spread).predict(places_of(features))
        sd = np.clip(sd * self.common.inflation, _SMALLEST_SD, max(new_sd, _SMALLEST_SD))
        of_own = self._fading(features, own)
        return of_all * common + of_own * shift, np.hypot(sd, (1.0 - of_all) * common + (1.0 - of_own) * shift)

    def _fading(self, features: Floats, rows: Ints) -> Floats:
        """The share of what the given rows taught that holds for n others, `n`: see `_FADES`."""
        if self.metric not in _FADES:
            return np.ones(len(features))
        return np.asarray(np.exp(np.minimum(self.features[rows, PROMPT].max() - features[:, PROMPT], 0.0)))

    def _spread(self, kept: npt.NDArray[np.bool_]) -> Spread:
        """Of what is kept: the trees have not seen what is not, but a common mean has."""
        if self.common.uses_trees or kept.all():
            return self.common.spread
        return spread_of(self.errors[kept], self.group[kept], PRIOR_SD[self.metric])

    def _process(self, group: int, own: Ints, spread: Spread) -> Kriging:
        rows = own[spaced(len(own), MOST_ROWS)]
        key = (group, rows.tobytes())
        if key not in self._memo:
            self._memo[key] = Kriging(places_of(self.features[rows]), self.errors[rows], spread)
        return self._memo[key]
