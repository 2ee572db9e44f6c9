"""A hidden factor: rows alike in everything that is known, yet far apart. Said aloud, never averaged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfdb.importers.table.fields import NUMERIC_CONTEXT
from perfdb.importers.table.frame import Frame
from perfdb.importers.table.outcomes import failed

FAR_APART = 1.5
"""Values of one metric on one key that differ by more than this factor are in conflict."""

_WATCHED = ("output_tps", "total_tps", "e2e_s", "ttft_s")


def flag_hidden_factor(frame: Frame) -> None:
    """Warn where rows with one key (all context fields and the config) differ by more than `FAR_APART` in a metric."""
    rows = np.flatnonzero(frame.good() & ~failed(frame))
    if len(rows) < 2:
        return
    keys = setting_keys(frame, rows)
    _, counts = np.unique(keys, return_counts=True)
    if counts.max() < 2:
        return
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.r_[True, keys[order][1:] != keys[order][:-1]])
    for metric in _WATCHED:
        values = frame.value(metric)[rows][order]
        if not np.isfinite(values).any():
            continue
        low = np.fmin.reduceat(values, starts)
        high = np.fmax.reduceat(values, starts)
        apart = high / low
        conflicts = np.isfinite(apart) & (apart > FAR_APART)
        if conflicts.any():
            _say(frame, metric, int(conflicts.sum()), float(np.nanmax(apart[conflicts])))
            return


def _say(frame: Frame, metric: str, keys: int, worst: float) -> None:
    others = ", ".join(sorted(frame.extra)) or "none"
    frame.warn(
        f"a hidden factor: {keys} settings that are the same in all known parameters differ by more than "
        f"{FAR_APART}x in {metric} (worst {worst:.1f}x); columns that are not known parameters: {others}"
    )


def setting_keys(frame: Frame, rows: npt.NDArray[np.intp], without: str = "") -> npt.NDArray[np.uint64]:
    """One 64-bit number per row; rows with equal known parameters (but for the one left out) have equal ones."""
    mixed = np.zeros(len(rows), dtype=np.uint64)
    texts = [frame.text(name) for name in ("model", "platform", "engine", "arrival", "lengths") if name != without]
    for text in (*texts, *frame.config.values()):
        mixed = _mix(mixed, text.distinct().codes[rows].astype(np.uint64))
    for name in sorted(NUMERIC_CONTEXT - {without}):
        mixed = _mix(mixed, frame.number(name)[rows].view(np.uint64))
    return mixed


def _mix(state: npt.NDArray[np.uint64], column: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The mixing step of splitmix64, so that close values do not collide."""
    mixed = (state ^ column) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray(mixed * np.uint64(0xBF58476D1CE4E5B9), dtype=np.uint64)
