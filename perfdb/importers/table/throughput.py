"""What a plain "throughput" counts, and whether it was measured at all: both are told by arithmetic, never assumed.

Notation: b batch size, i and o input and output tokens per request, l end-to-end seconds, r requests/s, d seconds of
the whole run. Candidates are total (b·(i+o)/l), output (b·o/l) and requests (b/l); the same with r for b/l, and with
the run's token counts over d.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from perfdb.importers.table.cells import Bools, Floats, Texts, constant, factorize
from perfdb.importers.table.frame import Frame
from perfdb.importers.table.scales import SCALES
from perfdb.importers.table.units import lengths
from perfdb.metrics import Statistic

_VALUE = Statistic.VALUE
_CLOSE, _NEAR = 0.02, 0.1
"""How far a reading may be off: first tried strictly, then as far as two clocks of one run differ."""
_SURE = 0.9
_EXACT = 1e-4
_LLAMACPP = "llamacpp"


@dataclass(frozen=True)
class Candidate:
    """One reading of the throughput: the metric it would be, the value implied, `n`, and how it was formed."""

    metric: str
    implied: Floats
    formula: str
    counts_batch: bool


def settle_throughput(frame: Frame) -> None:
    """Turn the helper `throughput` into the metric that it is; keep it in `extra` where nothing tells which.

    Notes with each record: `derived` (the throughput is a formula of the latency, so no second measurement), and
    `throughput_is` (what decided). Where the batch does not count in the throughput of llama.cpp rows, "batch size" was
    n_batch and moves to the config.
    """
    _convert_declared(frame)
    throughput = frame.number("throughput")
    if not np.isfinite(throughput).any():
        return
    engines, names = factorize(frame.text("engine"))
    header = frame.headers[("throughput", _VALUE)]
    for code, name in enumerate(names):
        group = np.asarray(engines == code, dtype=bool)
        found = _best(frame, group & frame.good(), throughput)
        if found is None:
            _leave_in_extra(frame, group & np.isfinite(throughput), header, name)
            continue
        _take(frame, group, found, throughput)
        if not found.counts_batch:
            _batch_is_no_load(frame, group, name)
    derived = int(np.asarray(frame.notes.get("derived", np.array([])) != "", dtype=bool).sum())
    if derived:
        frame.warn(f"column {header!r} is a formula of the latency in {derived} rows: derived there, not measured")


def _convert_declared(frame: Frame) -> None:
    """A unit in the column's name, or a column of units, may say that requests are counted."""
    throughput = frame.number("throughput")
    units = frame.text("unit")
    declared = frame.units.get(("throughput", _VALUE), "")
    if "unit" in frame.texts:
        from perfdb.importers.table.dialect import unit_of

        codes, uniques = factorize(units)
        read = np.array([unit_of(text) or declared for text in uniques], dtype=object)[codes]
    else:
        read = constant(declared, frame.n)
    for unit in ("req/s", "req/min"):
        rows = np.asarray(read == unit, dtype=bool)
        if rows.any():
            _merge(frame, "request_tps", np.where(rows, throughput * SCALES[unit], np.nan))
            frame.numbers[("throughput", _VALUE)] = np.where(rows, np.nan, throughput)
            throughput = frame.number("throughput")


def candidates(frame: Frame) -> Iterator[Candidate]:
    """All readings that the frame's columns allow, those with an independent denominator first."""
    i, o = lengths(frame, "isl"), lengths(frame, "osl")
    rate, latency, batch = frame.value("request_tps"), frame.value("e2e_s"), frame.number("batch_size")
    window = frame.value("duration_s")
    sums = {
        "total_input_tokens": frame.number("total_input_tokens"),
        "total_output_tokens": frame.number("total_output_tokens"),
    }
    output, total = sums["total_output_tokens"], sums["total_input_tokens"] + sums["total_output_tokens"]
    yield Candidate("total_tps", total / window, "tokens / duration", True)
    yield Candidate("output_tps", output / window, "output tokens / duration", True)
    for load, formula, counts in ((rate, "request rate", True), (batch / latency, "batch / latency", True),
                                  (1.0 / latency, "1 / latency", False)):  # fmt: skip
        yield Candidate("total_tps", load * (i + o), f"{formula} × (input + output)", counts)
        yield Candidate("output_tps", load * o, f"{formula} × output", counts)
        yield Candidate("request_tps", load, formula, counts)


def _best(frame: Frame, rows: Bools, throughput: Floats) -> Candidate | None:
    """The candidate that agrees with nearly all rows that can tell it from the others; None if none does, or several.

    Rows with batch 1 cannot tell whether the batch counts, so they vote only where no other row does.
    """
    rows = rows & np.isfinite(throughput) & (throughput > 0)
    telling = rows & ~(frame.number("batch_size") == 1)
    pool = telling if telling.any() else rows
    for tolerance in (_CLOSE, _NEAR):
        fits = [(error, each) for each in candidates(frame) if (error := _error(each, pool, throughput, tolerance)) < 1]
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
    replicas = _replicas(ratio)
    off = np.abs(ratio / replicas - 1)
    is_close = (off <= tolerance).mean() >= _SURE and (replicas == 1).mean() >= 0.5
    return float(np.median(off)) if is_close else float("inf")


def _replicas(ratio: Floats) -> Floats:
    """How many times the implied value was counted: 2 to 16 where the ratio is that whole number, else 1."""
    whole = np.round(ratio)
    is_multiple = (whole >= 2) & (whole <= 16) & (np.abs(ratio / np.maximum(whole, 1) - 1) <= 1e-3)
    return np.where(is_multiple, whole, 1.0)


def _take(frame: Frame, group: Bools, found: Candidate, throughput: Floats) -> None:
    header = frame.headers[("throughput", _VALUE)]
    _merge(frame, found.metric, np.where(group, throughput, np.nan))
    frame.headers.setdefault((found.metric, _VALUE), header)
    ratio = throughput / found.implied
    replicas = np.where(group & np.isfinite(ratio), _replicas(ratio), 1.0)
    is_formula = "latency" in found.formula
    derived = group & (np.abs(ratio / replicas - 1) <= _EXACT) if is_formula else np.zeros(frame.n, dtype=bool)
    _note(frame, "derived", derived, f'["{found.metric}"]')
    _note(frame, "throughput_is", group & np.isfinite(throughput), f'"{found.metric}: {found.formula}"')
    many = replicas > 1
    if many.any():
        counts = np.char.mod("%d", replicas.astype(np.int64)).astype(object)
        frame.config["replicas"] = np.where(many, counts, frame.config.get("replicas", constant("", frame.n)))
        frame.warn(
            f"{int(many.sum())} rows sum up several replicas ({header!r} is a whole multiple): batch is per replica"
        )
    _per_gpu(frame, group, found.metric, throughput)


def _per_gpu(frame: Frame, group: Bools, metric: str, throughput: Floats) -> None:
    """A plain per-device throughput counts the same tokens if it is the throughput over the devices."""
    each = frame.number("throughput_per_gpu")
    same = group & (np.abs(each * frame.number("devices") / throughput - 1) <= _CLOSE)
    if same.any() and metric in {"output_tps", "total_tps"}:
        _merge(frame, f"{metric}_per_gpu", np.where(same, each, np.nan))


def _merge(frame: Frame, metric: str, values: Floats) -> None:
    known = frame.numbers.get((metric, _VALUE))
    frame.numbers[(metric, _VALUE)] = values if known is None else np.where(np.isnan(known), values, known)
    frame.headers.setdefault((metric, _VALUE), frame.headers.get(("throughput", _VALUE), metric))


def _note(frame: Frame, name: str, rows: Bools, text: str) -> None:
    known: Texts = frame.notes.get(name, constant("", frame.n))
    frame.notes[name] = np.where(rows, text, known)


def _batch_is_no_load(frame: Frame, group: Bools, engine: str) -> None:
    batch = frame.number("batch_size")
    rows = group & np.isfinite(batch)
    text = np.where(rows, np.char.mod("%g", np.where(rows, batch, 0)), "").astype(object)
    header = frame.headers[("batch_size", _VALUE)]
    where = f"{int(rows.sum())} {engine} rows"
    if engine == _LLAMACPP:
        known = frame.config.get("n_batch", constant("", frame.n))
        frame.config["n_batch"] = np.where(known != "", known, text)
        frame.numbers[("batch_size", _VALUE)] = np.where(rows, 1.0, batch)
        frame.warn(
            f"column {header!r} does not count in the throughput of {where}: it is n_batch there, and one request runs"
        )
        return
    frame.extra[header] = np.where(rows, text, frame.extra.get(header, constant("", frame.n)))
    frame.numbers[("batch_size", _VALUE)] = np.where(rows, np.nan, batch)
    frame.warn(f"column {header!r} does not count in the throughput of {where}: it is kept in extra, not as batch size")


def _leave_in_extra(frame: Frame, rows: Bools, header: str, engine: str) -> None:
    text = next(column.text for column in frame.columns if column.header == header)
    frame.extra[header] = np.where(rows, text, frame.extra.get(header, constant("", frame.n)))
    which = f" of {engine}" if engine else ""
    frame.warn(
        f"column {header!r}{which} does not say whether output, total or request throughput it is, and no other column "
        "tells: kept in extra; name it with --map (output_tps, total_tps or request_tps)"
    )
