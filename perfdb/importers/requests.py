"""Per-request timings to one operating point: what a load test would have printed at its end.

Seconds, tokens; arrays of n requests; NaN where a request does not tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perfdb.importers.table.cells import Floats
from perfdb.metrics import Statistic
from perfdb.texts import Bools

_CUTS = {
    Statistic.MEDIAN: 50,
    Statistic.P75: 75,
    Statistic.P90: 90,
    Statistic.P95: 95,
    Statistic.P99: 99,
}


@dataclass(frozen=True, slots=True)
class Requests:
    """The n requests of one operating point.

    `is_ok` masks those that ended well; `sent` is when each was sent, on any one clock. `ttft` and `e2e` count from
    there. `decode` is the time from first to last token where that is not `e2e - ttft`; `gaps` holds every time between
    two tokens of the requests that ended well, in any order and number.
    """

    is_ok: Bools
    sent: Floats
    ttft: Floats
    e2e: Floats
    input_tokens: Floats
    output_tokens: Floats
    decode: Floats | None = None
    gaps: Floats | None = None

    def take(self, rows: Bools, gaps: Floats | None = None) -> Requests:
        """The requests that a mask picks, `n`, with their own gaps."""
        decode = None if self.decode is None else self.decode[rows]
        tokens = self.input_tokens[rows], self.output_tokens[rows]
        return Requests(self.is_ok[rows], self.sent[rows], self.ttft[rows], self.e2e[rows], *tokens, decode, gaps)


def summary(requests: Requests) -> dict[str, float]:
    """One record: "METRIC:STATISTIC", throughputs over the measured window, and counts. What is unknown is left out.

    Distributions are over the requests that ended well; percentiles are linear between the two nearest ranks. The
    window is from the first request sent to the last end, of whichever outcome. Throughputs need the tokens of every
    request that ended well.
    """
    # absurd numbers overflow to infinity here, and are set aside as such
    with np.errstate(all="ignore"):
        return _summary(requests)


def _summary(requests: Requests) -> dict[str, float]:
    ok = requests.is_ok
    record = {"requests": float(len(ok)), "success_rate": float(ok.mean())} if len(ok) else {}
    distributions = {
        "ttft_s": requests.ttft[ok],
        "tpot_s": per_output_token(requests)[ok],
        "itl_s": np.empty(0) if requests.gaps is None else requests.gaps,
        "e2e_s": requests.e2e[ok],
    }
    for metric, values in distributions.items():
        record |= distribution(metric, values)
    for metric, values in (("input_tokens", requests.input_tokens), ("output_tokens", requests.output_tokens)):
        known = values[ok & np.isfinite(values)]
        if len(known):
            record[f"{metric}:mean"] = float(known.mean())
    return record | _throughputs(requests)


def per_output_token(requests: Requests) -> Floats:
    """(e2e - ttft) / (output tokens - 1) of each request, `n`; NaN where there are less than two tokens."""
    decode = requests.e2e - requests.ttft if requests.decode is None else requests.decode
    later = requests.output_tokens - 1
    return np.where(later >= 1, decode / np.where(later >= 1, later, 1.0), np.nan)


def distribution(metric: str, values: Floats) -> dict[str, float]:
    """ "METRIC:STATISTIC" -> value of the known values; empty where there is none.

    A statistic of exactly zero is left out: a clock too coarse to see a time has not measured it.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return {}
    cuts = dict(zip(_CUTS, np.percentile(known, list(_CUTS.values())), strict=True))
    ends = {Statistic.MEAN: known.mean(), Statistic.MIN: known.min(), Statistic.MAX: known.max()}
    found = {f"{metric}:{statistic}": float(value) for statistic, value in (ends | cuts).items() if value != 0}
    return found | {f"{metric}:{Statistic.STD}": float(known.std())}


def _throughputs(requests: Requests) -> dict[str, float]:
    ok, window = requests.is_ok, window_s(requests)
    if not window > 0:
        return {}
    record = {"duration_s": window}
    if not ok.any():
        return record
    output, total = requests.output_tokens[ok].sum(), (requests.input_tokens + requests.output_tokens)[ok].sum()
    rates = {"request_tps": ok.sum() / window, "output_tps": output / window, "total_tps": total / window}
    return record | {name: float(rate) for name, rate in rates.items() if np.isfinite(rate)}


def window_s(requests: Requests) -> float:
    """Seconds from the first request sent to the last end, NaN unless every request that ended well tells both."""
    ends = requests.sent + requests.e2e
    if not len(ends) or not np.isfinite(ends[requests.is_ok]).all() or not np.isfinite(requests.sent).all():
        return float("nan")
    return float(np.nanmax(np.r_[ends, requests.sent]) - requests.sent.min())
