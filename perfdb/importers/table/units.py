"""In which unit a column is: by its name, by a declaration, by plausibility, in that order; never silently."""

from __future__ import annotations

import numpy as np

from perfdb.importers.table.cells import Floats
from perfdb.importers.table.frame import Frame, Key
from perfdb.importers.table.scales import SCALES
from perfdb.importers.table.times import settle_times
from perfdb.metrics import METRICS

_DIMENSIONS = {
    "s": "s ms us ns min",
    "W": "W mW kW",
    "B": "B KiB MiB GiB MB GB",
    "req/s": "req/s req/min",
    "fraction": "fraction %",
}
_LARGEST_WATTS = 5000


def settle_units(frame: Frame) -> None:
    """Scale every metric to its canonical unit; what decided where the name did not stays in `frame.decided`."""
    unsaid: list[Key] = []
    for key in [key for key in frame.numbers if key[0] in METRICS]:
        unit = frame.units.get(key, "")
        if unit and not _fits(key[0], unit):
            _set_aside(frame, key, f"its name says {unit!r}, which is no unit of {key[0]}")
        elif unit:
            frame.numbers[key] = frame.numbers[key] * SCALES[unit]
        elif METRICS[key[0]].unit in {"s", "W", "B"}:
            unsaid.append(key)
    settle_times(frame, [key for key in unsaid if METRICS[key[0]].unit == "s" and key[0] != "duration_s"])
    for key in unsaid:
        settle = _duration if key[0] == "duration_s" else _BY_UNIT.get(METRICS[key[0]].unit)
        if settle is not None:
            settle(frame, key)


def _fits(metric: str, unit: str) -> bool:
    canonical = METRICS[metric].unit
    return unit == canonical or unit in _DIMENSIONS.get(canonical, canonical).split()


def _set_aside(frame: Frame, key: Key, why: str) -> None:
    """A column that cannot be read as a metric stays in `extra` as it is."""
    header = frame.headers[key]
    del frame.numbers[key]
    frame.wrong.pop(key, None)
    frame.extra[header] = frame.column(header)
    frame.warn(f"column {header!r} was not read as {key[0]}: {why}")


def _power(frame: Frame, key: Key) -> None:
    median = _median(frame.numbers[key])
    unit = "mW" if median > _LARGEST_WATTS else "W"
    frame.numbers[key] = frame.numbers[key] * SCALES[unit]
    frame.decided[frame.headers[key]] = f"{unit}, by its size"
    frame.warn(f"unit of column {frame.headers[key]!r} is not said: taken as {unit} by its size (median {median:g})")


def _memory(frame: Frame, key: Key) -> None:
    _set_aside(frame, key, "no unit is said: name the column in bytes, MiB or GiB")


_BY_UNIT = {"W": _power, "B": _memory}


def _duration(frame: Frame, key: Key) -> None:
    """Every tool met so far writes the length of the run in seconds: another unit must be told by the request rate."""
    header, completed = frame.headers[key], frame.number("completed")
    requests = np.where(np.isnan(completed), frame.number("requests"), completed)
    ratio = _median(frame.numbers[key] * frame.value("request_tps") / requests)
    unit = next((unit for unit in ("ms", "us", "ns") if abs(ratio * SCALES[unit] - 1) < 0.1), "s")
    if unit != "s":
        frame.numbers[key] = frame.numbers[key] * SCALES[unit]
        frame.decided[header] = f"{unit}, by requests and request rate"
        frame.warn(f"unit of column {header!r} is not said: taken as {unit} by requests and request rate")


def _median(values: Floats) -> float:
    known = values[np.isfinite(values) & (values > 0)]
    return float(np.median(known)) if len(known) else float("nan")
