"""What a plain "throughput" counts, and whether it was measured at all: both are told by arithmetic, never assumed."""

from __future__ import annotations

import numpy as np

from perfdb.facts.engines import ENGINES
from perfdb.importers.table.cells import Floats
from perfdb.importers.table.declared import merge, settle_declared
from perfdb.importers.table.frame import Frame
from perfdb.importers.table.readings import ANY, CLOSE, TOKENS, Candidate, best, replicas_in
from perfdb.metrics import Statistic
from perfdb.texts import Bools, TextColumn

_VALUE = Statistic.VALUE
_EXACT = 1e-4
_LLAMACPP = "llamacpp"
_MOST_ENGINES = 50
"""Beyond these the column is no list of engines, and those that we do not know are judged together."""


def settle_throughput(frame: Frame) -> None:
    """Turn the helper `throughput` into the metric that it is; keep it in `extra` where nothing tells which.

    Notes with each record: `derived` (the throughput is a formula of the latency, so no second measurement), and
    `throughput_is` (what decided). Where the batch does not count in the throughput of llama.cpp rows, "batch size" was
    n_batch and moves to the config. Rows that declare tokens are not read as requests.
    """
    is_tokens = settle_declared(frame)
    throughput = frame.number("throughput")
    if np.isfinite(throughput).any():
        _settle_groups(frame, throughput, is_tokens)
    each = np.isfinite(frame.number("throughput_per_gpu"))
    taken = [frame.value(f"{metric}_per_gpu") for metric in sorted(TOKENS)]
    _leave_in_extra(frame, each & np.isnan(taken).all(axis=0), "throughput_per_gpu", "")


def _settle_groups(frame: Frame, throughput: Floats, is_tokens: Bools) -> None:
    engines = frame.text("engine").distinct()
    if len(engines.known) > _MOST_ENGINES:
        engines = engines.map(lambda name: name if name in ENGINES else "").distinct()
    for code, name in enumerate(engines.known):
        for rows, metrics in ((is_tokens, TOKENS), (~is_tokens, ANY)):
            group: Bools = (engines.codes == code) & rows & np.isfinite(throughput)
            if group.any():
                _settle(frame, group, throughput, name, metrics)
    derived = int(frame.note("derived").said().sum())
    if derived:
        header = frame.headers[("throughput", _VALUE)]
        frame.warn(f"column {header!r} is a formula of the latency in {derived} rows: derived there, not measured")


def _settle(frame: Frame, group: Bools, throughput: Floats, engine: str, metrics: frozenset[str]) -> None:
    found = best(frame, group & frame.good(), throughput, metrics)
    if found is None:
        _leave_in_extra(frame, group, "throughput", engine)
        return
    _take(frame, group, found, throughput)
    if not found.counts_batch:
        _batch_is_no_load(frame, group, engine)


def _take(frame: Frame, group: Bools, found: Candidate, throughput: Floats) -> None:
    merge(frame, found.metric, np.where(group, throughput, np.nan))
    ratio = throughput / found.implied
    replicas = np.where(group & np.isfinite(ratio), replicas_in(ratio), 1.0)
    is_formula = "latency" in found.formula
    derived = group & (np.abs(ratio / replicas - 1) <= _EXACT) if is_formula else np.zeros(frame.n, dtype=bool)
    _note(frame, "derived", derived, f'["{found.metric}"]')
    _note(frame, "throughput_is", group & np.isfinite(throughput), f'"{found.metric}: {found.formula}"')
    many = replicas > 1
    if many.any():
        counts = TextColumn.of([f"{count:g}" for count in replicas])
        frame.config["replicas"] = counts.where(many, frame.config.get("replicas", TextColumn.constant("", frame.n)))
        header = frame.headers[("throughput", _VALUE)]
        frame.warn(
            f"{int(many.sum())} rows sum up several replicas ({header!r} is a whole multiple): batch is per replica"
        )
    _per_gpu(frame, group, found.metric, throughput)


def _per_gpu(frame: Frame, group: Bools, metric: str, throughput: Floats) -> None:
    """A plain per-device throughput counts the same tokens if it is the throughput over the devices."""
    each = frame.number("throughput_per_gpu")
    same = group & (np.abs(each * frame.number("devices") / throughput - 1) <= CLOSE)
    if same.any() and metric in {"output_tps", "total_tps"}:
        merge(frame, f"{metric}_per_gpu", np.where(same, each, np.nan))


def _note(frame: Frame, name: str, rows: Bools, text: str) -> None:
    frame.notes[name] = TextColumn.constant(text, frame.n).where(rows, frame.note(name))


def _batch_is_no_load(frame: Frame, group: Bools, engine: str) -> None:
    batch = frame.number("batch_size")
    rows = group & np.isfinite(batch)
    text = TextColumn.of([f"{size:g}" for size in batch]).blank(~rows)
    header = frame.headers[("batch_size", _VALUE)]
    where = f"{int(rows.sum())} {engine} rows"
    if engine == _LLAMACPP:
        frame.config["n_batch"] = frame.config.get("n_batch", text).or_else(text)
        frame.numbers[("batch_size", _VALUE)] = np.where(rows, 1.0, batch)
        frame.warn(
            f"column {header!r} does not count in the throughput of {where}: it is n_batch there, and one request runs"
        )
        return
    frame.extra[header] = frame.extra.get(header, text).or_else(text)
    frame.numbers[("batch_size", _VALUE)] = np.where(rows, np.nan, batch)
    frame.warn(f"column {header!r} does not count in the throughput of {where}: it is kept in extra, not as batch size")


def _leave_in_extra(frame: Frame, rows: Bools, name: str, engine: str) -> None:
    if not rows.any():
        return
    header = frame.headers[(name, _VALUE)]
    text = frame.column(header).blank(~rows)
    frame.extra[header] = frame.extra.get(header, text).or_else(text)
    which = f" of {engine}" if engine else ""
    frame.warn(
        f"column {header!r}{which} does not say whether output, total or request throughput it is, and no other column "
        "tells: kept in extra; name it with --map (output_tps, total_tps or request_tps)"
    )
