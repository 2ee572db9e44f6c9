"""Throughputs whose unit is declared, in the column's name or row by row: each is read as it says, unless it lies."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from perfdb.importers.table.cells import Floats
from perfdb.importers.table.dialect import unit_of
from perfdb.importers.table.frame import Frame, Key, listing
from perfdb.importers.table.readings import NEAR, REQUESTS, TOKENS, Candidate, best
from perfdb.importers.table.scales import SCALES
from perfdb.metrics import Statistic
from perfdb.texts import Bools

_VALUE = Statistic.VALUE
_THROUGHPUT: Key = ("throughput", _VALUE)
_UNIT: Key = ("unit", _VALUE)
_TOKENS, _LATENCY = "tok/s", "latency "
_FAR = 1.5
"""A row whose value is off its own reading by more than this factor contradicts it."""
_PEERS, _MAJORITY = 10, 0.9


def settle_declared(frame: Frame) -> Bools:
    """Give the rows that declare requests/s or a latency to their metrics, and set aside those whose label lies.

    Returns the rows that declare tokens/s, `n`: which tokens they count is still to be told. A value whose unit nobody
    knows is kept in `extra`.
    """
    if _THROUGHPUT not in frame.numbers:
        if "unit" in frame.texts:
            frame.extra[frame.headers[_UNIT]] = frame.texts["unit"]
        return np.zeros(frame.n, dtype=bool)
    default = frame.units.get(_THROUGHPUT, "")
    units = frame.text("unit").map(lambda text: _read(text) if text else default).distinct()
    if "unit" in frame.texts:
        frame.decided[frame.headers[_THROUGHPUT]] = f"each row by column {frame.headers[_UNIT]!r}"
    is_tokens, is_requests = units.is_in({_TOKENS}), units.is_in({"req/s", "req/min"})
    raw = frame.number("throughput")
    values = raw * units.numbers(lambda unit: SCALES.get(unit.removeprefix(_LATENCY), 1.0))
    _reject_lies(frame, is_tokens, is_requests, values)
    is_latency = units.mask(lambda unit: unit.startswith(_LATENCY))
    for metric, rows in (("request_tps", is_requests), ("e2e_s", is_latency)):
        if (rows & np.isfinite(values)).any():
            merge(frame, metric, np.where(rows, values, np.nan))
    _keep_aside(frame, ~(is_tokens | is_requests | is_latency | units.is_in({""})) & np.isfinite(raw))
    frame.numbers[_THROUGHPUT] = np.where(is_tokens | units.is_in({""}), raw, np.nan)
    return is_tokens


def _read(text: str) -> str:
    """ "Queries/s" -> "req/s"; "Latency (ms)" -> "latency ms"; "?" for what is no unit of a throughput."""
    unit = unit_of(text)
    found = re.match(r"latency\W*(\w+)", text.strip(), re.IGNORECASE)
    if found and unit_of(found[1]) in {"s", "ms", "us", "ns"}:
        return _LATENCY + unit_of(found[1])
    return unit if unit in {_TOKENS, "req/s", "req/min"} else "?"


def _keep_aside(frame: Frame, rows: Bools) -> None:
    if not rows.any():
        return
    header, unit = frame.headers[_THROUGHPUT], frame.text("unit")
    frame.extra[header] = frame.column(header).blank(~rows)
    if _UNIT in frame.headers:
        frame.extra[frame.headers[_UNIT]] = unit.blank(~rows)
    counts = Counter(unit.take(rows).tolist())
    frame.warn(f"column {header!r}: kept in extra where its unit is none of a throughput: {listing(counts)}")


def _reject_lies(frame: Frame, is_tokens: Bools, is_requests: Bools, values: Floats) -> None:
    """Set aside the rows whose label contradicts the arithmetic that nearly all other rows fulfil."""
    tokens = best(frame, is_tokens & frame.good(), values, TOKENS)
    requests = best(frame, is_requests & frame.good(), values, REQUESTS)
    for rows, own, other in ((is_requests, requests, tokens), (is_tokens, tokens, requests)):
        as_said, as_other = _factor(values, own), _factor(values, other)
        lies = (as_said > _FAR) | ((as_other <= 1 + NEAR) & ~(as_said <= 1 + NEAR))
        told = own or other
        if told is not None:
            reason = f"its unit contradicts the other columns ({told.formula}), which nearly all other rows agree with"
            frame.reject(rows & lies, _UNIT if _UNIT in frame.headers else _THROUGHPUT, reason)
    if tokens is None and requests is None:
        for rows, others in ((is_requests, is_tokens), (is_tokens, is_requests)):
            _reject_among_peers(frame, rows, others, values)


def _factor(values: Floats, candidate: Candidate | None) -> Floats:
    """How many times off a reading the values are, `n`, at least 1; NaN where it does not tell."""
    if candidate is None:
        return np.full(len(values), np.nan)
    return np.exp(np.abs(np.log(values / candidate.implied)))


def _reject_among_peers(frame: Frame, rows: Bools, others: Bools, values: Floats) -> None:
    """Without arithmetic a label is judged by its model's other rows: a request/s is no token/s, device by device."""
    each, models = values / frame.number("devices"), frame.text("model").distinct()
    peers, few = others & np.isfinite(each), rows & np.isfinite(each)
    count, count_few = (np.bincount(models.codes[group], minlength=len(models.known)) for group in (peers, few))
    is_told = count >= np.maximum(_PEERS, _MAJORITY * (count + count_few))
    low, high = np.full(len(count), np.inf), np.full(len(count), -np.inf)
    np.minimum.at(low, models.codes[peers], each[peers])
    np.maximum.at(high, models.codes[peers], each[peers])
    amid = few & (is_told & np.isfinite(low))[models.codes] & (each >= low[models.codes]) & (each <= high[models.codes])
    reason = "its unit is not that of this model's other rows, but its value lies among theirs"
    frame.reject(amid, _UNIT if _UNIT in frame.headers else _THROUGHPUT, reason)


def merge(frame: Frame, metric: str, values: Floats) -> None:
    """Fill a metric, where it is not known, with values that the throughput column held, `n`."""
    known = frame.numbers.get((metric, _VALUE))
    frame.numbers[(metric, _VALUE)] = values if known is None else np.where(np.isnan(known), values, known)
    frame.headers.setdefault((metric, _VALUE), frame.headers.get(_THROUGHPUT, metric))
