"""Rates that were printed with two digits: 0.01 requests per second may be 0.0136. The counts tell it better."""

from __future__ import annotations

import numpy as np

from perfdb.importers.table.cells import Floats
from perfdb.importers.table.frame import Frame, Key
from perfdb.metrics import Statistic

_VALUE = Statistic.VALUE
_DIGITS = 2
_LEAST_OFF = 0.01
"""A rounding that changes a rate by less is left as it is."""


def settle_rounded(frame: Frame) -> None:
    """Replace request and token rates that are their counts over the duration, but for rounding to two digits."""
    window = frame.numbers.get(("duration_s", _VALUE))
    if window is None:
        return
    completed = frame.number("completed")
    counts = {
        "request_tps": np.where(np.isnan(completed), frame.number("requests"), completed),
        "output_tps": frame.number("total_output_tokens"),
        "total_tps": frame.number("total_input_tokens") + frame.number("total_output_tokens"),
    }
    for metric, count in counts.items():
        key: Key = (metric, _VALUE)
        if key in frame.numbers and frame.units.get(key, "") in {"", "req/s", "tok/s"}:
            _settle(frame, key, count / window)


def _settle(frame: Frame, key: Key, counted: Floats) -> None:
    told = frame.numbers[key]
    is_rounded = np.abs(told - counted) <= 0.5 * 10**-_DIGITS + 1e-9
    is_printed = np.abs(told - np.round(told, _DIGITS)) < 1e-9
    is_off = np.abs(told - counted) > _LEAST_OFF * counted
    rows = is_rounded & is_printed & is_off & (counted > 0)
    if rows.any():
        frame.numbers[key] = np.where(rows, counted, told)
        frame.warn(
            f"column {frame.headers[key]!r} is rounded to {_DIGITS} digits, more than 1 % off in {int(rows.sum())} "
            "rows: counted again over the duration there"
        )
