"""How each record ended: what failed is kept as a failure without values, never as a row of zeros."""

from __future__ import annotations

import re

import numpy as np

from perfdb.importers.table.cells import Bools, Floats, factorize, per_text, says_oom
from perfdb.importers.table.frame import Frame, listing
from perfdb.metrics import METRICS, Statistic
from perfdb.records import Outcome

LEAST_SUCCESS = 0.95
"""Below this share of completed requests the survivors' means are biased: the outcome is `partial`."""

_VALUE = Statistic.VALUE
_OK = frozenset({"", "ok", "success", "successful", "succeeded", "valid", "passed", "pass", "completed", "done", "200"})
_WORDS = (
    (re.compile(r"time[ _-]?d?[ _-]?out|deadline", re.IGNORECASE), Outcome.TIMEOUT),
    (re.compile(r"launch|start[ _-]?up|not[ _]ready|health", re.IGNORECASE), Outcome.LAUNCH_FAILED),
    (re.compile(r"cancel|abort|interrupt", re.IGNORECASE), Outcome.CANCELLED),
    (re.compile(r"partial", re.IGNORECASE), Outcome.PARTIAL),
    (re.compile(r"invalid", re.IGNORECASE), Outcome.INVALID),
    (re.compile(r"fail|error|crash|exception|killed|died|segfault", re.IGNORECASE), Outcome.CRASHED),
)
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
    outcome = per_text(frame.text("outcome"), lambda text: str(read_status(text)))
    status = per_text(frame.text("status"), lambda text: str(read_status(text)))
    outcome = np.where(outcome == "ok", status, outcome)
    outcome = np.where(_oom_cells(frame), str(Outcome.OOM), outcome)
    rate = _success_rate(frame)
    outcome = np.where((rate == 0) & (outcome == "ok"), str(Outcome.INVALID), outcome)
    outcome = np.where((rate < LEAST_SUCCESS) & (rate > 0) & (outcome == "ok"), str(Outcome.PARTIAL), outcome)
    frame.texts["outcome"] = outcome.astype(object)
    _clear_failed(frame)
    counts = {name: int((outcome == name).sum()) for name in set(outcome.tolist()) if name != "ok"}
    if counts:
        frame.warn(f"records that did not end well are kept apart from the frontier: {listing(counts)}")


def failed(frame: Frame) -> Bools:
    """Mask of the records that failed as a whole, `n` (not those that succeeded in part)."""
    outcome = frame.text("outcome")
    return np.asarray((outcome != "ok") & (outcome != "partial") & (outcome != ""), dtype=bool)


def _oom_cells(frame: Frame) -> Bools:
    found = np.zeros(frame.n, dtype=bool)
    for key, wrong in frame.wrong.items():
        if wrong.any():
            header = frame.headers[key]
            text = next(column.text for column in frame.columns if column.header == header)
            codes, uniques = factorize(text)
            found |= wrong & np.array([says_oom(cell) for cell in uniques], dtype=bool)[codes]
    return found


def _success_rate(frame: Frame) -> Floats:
    """Completed / sent requests, `n`, NaN where the file does not tell both."""
    completed, failures = frame.number("completed"), frame.number("failed")
    sent = frame.number("requests")
    sent = np.where(np.isnan(sent), completed + failures, sent)
    # a run that counts its failures but not its successes completed the rest
    completed = np.where(np.isnan(completed), sent - failures, completed)
    rate = np.where(sent > 0, completed / sent, np.where(completed == 0, 0.0, np.nan))
    errors = frame.number("error_rate")
    if frame.units.get(("error_rate", _VALUE)) == "%":
        errors = errors / 100.0
    rate = np.where(np.isnan(rate), 1.0 - errors, rate)
    known = frame.value("success_rate", _VALUE, Statistic.MEAN)
    if frame.units.get(("success_rate", _VALUE)) == "%":
        known = known / 100.0
    rate = np.where(np.isnan(known), rate, known)
    frame.units[("success_rate", _VALUE)] = "fraction"
    frame.numbers[("success_rate", _VALUE)] = rate
    frame.headers.setdefault(("success_rate", _VALUE), frame.headers.get(("completed", _VALUE), "failed"))
    frame.reject((rate < 0) | (rate > 1), ("success_rate", _VALUE), "more requests completed or failed than were sent")
    return rate


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
        name, statistic = key
        helper = name in {"throughput", "throughput_per_gpu"}
        if (name not in METRICS and not helper) or name in _ZERO_IS_REAL or statistic is Statistic.STD:
            continue
        zero = values == 0
        if zero.any():
            counts[frame.headers.get(key, name)] = int(zero.sum())
            frame.numbers[key] = np.where(zero, np.nan, values)
    if counts:
        frame.warn(f"zeros were taken as not measured: {listing(counts)}")
