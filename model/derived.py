"""Metrics that follow from others: throughput in other units, per device and user, percentiles, price.

The *basis* is what is corrected and conditioned; everything else is an identity over it, or a prior ratio to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from model.points import Points
from model.prediction import Bools, Estimate, Floats
from perfdb.errors import InputError, UnknownNameError

BASIS = ("ttft_s", "tpot_s", "itl_s", "e2e_s", "e2e_s_p90", "output_tps")
_FAMILY = {
    "ttft_s": ("ttft_s", 1.0),
    "tpot_s": ("tpot_s", 1.0),
    "itl_s": ("tpot_s", 1.0),
    "e2e_s": ("e2e_s", 1.0),
    "e2e_s_p90": ("e2e_s", 1.0),
    "output_tps": ("e2e_s", -1.0),
}
# sd of the log of one request's value around the mean of a run: wide for the wait for a first token, narrow for sums
_SPREAD = {"ttft_s": 0.5, "itl_s": 0.3, "tpot_s": 0.1, "e2e_s": 0.15}
_NORMAL = {"mean": None, "min": -2.0, "p50": 0.0, "p75": 0.674, "p90": 1.282, "p95": 1.645, "p99": 2.326, "max": 3.0}


def _per_request(points: Points) -> dict[str, tuple[str, Floats, float]]:
    """Metric -> (basis metric, log factor of it, its power)."""
    isl, osl = points.load.isl, points.load.osl
    price = points.platform.usd_per_hour
    nothing = np.zeros(len(points))
    found = {
        "total_tps": ("output_tps", np.log((isl + osl) / osl), 1.0),
        "input_tps": ("output_tps", np.log(isl / osl), 1.0),
        "request_tps": ("output_tps", -np.log(osl), 1.0),
        "output_tps_per_gpu": ("output_tps", -np.log(points.devices), 1.0),
        "total_tps_per_gpu": ("output_tps", np.log((isl + osl) / osl / points.devices), 1.0),
        "output_tps_per_user": ("tpot_s", nothing, -1.0),
        "e2e_per_token_s": ("e2e_s", -np.log(osl), 1.0),
    }
    if price:
        found["cost_per_mtok"] = ("output_tps", np.log(price * points.devices / 3600.0 * 1e6), -1.0)
    return found


PREDICTED = (
    *BASIS,
    "total_tps",
    "input_tps",
    "request_tps",
    "output_tps_per_gpu",
    "total_tps_per_gpu",
    "output_tps_per_user",
    "e2e_per_token_s",
    "cost_per_mtok",
)
"""Every metric that can be predicted; latencies also with a statistic ("ttft_s_p99")."""


def family_of(name: str) -> tuple[str, float]:
    """The residual family of a basis metric and the sign with which its correction enters."""
    return _FAMILY[name]


def predictable(points: Points) -> tuple[str, ...]:
    """All of `PREDICTED` that `points` allow: no price, no cost."""
    return tuple(name for name in PREDICTED if name != "cost_per_mtok" or points.platform.usd_per_hour)


def can_predict(name: str) -> bool:
    """Whether a metric, or a metric with a statistic, can be predicted."""
    metric, _, statistic = name.rpartition("_")
    return name in PREDICTED or (metric in _SPREAD and statistic in _NORMAL)


def mean_over_median(metric: str) -> float:
    """How many times its median the mean of a metric is: the log-normal over requests of every percentile here."""
    return math.exp(_SPREAD.get(metric, 0.0) ** 2 / 2)


def derive(basis: Mapping[str, Estimate], points: Points, metrics: Sequence[str]) -> dict[str, Estimate]:
    """Estimates of `metrics` from those of the basis; NaN of the time between tokens where answers have but one.

    Raises:
        UnknownNameError: a metric cannot be predicted.
        InputError: a price is asked for a platform that has none.
    """
    rules = _per_request(points)
    basis = _without_gaps(basis, points.load.osl <= 1.0)
    found = {}
    for metric in metrics:
        if metric in basis:
            found[metric] = basis[metric]
        elif metric in rules:
            source, factor, power = rules[metric]
            found[metric] = Estimate(power * basis[source].log_mean + factor, basis[source].log_sd)
        elif can_predict(metric) and metric not in PREDICTED:
            found[metric] = _percentile(basis, *_split(metric))
        elif metric == "cost_per_mtok":
            raise InputError.at("objective cost_per_mtok", f"platform {points.platform.name!r} has no price", "a price")
        else:
            raise UnknownNameError.of("predictable metric", metric, PREDICTED)
    return found


def _without_gaps(basis: Mapping[str, Estimate], is_one_token: Bools) -> Mapping[str, Estimate]:
    """Nothing is known, since nothing is there, of the time between the tokens of an answer of one."""
    if not is_one_token.any():
        return basis
    gaps = [name for name in basis if family_of(name)[0] == "tpot_s"]
    nothing = {name: np.where(is_one_token, np.nan, basis[name].log_mean) for name in gaps}
    return {**basis, **{name: Estimate(mean, basis[name].log_sd) for name, mean in nothing.items()}}


def _split(name: str) -> tuple[str, str]:
    metric, _, statistic = name.rpartition("_")
    return metric, statistic


def _percentile(basis: Mapping[str, Estimate], metric: str, statistic: str) -> Estimate:
    """A log-normal over requests around the mean of the run; half of the shift is added to the uncertainty."""
    normal, spread = _NORMAL[statistic], _SPREAD[metric]
    if normal is None:
        return basis[metric]
    shift = normal * spread - spread**2 / 2
    return Estimate(basis[metric].log_mean + shift, np.hypot(basis[metric].log_sd, shift / 2))
