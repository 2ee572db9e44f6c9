"""Goodput: requests per second that keep all bounds; here from predicted distributions.

A bound on a mean or a percentile ("ttft_s_p90<0.5") counts each request against its limit; whether the mean or the
percentile itself keeps it is what "meets_slo" says. Bounds on anything else (tokens per second, dollars) bound no
request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from model.derived import spread_of
from model.load import means_drawn, variety
from perfdb.records import Workload
from servecast.slo import Slo
from servecast.tuning.spec import split_statistic

_LATENCIES = ("ttft_s", "tpot_s", "e2e_s")
_NORMAL = NormalDist()
Interval = Mapping[str, float]


def request_bounds(slos: Sequence[Slo]) -> dict[str, float]:
    """The least limit of each latency of a request, in seconds; a user's tokens per second bound the time of one."""
    found: dict[str, float] = {}
    for slo in slos:
        metric, limit = split_statistic(slo.name)[0], slo.limit
        if metric == "output_tps_per_user":
            metric, limit = "tpot_s", 1.0 / limit
        if metric in _LATENCIES:
            found[metric] = min(limit, found.get(metric, math.inf))
    return found


def predicted(row: Mapping[str, Any], slos: Sequence[Slo], load: Workload) -> dict[str, Interval | None]:
    """Of a predicted row the share of requests that keep all bounds, and how many that is per second, both with 90 %
    intervals; None where no bound is one of a request.

    Requests lie log-normally around the predicted mean of each latency (`model.derived.spread_of`); whole requests as
    far apart as their answers are, where `load` says the lengths, else as the predicted mean and p90. Those that break
    one bound break the others: the share is that of the bound that the fewest keep. The ends of an interval are those
    of all latencies and of the rate: wrong together.
    """
    # answers of one token have no time between tokens
    bounds = {name: limit for name, limit in request_bounds(slos).items() if row[name] is not None}
    if not bounds:
        return {"slo_share": None, "goodput_rps": None}
    spreads = {name: _spread(row, name, load) for name in bounds}
    share = {
        end: min(_share(row[name], limit, spreads[name], latency) for name, limit in bounds.items())
        for end, latency in (("mean", "mean"), ("lo", "hi"), ("hi", "lo"))
    }
    rate = row["request_tps"]
    return {"slo_share": share, "goodput_rps": {end: rate[end] * share[end] for end in share}}


def judged_row(row: Mapping[str, Any], slos: Sequence[Slo], is_kept: bool, load: Workload) -> dict[str, Any]:
    """What a predicted row says of bounds: whether central values keep them, and the goodput."""
    return {"meets_slo": is_kept, **predicted(row, slos, load)}


def _share(latency: Interval, limit: float, spread: float, end: str) -> float:
    """The share of requests within a limit, where their mean is one `end` of its interval."""
    return _NORMAL.cdf((math.log(limit / latency[end]) + spread**2 / 2.0) / spread)


def _spread(row: Mapping[str, Any], name: str, load: Workload) -> float:
    """sd of the log of a latency over requests."""
    if name != "e2e_s":
        return spread_of(name)
    deviation, osl = variety(load.lengths)[1], means_drawn(load.lengths, load.isl or 1.0, load.osl or 1.0)[1]
    if math.isfinite(deviation):
        return math.hypot(spread_of("tpot_s"), math.sqrt(math.log1p((deviation / osl) ** 2)))
    if "e2e_s_p90" not in row:
        return spread_of(name)
    normal = _NORMAL.inv_cdf(0.9)
    apart = min(max(math.log(row["e2e_s_p90"]["mean"] / row[name]["mean"]), 1e-3), normal**2 / 2.0)
    return normal - math.sqrt(normal**2 - 2.0 * apart)
