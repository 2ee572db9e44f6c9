"""What is possible but odd is said aloud and stays with its rows; what is impossible beyond doubt is set aside."""

from __future__ import annotations

import numpy as np

from perfdb.importers.table.cells import Floats, number
from perfdb.importers.table.factors import setting_keys
from perfdb.importers.table.frame import Frame, Key
from perfdb.importers.table.lengths import tokens_per_request
from perfdb.metrics import Statistic
from perfdb.records import Arrival

_ODD, _IMPOSSIBLE = 1.5, 3.0
"""How far output throughput may be above concurrency / TPOT: both are means over requests of several lengths."""
_APART = 3.0
_COLDER = 1.2
_LATENCIES = ("ttft_s", "tpot_s", "itl_s", "e2e_s", "e2e_per_token_s")


def flag_odd(frame: Frame) -> None:
    """Judge the numbers of each row against one another, the rows against one another, and the columns."""
    _throughput(frame)
    _latency(frame)
    _cold_runs(frame)
    for name in ("batch_size", "concurrency", "isl", "osl"):
        _typos(frame, name)


def _throughput(frame: Frame) -> None:
    """No more requests than the concurrency generate at once, each a token per TPOT."""
    means = [frame.value("tpot_s", statistic) for statistic in (Statistic.MEAN, Statistic.MEDIAN)]
    step = np.fmin(*means)
    replicas = frame.config["replicas"].numbers(lambda text: number(text) or 1.0) if "replicas" in frame.config else 1.0
    output, users = frame.value("output_tps"), frame.number("concurrency") * replicas
    real = np.isfinite(frame.value("output_tokens")) | np.isfinite(frame.number("total_output_tokens"))
    closed = frame.text("arrival").is_in({str(Arrival.CLOSED)})
    key = next((key for key in frame.numbers if key[0] == "output_tps"), ("output_tps", Statistic.VALUE))
    reason = f"output throughput above {_IMPOSSIBLE:g} × concurrency / TPOT"
    frame.reject(closed & real & (output > _IMPOSSIBLE * users / step), key, reason)
    step = np.where(np.isnan(step), frame.value("tpot_s", Statistic.VALUE), step)
    frame.flag(output > _ODD * users / step, f"output throughput above {_ODD:g} × concurrency / TPOT")


def _latency(frame: Frame) -> None:
    """Means of one run: end to end is the first token and then one TPOT per further token."""
    ttft, tpot, e2e = (frame.value(metric, Statistic.MEAN) for metric in ("ttft_s", "tpot_s", "e2e_s"))
    implied = ttft + (tokens_per_request(frame, "osl") - 1) * tpot
    apart = np.abs(np.log(e2e / implied)) > np.log(_APART)
    frame.flag(apart, f"end-to-end latency more than {_APART:g}x off TTFT + (output tokens - 1) × TPOT")


def _cold_runs(frame: Frame) -> None:
    """One request at a time: a longer prompt takes no less time, unless the shorter one met a cold engine."""
    alone = (frame.number("concurrency") == 1) | (frame.number("batch_size") == 1)
    isl, ttft = tokens_per_request(frame, "isl"), frame.value("ttft_s")
    rows = np.flatnonzero(alone & frame.good() & (isl > 0) & (ttft > 0))
    if len(rows) < 2:
        return
    keys = setting_keys(frame, rows, without="isl")
    order = np.lexsort((isl[rows], keys))
    keys, isl, ttft = keys[order], isl[rows][order], ttft[rows][order]
    starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]) | (isl[1:] != isl[:-1])])
    fastest, slowest = np.minimum.reduceat(ttft, starts), np.maximum.reduceat(ttft, starts)
    # repeats of one length: even the fastest of the shorter is slower than the slowest of the longer
    falls = (keys[starts][1:] == keys[starts][:-1]) & (fastest[:-1] > _COLDER * slowest[1:])
    if falls.any():
        places = f"{int(falls.sum())} place{'s' * (int(falls.sum()) != 1)}"
        frame.warn(f"TTFT falls with length in {places}: the first runs look cold (no warm-up)")


def settle_statistics(frame: Frame) -> None:
    """A latency without its statistic: that of another column of its metric which says the same, else said aloud."""
    for metric in _LATENCIES:
        key = (metric, Statistic.VALUE)
        others = [other for other in frame.numbers if other[0] == metric and other != key]
        if not np.isfinite(frame.numbers.get(key, np.nan)).any():
            continue
        if not others:
            _warn_unsaid(frame, key)
            continue
        same = next((other for other in others if _same(frame.numbers[key], frame.numbers[other])), None)
        if same is not None:
            del frame.numbers[key]
            continue
        beside = ", ".join(repr(frame.headers[other]) for other in others)
        frame.warn(
            f"column {frame.headers[key]!r} does not say its statistic, and {beside} says something else: stored as "
            "'value'; name it with --map (such as mean_ttft_s)"
        )


def _warn_unsaid(frame: Frame, key: Key) -> None:
    """Of a single request there is nothing to take a mean of."""
    alone = np.fmax(frame.number("concurrency"), frame.number("batch_size")) == 1
    if not alone[np.isfinite(frame.numbers[key])].all():
        frame.warn(
            f"column {frame.headers.get(key, key[0])!r} does not say its statistic: stored as 'value', and read as the "
            "mean where there is none; name it with --map (such as p50_ttft_s)"
        )


def _same(left: Floats, right: Floats) -> bool:
    known = np.isfinite(left)
    return bool(known.any() and (left[known] == right[known]).all())


def _typos(frame: Frame, name: str) -> None:
    values = frame.number(name)
    known = np.unique(values[np.isfinite(values) & (values > 0)])
    if len(known) < 4 or len(known) > 64:
        return
    nearest = 2.0 ** np.round(np.log2(known))
    exact = known == nearest
    if exact.mean() < 0.7:
        return
    for value, power in zip(known[~exact], nearest[~exact], strict=True):
        if abs(value / power - 1) <= 0.02:
            header = frame.headers.get((name, Statistic.VALUE), name)
            frame.flag(values == value, f"column {header!r}: {value:g} looks like a typo of {power:g}")
