"""Columns of time whose unit nobody says: one tool wrote them, so they share a unit, unless their sizes prove another.

Notation: raw values are as in the file; a reference is the end-to-end latency in seconds that the record's other
numbers imply.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from perfdb.importers.table.cells import Floats
from perfdb.importers.table.frame import Frame, Key
from perfdb.importers.table.lengths import tokens_per_request
from perfdb.importers.table.scales import SCALES
from perfdb.metrics import Statistic

_UNITS = ("s", "ms", "us", "ns")
# Without any other evidence: the largest median that is believed in seconds. What tells best comes first.
_LARGEST_SECONDS = {"tpot_s": 1.0, "itl_s": 1.0, "e2e_per_token_s": 1.0, "e2e_s": 300.0, "ttft_s": 30.0}
_CENTRAL = (Statistic.MEAN, Statistic.VALUE, Statistic.MEDIAN)
_BY_SIZE = "by its size"
_SURE = 0.8
"""Share of the rows that must agree before a column's unit is decided by the others."""
_WIDE = 30.0
"""Two numbers of one record that are further apart than this are in different units."""
_GAP = 100.0


def settle_times(frame: Frame, keys: list[Key]) -> None:
    """Scale columns of time without a unit to seconds, by the best evidence there is, and say what decided."""
    if not keys:
        return
    shared, why, anchor = _by_arithmetic(frame, keys) or _by_size(frame, keys)
    waiting = {metric for metric, _ in keys}
    for metric in sorted(waiting, key=lambda metric: (metric != anchor, list(_LARGEST_SECONDS).index(metric))):
        group = [key for key in keys if key[0] == metric]
        unit = shared if metric == anchor else _own_unit(frame, metric, shared, waiting)
        waiting.discard(metric)
        for key in group:
            _scale(frame, key, unit, why if unit == shared else "by the latencies beside it")


def _scale(frame: Frame, key: Key, unit: str, why: str) -> None:
    header = frame.headers[key]
    frame.numbers[key] = frame.numbers[key] * SCALES[unit]
    frame.decided[header] = f"{unit}, {why}"
    if why in {_BY_SIZE, "by the latencies beside it"}:
        hint = "name the unit in the header or with --map"
        frame.warn(f"unit of column {header!r} is not said: taken as {unit} {why}; {hint}")
    if why == _BY_SIZE:
        _warn_gap(frame, key)


def _warn_gap(frame: Frame, key: Key) -> None:
    known = np.sort(frame.numbers[key][frame.numbers[key] > 0])
    if len(known) > 1 and (jumps := known[1:] / known[:-1]).max() > _GAP:
        low, high = known[jumps.argmax()], known[jumps.argmax() + 1]
        frame.warn(
            f"column {frame.headers[key]!r}: nothing lies between {low:g} s and {high:g} s; two units may be mixed"
        )


def _by_arithmetic(frame: Frame, keys: list[Key]) -> tuple[str, str, str] | None:
    """(unit, why, metric) in which end-to-end latency agrees with the records' other numbers."""
    raw = next((frame.numbers[key] for key in keys if key[0] == "e2e_s" and key[1] in _CENTRAL), None)
    if raw is None:
        return None
    for why, implied, least, most in _references(frame):
        ratios = np.stack([raw / reference for reference in implied])
        known = np.isfinite(ratios).any(axis=0) & (raw > 0)
        if not known.any():
            continue
        for unit in _UNITS:
            scaled = ratios[:, known] * SCALES[unit]
            if ((scaled >= least) & (scaled <= most)).any(axis=0).mean() >= _SURE:
                _reject_mixed(frame, ratios * SCALES[unit])
                return unit, why, "e2e_s"
    return None


def _reject_mixed(frame: Frame, ratios: Floats) -> None:
    """Single rows that are a factor of a thousand off the rest are in another unit; `ratios` is references × n."""
    off = np.nanmin(np.abs(np.log(np.where(ratios > 0, ratios, np.nan))), axis=0, initial=np.inf)
    mixed = np.isfinite(off) & (off > np.log(300))
    key = next(key for key in frame.numbers if key[0] == "e2e_s" and key[1] in _CENTRAL)
    frame.reject(mixed, key, "this cell is in another unit than the rest of its column")


def _references(frame: Frame) -> Iterator[tuple[str, list[Floats], float, float]]:
    """(why, end-to-end seconds that may be implied, `n` each, least and greatest ratio that agrees), best first."""
    isl, osl = tokens_per_request(frame, "isl"), tokens_per_request(frame, "osl")
    batch, concurrency = frame.number("batch_size"), frame.number("concurrency")
    throughputs = (frame.number("throughput"), frame.value("total_tps"), frame.value("output_tps"))
    per_request = [tokens / throughput for throughput in throughputs for tokens in (isl + osl, osl)]
    per_batch = [batch * each for each in per_request]
    # a throughput may be the sum of two replicas
    implied = [*per_batch, *per_request, *(2 * each for each in per_batch)]
    yield "by throughput, batch and lengths", implied, 0.98, 1.02
    rates = (frame.value("request_tps"), frame.value("output_tps") / osl)
    yield "by Little's law", [concurrency / rate for rate in rates], 0.1, 2.0
    # scaled already, where their names say the unit
    said = {key[0] for key in frame.numbers if key[0] in {"ttft_s", "tpot_s"} and frame.units.get(key)}
    if said == {"ttft_s", "tpot_s"}:
        yield "by TTFT and TPOT", [frame.value("ttft_s") + (osl - 1) * frame.value("tpot_s")], 0.4, 2.5


def _by_size(frame: Frame, keys: list[Key]) -> tuple[str, str, str]:
    for metric, largest in _LARGEST_SECONDS.items():
        values = [frame.numbers[key] for key in keys if key[0] == metric and key[1] is not Statistic.STD]
        known = np.concatenate(values) if values else np.empty(0)
        known = known[np.isfinite(known) & (known > 0)]
        if len(known):
            steps = (unit for unit in _UNITS if np.median(known) * SCALES[unit] <= largest)
            return next(steps, "ns"), _BY_SIZE, metric
    return "s", _BY_SIZE, keys[0][0]


def _own_unit(frame: Frame, metric: str, shared: str, waiting: set[str]) -> str:
    """The shared unit, unless nearly all rows refute it and confirm another."""
    raw = frame.value(metric, *_CENTRAL, *(statistic for statistic in Statistic if statistic is not Statistic.STD))
    low, high = _window(frame, metric, waiting)
    known = (raw > 0) & ~(np.isnan(low) & np.isnan(high))
    if not known.any():
        return shared
    for unit in (shared, *_UNITS):
        seconds = raw * SCALES[unit]
        if (~(seconds < low) & ~(seconds > high))[known].mean() >= _SURE:
            return unit
    return shared


def _window(frame: Frame, metric: str, waiting: set[str]) -> tuple[Floats, Floats]:
    """Least and greatest seconds, `n`, that agree with the columns whose unit is settled; NaN where nothing tells."""

    def seconds(name: str) -> Floats:
        return np.full(frame.n, np.nan) if name in waiting else frame.value(name)

    tokens, e2e = tokens_per_request(frame, "osl"), seconds("e2e_s")
    step = np.where(np.isnan(seconds("tpot_s")), seconds("itl_s"), seconds("tpot_s"))
    if metric == "ttft_s":
        # the first token takes a step of the engine as well
        return step / 10, e2e * 1.005
    implied = step * tokens if metric == "e2e_s" else e2e / tokens
    return implied / _WIDE, implied * _WIDE
