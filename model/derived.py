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
_WAVES = 10
"""A closed loop of fewer requests per place has not all of its places taken all the time."""
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


def spread_of(metric: str) -> float:
    """sd of the log over requests of a latency: the log-normal of every percentile here."""
    return _SPREAD[metric]


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
            own = basis[source]
            found[metric] = own.times(factor) if power > 0 else Estimate(factor - own.log_mean, own.log_sd)
        elif can_predict(metric) and metric not in PREDICTED:
            found[metric] = percentile(basis, metric)
        elif metric == "cost_per_mtok":
            raise InputError.at("objective cost_per_mtok", f"platform {points.platform.name!r} has no price", "a price")
        else:
            raise UnknownNameError.of("predictable metric", metric, PREDICTED)
    return found


def followed(
    answers: Mapping[str, tuple[Estimate, Bools]], points: Points, taught: frozenset[str] = frozenset()
) -> dict[str, Estimate]:
    """Estimates of the basis, each with the rows in which it was measured itself; in these rows what was not measured
    follows from what was: of the time to the first token, per further one, and of the whole request the third from two,
    by Little's law the throughput of a closed loop, and other statistics in proportion. So it does in all rows of the
    whole request, where other configs or loads `taught` the two times and nothing of it."""
    basis = {name: estimate for name, (estimate, _) in answers.items()}
    own, load = {name: known for name, (_, known) in answers.items()}, points.load
    plain = (load.osl > 1.0) & ~load.is_batch
    gaps, before = np.log(np.maximum(load.osl - 1.0, 1.0)), basis["e2e_s"]
    rest = plain & own["ttft_s"] & own["e2e_s"] & (before.log_mean > basis["ttft_s"].log_mean)
    answer = _difference(before, basis["ttft_s"])
    basis["tpot_s"] = _put(basis["tpot_s"], rest & ~own["tpot_s"], Estimate(answer.log_mean - gaps, answer.log_sd))
    known = own["tpot_s"] | rest
    basis["itl_s"] = _put(basis["itl_s"], known & ~own["itl_s"], basis["tpot_s"])
    decoding = Estimate(basis["tpot_s"].log_mean + gaps, basis["tpot_s"].log_sd)
    both = own["ttft_s"] & own["tpot_s"]
    is_taught = taught >= {"ttft_s", "tpot_s"} and "e2e_s" not in taught
    summed = plain & (both | is_taught) & ~own["e2e_s"]
    basis["e2e_s"] = e2e = _put(before, summed, sum_of(basis["ttft_s"], decoding))
    whole, p90 = summed | own["e2e_s"], basis["e2e_s_p90"]
    apart = p90.log_mean - before.log_mean
    later = Estimate(e2e.log_mean + apart, np.hypot(e2e.log_sd, apart / 2))
    basis["e2e_s_p90"] = _put(p90, whole & ~own["e2e_s_p90"], later)
    is_loop = whole & plain & ~load.is_open & ~own["output_tps"] & ~(load.requests < _WAVES * load.amount)
    is_loop &= both | own["e2e_s"] | ("output_tps" not in taught)
    rate = Estimate(np.log(load.amount * load.osl) - e2e.log_mean, e2e.log_sd)
    return {**basis, "output_tps": _put(basis["output_tps"], is_loop, rate)}


def sum_of(one: Estimate, other: Estimate) -> Estimate:
    """The sum of two parts that are wrong together: their standard deviations add up, each by its share."""
    total = np.logaddexp(one.log_mean, other.log_mean)
    shares = np.exp(one.log_mean - total), np.exp(other.log_mean - total)
    return Estimate(total, shares[0] * one.log_sd + shares[1] * other.log_sd)


def _difference(whole: Estimate, part: Estimate) -> Estimate:
    """What is left of a whole without a part that is smaller, each measured by itself; nothing where it is not."""
    with np.errstate(invalid="ignore", divide="ignore"):
        left = whole.log_mean + np.log1p(-np.exp(part.log_mean - whole.log_mean))
    shares = np.exp(whole.log_mean - left), np.exp(part.log_mean - left)
    return Estimate(left, np.hypot(shares[0] * whole.log_sd, shares[1] * part.log_sd))


def _put(estimate: Estimate, rows: Bools, other: Estimate) -> Estimate:
    """An estimate with another one in some rows."""
    mean, sd = (np.where(rows, getattr(other, name), getattr(estimate, name)) for name in ("log_mean", "log_sd"))
    return Estimate(mean, sd)


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


def percentile(basis: Mapping[str, Estimate], name: str) -> Estimate:
    """A latency's statistic: of a log-normal over requests around the mean of the run; half of the shift is added to
    the uncertainty. See `can_predict`."""
    metric, statistic = _split(name)
    normal, spread = _NORMAL[statistic], _SPREAD[metric]
    if normal is None:
        return basis[metric]
    shift = normal * spread - spread**2 / 2
    return Estimate(basis[metric].log_mean + shift, np.hypot(basis[metric].log_sd, shift / 2))
