"""How the load arrived and on how many devices, from what the file says; nothing is guessed."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np

from perfdb.importers.table.cells import Floats, number
from perfdb.importers.table.fields import parameter_of
from perfdb.importers.table.frame import Frame
from perfdb.metrics import Statistic
from perfdb.records import Arrival, Origin
from perfdb.texts import Bools, TextColumn

_VALUE = Statistic.VALUE
_SURELY_INFINITE = 1e6
_PERHAPS_INFINITE = 1e3
_EARLIEST_UNIX_S, _LATEST_UNIX_S = 1e8, 1e11
"""Other numbers are no plausible Unix seconds: milliseconds, or a bare 20250131."""
_WHOLE = ("devices", "concurrency", "batch_size", "requests", "warmup_requests")


def settle_workload(frame: Frame) -> None:
    """Fill arrival, real lengths and devices; check the counts; spell times and origins."""
    infinite = _infinite_rates(frame)
    _arrival(frame, infinite)
    _real_lengths(frame)
    _devices(frame)
    for name in _WHOLE:
        values = frame.number(name)
        frame.reject(np.isfinite(values) & (values != np.round(values)), (name, _VALUE), "not a whole number")
        frame.reject(values < 0, (name, _VALUE), "negative")
    for name in ("isl", "osl", "request_rate"):
        frame.reject(frame.number(name) < 0, (name, _VALUE), "negative")
    frame.reject(frame.number("devices") == 0, ("devices", _VALUE), "zero devices")
    _origin(frame)
    _measured_at(frame)


def _infinite_rates(frame: Frame) -> Bools:
    """Rows whose request rate means "all at once": inf, Infinity, 1e9, or so large that the sending took no time.

    Their rate becomes unknown (an infinite rate is no number); what was sent is told by the concurrency.
    """
    rate, requests, window = frame.number("request_rate"), frame.number("requests"), frame.value("duration_s")
    share = requests / rate / window  # of the run that the sending took
    large = (rate >= _PERHAPS_INFINITE) & ((share < 0.05) | ~np.isfinite(share))
    infinite = np.isinf(rate) | (rate >= _SURELY_INFINITE) | large
    guessed = infinite & large & (rate < _SURELY_INFINITE)
    if guessed.any():
        header = frame.headers[("request_rate", _VALUE)]
        frame.warn(
            f"column {header!r}: {int(guessed.sum())} rows of {_PERHAPS_INFINITE:g}/s or more were read as infinite"
        )
    if infinite.any():
        frame.numbers[("request_rate", _VALUE)] = np.where(infinite, np.nan, rate)
    return np.asarray(infinite, dtype=bool)


def _arrival(frame: Frame, infinite: Bools) -> None:
    concurrency, requests = frame.number("concurrency"), frame.number("requests")
    rate, burstiness = frame.number("request_rate"), frame.number("burstiness")
    # all requests at once and no cap: as many are in flight as there are requests
    burst = infinite & np.isnan(concurrency) & np.isfinite(requests)
    if burst.any():
        concurrency = np.where(burst, requests, concurrency)
        frame.numbers[("concurrency", _VALUE)] = concurrency
    arrival = TextColumn.constant("", frame.n)
    for kind, rows in (
        (Arrival.BATCH, np.isfinite(frame.number("batch_size"))),
        (Arrival.CLOSED, np.isfinite(concurrency)),
        (Arrival.POISSON, np.isfinite(rate)),
        ("", np.isfinite(rate) & np.isfinite(burstiness) & (burstiness != 1)),
    ):
        arrival = TextColumn.constant(str(kind), frame.n).where(rows, arrival)
    if (burstiness[np.isfinite(burstiness)] != 1).any():
        header = frame.headers[("burstiness", _VALUE)]
        frame.extra[header] = frame.column(header)
    given = frame.text("arrival").map(str.lower)
    unknown = sorted({text for text in given.known if text} - set(Arrival))
    if unknown:
        frame.warn(f"unknown arrival {', '.join(map(repr, unknown))}: known are {', '.join(Arrival)}")
    frame.texts["arrival"] = given.where(given.is_in(set(Arrival)), arrival)


def _real_lengths(frame: Frame) -> None:
    """Tokens per completed request are what was really sent and generated; nominal lengths stand beside them."""
    completed = frame.number("completed")
    requests = np.where(np.isnan(completed), frame.number("requests"), completed)
    for total, metric in (("total_input_tokens", "input_tokens"), ("total_output_tokens", "output_tokens")):
        key = (metric, Statistic.MEAN)
        mean = np.where(requests > 0, frame.number(total) / requests, np.nan)
        if np.isfinite(mean).any():
            known = frame.numbers.get(key, np.full(frame.n, np.nan))
            frame.numbers[key] = np.where(np.isnan(known), mean, known)
            frame.headers.setdefault(key, frame.headers[(total, _VALUE)])


def _devices(frame: Frame) -> None:
    """Where only the parallelism is known, the devices are its product: tp × pp × dp."""
    known: dict[str, Floats] = {}
    for name, text in frame.config.items():
        if role := _PARALLEL.get(name):
            sizes = text.numbers(lambda size: float(size) if re.fullmatch(r"\d+(\.0+)?", size) else None)
            # "tp" and "tensor_parallel_size" are one role: the first that says it counts, as in the config
            first = known.get(role, sizes)
            known[role] = np.where(np.isnan(first), sizes, first)
    devices, product = frame.number("devices"), np.full(frame.n, np.nan)
    for sizes in known.values():
        product = np.where(np.isnan(sizes), product, np.where(np.isnan(product), sizes, product * sizes))
    frame.numbers[("devices", _VALUE)] = np.where(np.isnan(devices), product, devices)


_ROLES = ("tp", "pp", "dp")
_PARALLEL = {
    **{role: role for role in _ROLES},
    **{parameter_of(engine, role): role for engine in ("vllm", "sglang", "trtllm") for role in _ROLES},
}


def _origin(frame: Frame) -> None:
    given = frame.text("origin").map(str.lower)
    unknown = sorted({text for text in given.known if text} - set(Origin))
    if unknown:
        frame.warn(
            f"unknown origin {', '.join(map(repr, unknown))} was read as measured: known are {', '.join(Origin)}"
        )
    frame.texts["origin"] = given.where(given.is_in(set(Origin)), TextColumn.constant(str(Origin.MEASURED), frame.n))


def _measured_at(frame: Frame) -> None:
    given = frame.text("measured_at")
    told = frame.texts["measured_at"] = given.map(_timestamp)
    lost = given.said() & ~told.said()
    if lost.any():
        header = frame.headers[("measured_at", _VALUE)]
        first = given[int(np.flatnonzero(lost)[0])]
        frame.warn(f"column {header!r}: {int(lost.sum())} times cannot be read (such as {first!r}); expected ISO 8601")


def _timestamp(text: str) -> str:
    """ISO 8601 (UTC where a zone is given) of a date cell or of Unix seconds, "" if it is neither."""
    seconds = number(text)
    if seconds is not None and _EARLIEST_UNIX_S < seconds < _LATEST_UNIX_S:
        return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    for pattern in ("%Y%m%d-%H%M%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d", "%Y%m%d"):
        try:
            return datetime.strptime(text, pattern).isoformat()
        except ValueError:
            continue
    try:
        moment = datetime.fromisoformat(text)
        return (moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment).isoformat()
    except ValueError:
        return ""


def real_numbers(frame: Frame, name: str) -> Floats:
    """A context number ready to be stored, `n`: infinite values are unknown."""
    values = frame.number(name)
    return np.where(np.isfinite(values), values, np.nan)
