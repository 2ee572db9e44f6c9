"""What the model answers: an estimate with a 90 % interval per metric and config, and whether the config fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perfdb.records import Interval

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

Z90 = 1.6448536269514722
"""Half-width of a central 90 % normal interval, in standard deviations."""


@dataclass(frozen=True)
class Estimate:
    """Log-normal estimates of one metric for n configs: `log_mean` and `log_sd`, both `n`, natural logarithm; nothing
    is above `log_most`, `n`, where that is known."""

    log_mean: Floats
    log_sd: Floats
    log_most: Floats | None = None

    @property
    def mean(self) -> Floats:
        """Central value (the median of the log-normal), `n`, in the metric's unit."""
        return np.exp(self.log_mean)

    @property
    def lo(self) -> Floats:
        """Lower end of the 90 % interval, `n`, in the metric's unit."""
        return np.exp(self.log_mean - Z90 * self.log_sd)

    @property
    def hi(self) -> Floats:
        """Upper end of the 90 % interval, `n`, in the metric's unit."""
        high = self.log_mean + Z90 * self.log_sd
        return np.exp(high if self.log_most is None else np.minimum(high, self.log_most))

    def take(self, rows: npt.NDArray[np.int64]) -> Estimate:
        """The given rows."""
        most = None if self.log_most is None else self.log_most[rows]
        return Estimate(self.log_mean[rows], self.log_sd[rows], most)

    def times(self, log_factor: Floats) -> Estimate:
        """The same in another unit, times the exponential of `log_factor`."""
        most = None if self.log_most is None else self.log_most + log_factor
        return Estimate(self.log_mean + log_factor, self.log_sd, most)

    def interval(self, row: int) -> Interval:
        """The estimate of one config."""
        return Interval(float(self.mean[row]), float(self.lo[row]), float(self.hi[row]))


@dataclass(frozen=True)
class GridPrediction:
    """Predictions for the n configs of a grid.

    `metrics` maps a metric name to its estimates; `headroom` is log(memory available / memory needed), `n`,
    positive where the config fits; `reasons[row]` says why a config is infeasible; `provenance` holds
    `Provenance` values, `n`; `utilisation` is the rate of requests over the most that can be served, `n`, NaN where
    they do not come at one; `validated` says that what was learned was checked on contexts never seen.
    """

    metrics: Mapping[str, Estimate]
    feasible: Bools
    headroom: Floats
    reasons: Mapping[int, str]
    provenance: npt.NDArray[Any]
    utilisation: Floats
    validated: bool = False
