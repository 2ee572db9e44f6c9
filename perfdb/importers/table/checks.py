"""Rows whose numbers cannot all be true are set aside with the reason; what is only odd is said aloud."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from perfdb.importers.table.cells import Floats
from perfdb.importers.table.frame import Frame, Key
from perfdb.importers.table.outcomes import failed
from perfdb.metrics import METRICS, Statistic
from perfdb.quality import ORDER, SLACK
from perfdb.texts import Bools

_LARGEST = {"s": 1e7, "tok/s": 1e10, "req/s": 1e8, "W": 1e8, "B": 1e16, "tok": 1e9}


def reject_text(frame: Frame) -> None:
    """Set aside the rows with text, NaN or infinity where a number belongs."""
    lost = failed(frame)
    for key, wrong in frame.wrong.items():
        if not wrong.any():
            continue
        values = frame.numbers.get(key, np.full(frame.n, np.nan))
        rows = wrong & ~lost
        if key[0] == "request_rate":
            rows = rows & ~np.isposinf(values)
        frame.reject(rows & np.isinf(values), key, "infinite")
        is_nan = frame.column(frame.headers[key]).mask(lambda cell: cell.strip().lower().lstrip("+-") == "nan")
        frame.reject(rows & is_nan, key, "not a number (NaN)")
        frame.reject(rows & ~np.isinf(values), key, "text where a number belongs")
        if key in frame.numbers and key[0] != "request_rate":
            frame.numbers[key] = np.where(wrong, np.nan, values)


def reject_impossible(frame: Frame) -> None:
    """Set aside the rows that are negative, absurdly large, or contradict themselves."""
    for key in [key for key in frame.numbers if key[0] in METRICS]:
        values = frame.numbers[key]
        frame.reject(values < 0, key, f"negative {key[0]}")
        largest = _LARGEST.get(METRICS[key[0]].unit, np.inf)
        frame.reject(values > largest, key, f"{key[0]} above {largest:g} {METRICS[key[0]].unit}")
    _pairs(frame)
    _percentiles(frame)


def _pairs(frame: Frame) -> None:
    for statistic in Statistic:
        ttft = frame.numbers.get(("ttft_s", statistic))
        e2e = frame.numbers.get(("e2e_s", statistic))
        if ttft is not None and e2e is not None and statistic is not Statistic.STD:
            frame.reject(_above(ttft, e2e), ("ttft_s", statistic), "TTFT above end-to-end latency")
    key: Key = ("output_tps", Statistic.VALUE)
    frame.reject(
        _above(frame.value("output_tps"), frame.value("total_tps")), key, "output throughput above total throughput"
    )
    window, e2e = frame.value("duration_s"), frame.value("e2e_s", Statistic.MEAN, Statistic.MEDIAN)
    frame.reject(_above(e2e, window), _key(frame, "e2e_s"), "end-to-end latency above the duration of the run")


def _above(left: Floats, right: Floats) -> Bools:
    return np.asarray(left > right * SLACK, dtype=bool)


def _key(frame: Frame, metric: str) -> Key:
    return next((key for key in frame.numbers if key[0] == metric), (metric, Statistic.VALUE))


def _percentiles(frame: Frame) -> None:
    for metric in {key[0] for key in frame.numbers if key[0] in METRICS}:
        known = [(metric, statistic) for statistic in ORDER if (metric, statistic) in frame.numbers]
        for lower, upper in pairwise(known):
            wrong = _above(frame.numbers[lower], frame.numbers[upper])
            frame.reject(wrong, lower, f"{metric}: {lower[1]} above {upper[1]}")
        mean, ends = frame.value(metric, Statistic.MEAN), (Statistic.MIN, Statistic.MAX)
        low, high = (frame.value(metric, end) for end in ends)
        frame.reject(
            _above(mean, high) | _above(low, mean), (metric, Statistic.MEAN), f"{metric}: mean outside min and max"
        )


def reject_unusable(frame: Frame) -> None:
    """Set aside the rows that neither failed nor hold any metric."""
    usable = failed(frame)
    for key, values in frame.numbers.items():
        if key[0] in METRICS and key[0] not in {"success_rate", "duration_s", "input_tokens", "output_tokens"}:
            usable = usable | np.isfinite(values)
    undecided = ~usable & np.isfinite(frame.number("throughput"))
    reason = "nothing but a throughput that does not say whether it is output, total or request throughput"
    frame.reject(undecided, ("throughput", Statistic.VALUE), reason)
    frame.reject(~usable, _first_metric(frame), "no usable metric in this row")


def _first_metric(frame: Frame) -> Key:
    return next(
        (key for key in frame.headers if key[0] in METRICS or key[0] == "throughput"), ("metric", Statistic.VALUE)
    )
