"""Which share of a run's requests succeeded, from whatever the file counts."""

from __future__ import annotations

import numpy as np

from perfdb.importers.table.cells import Floats
from perfdb.importers.table.frame import Frame, Key
from perfdb.metrics import Statistic

_VALUE = Statistic.VALUE
_RATE: Key = ("success_rate", _VALUE)


def success_rate(frame: Frame) -> Floats:
    """Completed / sent requests, `n`, NaN where the file does not tell; a share that the file states itself goes first.

    A row whose counts or share cannot be is set aside.
    """
    counted = _counted(frame)
    wrong = (counted < 0) | (counted > 1)
    key = next((key for name in ("completed", "failed") if (key := (name, _VALUE)) in frame.headers), _RATE)
    frame.reject(wrong, key, "more requests completed or failed than were sent")
    rate = np.where(np.isnan(counted), 1.0 - _share(frame, ("error_rate", _VALUE)), counted)
    for stated in (("success_rate", Statistic.MEAN), _RATE):
        if stated in frame.numbers:
            known = _share(frame, stated)
            rate = np.where(np.isnan(known), rate, known)
    frame.units[_RATE] = "fraction"
    frame.numbers[_RATE] = rate
    frame.headers.setdefault(_RATE, frame.headers.get(key, "completed"))
    return rate


def _counted(frame: Frame) -> Floats:
    completed, failures = frame.number("completed"), frame.number("failed")
    sent = frame.number("requests")
    sent = np.where(np.isnan(sent), completed + failures, sent)
    # a run that counts its failures but not its successes completed the rest
    completed = np.where(np.isnan(completed), sent - failures, completed)
    return np.where(sent > 0, completed / sent, np.where(completed == 0, 0.0, np.nan))


def _share(frame: Frame, key: Key) -> Floats:
    """A column of shares, `n`: percents by its name, or by its size where no share lies between 0 and 1."""
    values = frame.numbers.get(key)
    if values is None:
        return np.full(frame.n, np.nan)
    told = values[np.isfinite(values) & (values != 0)]
    unit = frame.units.get(key, "")
    if not unit and len(told) and told.min() > 1 and told.max() <= 100:
        unit, header = "%", frame.headers[key]
        frame.decided[header] = "%, by its size"
        frame.warn(f"column {header!r} was read as percent by its size; name the unit in the header or with --map")
    values = values / 100.0 if unit == "%" else values
    frame.reject((values < 0) | (values > 1), key, f"{key[0]} is not between 0 and 1")
    return values
