"""How each record ended: what failed is kept as a failure without values, never as a row of zeros."""

from __future__ import annotations

import re

import numpy as np

from perfdb.importers.table.cells import says_oom
from perfdb.importers.table.frame import Frame, Key, listing
from perfdb.importers.table.success import success_rate
from perfdb.metrics import METRICS, Statistic
from perfdb.records import Outcome
from perfdb.texts import Bools, TextColumn

LEAST_SUCCESS = 0.95
"""Below this share of completed requests the survivors' means are biased: the outcome is `partial`."""

_OK = frozenset({"", "ok", "success", "successful", "succeeded", "valid", "passed", "pass", "completed", "done", "200"})
_WORDS = (
    (re.compile(r"time[ _-]?d?[ _-]?out|deadline", re.IGNORECASE), Outcome.TIMEOUT),
    (re.compile(r"launch|start[ _-]?up|not[ _]ready|health", re.IGNORECASE), Outcome.LAUNCH_FAILED),
    (re.compile(r"cancel|abort|interrupt", re.IGNORECASE), Outcome.CANCELLED),
    (re.compile(r"partial", re.IGNORECASE), Outcome.PARTIAL),
    (re.compile(r"invalid", re.IGNORECASE), Outcome.INVALID),
    (re.compile(r"fail|error|crash|exception|killed|died|segfault", re.IGNORECASE), Outcome.CRASHED),
)
_LOADS = frozenset({"concurrency", "batch_size", "request_rate"})
# A measured value of zero is possible for these; for all others it means that nothing was measured.
_ZERO_IS_REAL = frozenset(
    {"success_rate", "quality_loss", "load_avg", "server_cpu_s", "cost_per_mtok", "output_tokens"}
)


def read_status(text: str) -> Outcome:
    """The outcome that a status cell tells; a word that we do not know is a failure of unknown kind (`invalid`)."""
    plain = text.strip().lower()
    if plain in _OK or plain in {"false", "0", "none", "no"}:
        return Outcome.OK
    if plain in set(Outcome):
        return Outcome(plain)
    if says_oom(plain):
        return Outcome.OOM
    return next((outcome for pattern, outcome in _WORDS if pattern.search(plain)), Outcome.INVALID)


def settle_outcomes(frame: Frame) -> None:
    """Fill `texts["outcome"]` and the success rate; take the values out of records that failed.

    A failure is told by a status column, by out-of-memory text in a number's place, or by no completed request.
    """
    told = frame.text("outcome").map(lambda text: str(read_status(text)))
    status = frame.text("status").map(lambda text: str(read_status(text)))
    outcome = told.where(told.mask(lambda text: text != Outcome.OK), status)
    outcome = _everywhere(Outcome.OOM, frame).where(_oom_cells(frame), outcome)
    rate = success_rate(frame)
    for worse, rows in ((Outcome.INVALID, rate == 0), (Outcome.PARTIAL, (rate < LEAST_SUCCESS) & (rate > 0))):
        outcome = _everywhere(worse, frame).where(rows & outcome.is_in({Outcome.OK}), outcome)
    frame.texts["outcome"] = outcome.distinct()
    told = frame.text("status").blank(outcome.is_in({Outcome.OK}))
    if told.said().any():
        # in its own words, beside our word for it
        frame.extra[frame.headers[("status", Statistic.VALUE)]] = told
    _clear_failed(frame)
    ends = zip(frame.texts["outcome"].known, np.bincount(frame.texts["outcome"].codes), strict=False)
    counts = {name: int(count) for name, count in ends if name != Outcome.OK and count}
    if counts:
        frame.warn(f"records that did not end well are kept apart from the frontier: {listing(counts)}")


def _everywhere(outcome: Outcome, frame: Frame) -> TextColumn:
    return TextColumn.constant(str(outcome), frame.n)


def failed(frame: Frame) -> Bools:
    """Mask of the records that failed as a whole, `n` (not those that succeeded in part)."""
    return ~frame.text("outcome").is_in({"", str(Outcome.OK), str(Outcome.PARTIAL)})


def _oom_cells(frame: Frame) -> Bools:
    found = np.zeros(frame.n, dtype=bool)
    for key, wrong in frame.wrong.items():
        if wrong.any():
            found |= wrong & frame.column(frame.headers[key]).mask(says_oom)
    return found


def _clear_failed(frame: Frame) -> None:
    lost = failed(frame)
    if not lost.any():
        return
    for key in frame.numbers:
        if (key[0] in METRICS and key[0] != "success_rate") or key[0].startswith("throughput"):
            frame.numbers[key] = np.where(lost, np.nan, frame.numbers[key])
            frame.wrong[key] = frame.wrong.get(key, lost) & ~lost


def zeros_are_missing(frame: Frame) -> None:
    """A zero where zero cannot be measured means that nothing was: it becomes unknown, and is counted aloud."""
    counts: dict[str, int] = {}
    for key, values in frame.numbers.items():
        zero = values == 0
        if _means_missing(key) and zero.any():
            counts[frame.headers.get(key, key[0])] = int(zero.sum())
            frame.numbers[key] = np.where(zero, np.nan, values)
    if counts:
        frame.warn(f"zeros were taken as not measured or not said: {listing(counts)}")


def _means_missing(key: Key) -> bool:
    name, statistic = key
    measured = name in METRICS or name in {"throughput", "throughput_per_gpu"}
    return name in _LOADS or (measured and name not in _ZERO_IS_REAL and statistic is not Statistic.STD)
