"""What a plain throughput may count, told by arithmetic: every reading that the other columns allow.

Notation: b batch size, i and o input and output tokens per request, l end-to-end seconds, r requests/s, d seconds of
the whole run. Candidates are total (b·(i+o)/l), output (b·o/l) and requests (b/l); the same with r for b/l, and with
the run's token counts over d.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from perfdb.importers.table.cells import Floats
from perfdb.importers.table.frame import Frame
from perfdb.importers.table.lengths import tokens_per_request
from perfdb.texts import Bools

CLOSE, NEAR = 0.02, 0.1
"""How far a reading may be off: first tried strictly, then as far as two clocks of one run differ."""
TOKENS = frozenset({"total_tps", "output_tps"})
REQUESTS = frozenset({"request_tps"})
ANY = TOKENS | REQUESTS
_SURE = 0.9


@dataclass(frozen=True)
class Candidate:
    """One reading of the throughput: the metric it would be, the value implied, `n`, and how it was formed."""

    metric: str
    implied: Floats
    formula: str
    counts_batch: bool


def candidates(frame: Frame) -> Iterator[Candidate]:
    """All readings that the frame's columns allow, those with an independent denominator first."""
    i, o = tokens_per_request(frame, "isl"), tokens_per_request(frame, "osl")
    rate, latency, batch = frame.value("request_tps"), frame.value("e2e_s"), frame.number("batch_size")
    window = frame.value("duration_s")
    output = frame.number("total_output_tokens")
    total = frame.number("total_input_tokens") + output
    yield Candidate("total_tps", total / window, "tokens / duration", True)
    yield Candidate("output_tps", output / window, "output tokens / duration", True)
    for load, formula, counts in ((rate, "request rate", True), (batch / latency, "batch / latency", True),
                                  (1.0 / latency, "1 / latency", False)):  # fmt: skip
        yield Candidate("total_tps", load * (i + o), f"{formula} × (input + output)", counts)
        yield Candidate("output_tps", load * o, f"{formula} × output", counts)
        yield Candidate("request_tps", load, formula, counts)


def best(frame: Frame, rows: Bools, throughput: Floats, metrics: frozenset[str]) -> Candidate | None:
    """The candidate of these metrics that agrees with nearly all rows that can tell it from the others.

    None if there is none, or several.
    Rows with batch 1 cannot tell whether the batch counts, so they vote only where no other row does.
    """
    rows = rows & np.isfinite(throughput) & (throughput > 0)
    telling = rows & ~(frame.number("batch_size") == 1)
    pool = telling if telling.any() else rows
    allowed = [each for each in candidates(frame) if each.metric in metrics]
    for tolerance in (CLOSE, NEAR):
        fits = [(error, each) for each in allowed if (error := _error(each, pool, throughput, tolerance)) < 1]
        if fits:
            least, best = min(fits, key=lambda fit: fit[0])
            rivals = [each for error, each in fits if each.metric != best.metric and error < 3 * least + 1e-6]
            return None if rivals else best
    return None


def _error(candidate: Candidate, pool: Bools, throughput: Floats, tolerance: float) -> float:
    """Median relative error over the rows of `pool`; infinite unless nearly all rows are within `tolerance`."""
    known = pool & np.isfinite(candidate.implied) & (candidate.implied > 0)
    if not known.any():
        return float("inf")
    ratio = throughput[known] / candidate.implied[known]
    replicas = replicas_in(ratio)
    off = np.abs(ratio / replicas - 1)
    is_close = (off <= tolerance).mean() >= _SURE and (replicas == 1).mean() >= 0.5
    return float(np.median(off)) if is_close else float("inf")


def replicas_in(ratio: Floats) -> Floats:
    """How many times the implied value was counted: 2 to 16 where the ratio is that whole number, else 1."""
    whole = np.round(ratio)
    is_multiple = (whole >= 2) & (whole <= 16) & (np.abs(ratio / np.maximum(whole, 1) - 1) <= 1e-3)
    return np.where(is_multiple, whole, 1.0)
