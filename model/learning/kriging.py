"""What the rows of a group say of its other rows: a Gaussian process over the errors that the common model left there.

    error = c + s(place) + noise        c ~ (0, between²), s smooth with (0, within²·(1 − ν)), noise (0, within²·ν)

With one row it is a shrunk offset, with some it follows lengths and load. Variances are those of all groups, so nothing
is fitted to the few rows themselves; but a row that the others of its group do not bear out counts as one that is so
much more noisy, and says little of them. Sources: Rasmussen and Williams 2006, chapters 2 and 5.4.2 (leave-one-out).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.prediction import Floats

NOISE_SHARE = 0.15
"""ν: which share of the variance within a group no other row of it tells."""
MOST_ROWS = 200
_CHUNK = 8192
_BORNE_OUT = 3.0
"""At so many standard deviations from what the others tell of it a row begins to count as noisy."""
_ROUNDS, _TOLD = 6, 0.5
"""Only a row of which the others leave less than `_TOLD` of the variance to tell can be contradicted by them: the first
runs of a group are all that is known of it."""
_STRENGTH = 3.0
_WITHIN_SD = 0.25


@dataclass(frozen=True)
class Spread:
    """Errors over groups: their common mean `overall`, and the sd `between` groups and `within` one."""

    overall: float
    between: float
    within: float


def spread_of(errors: Floats, group: npt.NDArray[np.int64], prior_sd: float) -> Spread:
    """Of m errors and their group numbers. The mean is drawn to zero (one pseudo-group), standard deviations start from
    the priors and are drawn to what the rows show (`_STRENGTH` pseudo-observations)."""
    _, place, counts = np.unique(group, return_inverse=True, return_counts=True)
    means = np.bincount(place, errors) / counts
    overall = float(means.sum() / (len(means) + 1.0))
    inside = errors - means[place]
    within2 = (float(inside @ inside) + _STRENGTH * _WITHIN_SD**2) / (len(errors) - len(means) + _STRENGTH)
    between2 = (float(((means - overall) ** 2).sum()) + _STRENGTH * prior_sd**2) / (len(means) + _STRENGTH)
    return Spread(overall, float(np.sqrt(between2)), float(np.sqrt(within2)))


def spaced(count: int, most: int) -> npt.NDArray[np.int64]:
    """At most `most` of `count` places, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


@dataclass(frozen=True)
class Kriging:
    """The process of one group, from its k rows: `places` `k x c` in units of their lengths, `errors` `k`."""

    places: Floats
    errors: Floats
    spread: Spread

    def predict(self, places: Floats) -> tuple[Floats, Floats]:
        """Expected error of n rows at `places`, `n x c`, and its standard deviation with noise, both `n`."""
        mean, known = np.empty(len(places)), np.empty(len(places))
        weights = self._inverse @ (self.errors - self.spread.overall)
        for start in range(0, len(places), _CHUNK):
            part = slice(start, start + _CHUNK)
            across = self._covariance(places[part])
            mean[part] = self.spread.overall + across @ weights
            known[part] = ((across @ self._inverse) * across).sum(axis=1)
        return mean, np.sqrt(np.maximum(self._variance - known, self._noise))

    @cached_property
    def left_out(self) -> Floats:
        """Each row's error, as the others predict it, in units of the standard deviation promised there, `k`."""
        weights = self._inverse @ (self.errors - self.spread.overall)
        scores: Floats = weights / np.sqrt(np.diag(self._inverse))
        return scores

    @property
    def _noise(self) -> float:
        return NOISE_SHARE * self.spread.within**2

    @property
    def _smooth(self) -> float:
        return self.spread.within**2 - self._noise

    @property
    def _variance(self) -> float:
        return self.spread.between**2 + self.spread.within**2

    @cached_property
    def _inverse(self) -> Floats:
        """Of the rows' covariance, `k x k`. Who is noisy, and whose neighbours only look so, takes some rounds."""
        own, from_mean = self._covariance(self.places), self.errors - self.spread.overall
        noise = np.full(len(self.errors), self._noise)
        inverse = np.linalg.inv(own + np.diag(noise))
        is_told = 1.0 / np.diag(inverse) - noise < _TOLD * self._variance
        for _ in range(_ROUNDS):
            promised = 1.0 / np.diag(inverse)
            more = ((inverse @ from_mean) * promised / _BORNE_OUT) ** 2 - (promised - noise)
            before, noise = noise, np.where(is_told, np.maximum(self._noise, more), self._noise)
            if np.array_equal(noise, before):
                break
            inverse = np.linalg.inv(own + np.diag(noise))
        return np.asarray(inverse)

    def _covariance(self, places: Floats) -> Floats:
        """Between n places and the group's rows, `n x k`, without noise."""
        apart = (places**2).sum(axis=1)[:, None] + (self.places**2).sum(axis=1) - 2.0 * places @ self.places.T
        found: Floats = self.spread.between**2 + self._smooth * np.exp(-0.5 * np.maximum(apart, 0.0))
        return found
