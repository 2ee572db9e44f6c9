"""In which unit a column is: by its name, by a declaration, by plausibility, in that order; never silently.

Notation: raw values are as in the file; a reference is the end-to-end latency in seconds that the record's other
numbers imply.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from perfdb.importers.table.cells import Floats, constant
from perfdb.importers.table.frame import Frame, Key
from perfdb.importers.table.scales import SCALES
from perfdb.metrics import METRICS, Statistic

_TIME_UNITS = ("s", "ms", "us", "ns")
_DIMENSIONS = {
    "s": "s ms us ns min",
    "W": "W mW kW",
    "B": "B KiB MiB GiB MB GB",
    "req/s": "req/s req/min",
    "fraction": "fraction %",
}
# Without any other evidence: the largest median that is believed in seconds.
_LARGEST_SECONDS = {"tpot_s": 1.0, "itl_s": 1.0, "e2e_per_token_s": 1.0, "ttft_s": 30.0, "e2e_s": 300.0}
_SURE = 0.8
"""Share of the rows that must agree before a column's unit is decided by arithmetic."""


def settle_units(frame: Frame) -> None:
    """Scale every metric to its canonical unit; what decided where the name did not is noted with each record."""
    unsaid: list[Key] = []
    for key in [key for key in frame.numbers if key[0] in METRICS]:
        unit = frame.units.get(key, "")
        if unit and not _fits(key[0], unit):
            _set_aside(frame, key, f"its name says {unit!r}, which is no unit of {key[0]}")
        elif unit:
            frame.numbers[key] = frame.numbers[key] * SCALES[unit]
        elif METRICS[key[0]].unit in {"s", "W", "B"}:
            unsaid.append(key)
    decided = _decide(frame, unsaid)
    if decided:
        frame.notes["units"] = constant(json.dumps(decided, sort_keys=True, separators=(",", ":")), frame.n)


def _decide(frame: Frame, unsaid: list[Key]) -> dict[str, str]:
    """Scale the columns whose unit nobody said; column -> unit and what decided."""
    decided: dict[str, str] = {}
    # every tool met so far writes the length of the run in seconds, whatever its latencies are in
    _times(frame, [key for key in unsaid if METRICS[key[0]].unit == "s" and key[0] != "duration_s"], decided)
    for key in unsaid:
        if METRICS[key[0]].unit == "W":
            _power(frame, key, decided)
        elif METRICS[key[0]].unit == "B":
            _set_aside(frame, key, "no unit is said: name the column in bytes, MiB or GiB")
    return decided


def _fits(metric: str, unit: str) -> bool:
    canonical = METRICS[metric].unit
    return unit == canonical or unit in _DIMENSIONS.get(canonical, canonical).split()


def _set_aside(frame: Frame, key: Key, why: str) -> None:
    """A column that cannot be read as a metric stays in `extra` as it is."""
    header = frame.headers[key]
    del frame.numbers[key]
    frame.wrong.pop(key, None)
    frame.extra[header] = next(column.text for column in frame.columns if column.header == header)
    frame.warn(f"column {header!r} was not read as {key[0]}: {why}")


def _power(frame: Frame, key: Key, decided: dict[str, str]) -> None:
    median = _median(frame.numbers[key])
    unit = "mW" if median > 5000 else "W"
    frame.numbers[key] = frame.numbers[key] * SCALES[unit]
    decided[frame.headers[key]] = f"{unit}, by its size"
    frame.warn(f"unit of column {frame.headers[key]!r} is not said: taken as {unit} by its size (median {median:g})")


def _times(frame: Frame, keys: list[Key], decided: dict[str, str]) -> None:
    """Columns of time without a unit come from one tool: they share one unit, by the best evidence there is."""
    if not keys:
        return
    unit, why = _by_arithmetic(frame, keys) or _by_size(frame, keys)
    for key in keys:
        header = frame.headers[key]
        frame.numbers[key] = frame.numbers[key] * SCALES[unit]
        decided[header] = f"{unit}, {why}"
        if why == "by its size":
            hint = "name the unit in the header or with --map"
            frame.warn(f"unit of column {header!r} is not said: taken as {unit} by its size; {hint}")


def _by_arithmetic(frame: Frame, keys: list[Key]) -> tuple[str, str] | None:
    """The unit in which end-to-end latency agrees with the records' other numbers."""
    raw = next((frame.numbers[key] for key in keys if key[0] == "e2e_s" and key[1] in _CENTRAL), None)
    if raw is None:
        return None
    for why, implied, least, most in references(frame):
        ratios = np.stack([raw / reference for reference in implied])
        known = np.isfinite(ratios).any(axis=0) & (raw > 0)
        if not known.any():
            continue
        for unit in _TIME_UNITS:
            scaled = ratios[:, known] * SCALES[unit]
            if ((scaled >= least) & (scaled <= most)).any(axis=0).mean() >= _SURE:
                _mixed_rows(frame, ratios * SCALES[unit])
                return unit, why
    return None


_CENTRAL = (Statistic.MEAN, Statistic.VALUE, Statistic.MEDIAN)


def _mixed_rows(frame: Frame, ratios: Floats) -> None:
    """Single rows that are a factor of a thousand off the rest are in another unit; `ratios` is references × n."""
    off = np.nanmin(np.abs(np.log(np.where(ratios > 0, ratios, np.nan))), axis=0, initial=np.inf)
    mixed = np.isfinite(off) & (off > np.log(300))
    key = next(key for key in frame.numbers if key[0] == "e2e_s" and key[1] in _CENTRAL)
    frame.reject(mixed, key, "this cell is in another unit than the rest of its column")


def references(frame: Frame) -> Iterator[tuple[str, list[Floats], float, float]]:
    """(why, end-to-end seconds that may be implied, `n` each, least and greatest ratio that agrees), best first."""
    isl, osl, batch = lengths(frame, "isl"), lengths(frame, "osl"), frame.number("batch_size")
    concurrency = frame.number("concurrency")
    throughputs = (frame.number("throughput"), frame.value("total_tps"), frame.value("output_tps"))
    per_request = [tokens / throughput for throughput in throughputs for tokens in (isl + osl, osl)]
    yield "by throughput, batch and lengths", [batch * each for each in per_request] + per_request, 0.98, 1.02
    rates = (frame.value("request_tps"), frame.value("output_tps") / osl)
    yield "by Little's law", [concurrency / rate for rate in rates], 0.1, 2.0
    # scaled already, where their names say the unit
    said = {key[0] for key in frame.numbers if key[0] in {"ttft_s", "tpot_s"} and frame.units.get(key)}
    if said == {"ttft_s", "tpot_s"}:
        yield "by TTFT and TPOT", [frame.value("ttft_s") + (osl - 1) * frame.value("tpot_s")], 0.4, 2.5


def lengths(frame: Frame, name: str) -> Floats:
    """Tokens per request, `n`: what was really sent or generated where known, else the nominal length."""
    metric = {"isl": "input_tokens", "osl": "output_tokens"}[name]
    real = frame.value(metric)
    return np.where(np.isnan(real), frame.number(name), real)


def _by_size(frame: Frame, keys: list[Key]) -> tuple[str, str]:
    """Inter-token times tell best, then end-to-end, then first-token times."""
    for metric in ("tpot_s", "itl_s", "e2e_per_token_s", "e2e_s", "ttft_s"):
        values = [frame.numbers[key] for key in keys if key[0] == metric and key[1] is not Statistic.STD]
        median = _median(np.concatenate(values)) if values else np.nan
        if np.isfinite(median):
            largest = _LARGEST_SECONDS[metric]
            unit = (
                "s"
                if median <= largest
                else "ms"
                if median <= largest * 1e3
                else "us"
                if median <= largest * 1e6
                else "ns"
            )
            return unit, "by its size"
    return "s", "by its size"


def _median(values: Floats) -> float:
    known = values[np.isfinite(values) & (values > 0)]
    return float(np.median(known)) if len(known) else float("nan")
