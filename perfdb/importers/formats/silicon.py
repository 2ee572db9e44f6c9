"""The `silicon` importer: aiconfigurator's collection of measured serving runs (`silicon_sample.csv`).

The only measured columns are `silicon_ttft_ms` and `silicon_tpot_ms`; all others say what was run. Runs under the loads
of a benchmark sweep are collected from several exports, so the same run may stand there several times, and where its
parallelism was converted from another notation it may be wrong: such rows are set aside with the reason. How the
servers of the sweeps were started is added from their public scripts (`perfdb.facts.inferencex`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from perfdb.batch import BadRow, Batch
from perfdb.errors import FileError
from perfdb.facts.inferencex import launched
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.cells import Floats, number, to_numbers
from perfdb.importers.table.frame import Table
from perfdb.importers.table.textfile import header_of, read_table
from perfdb.texts import Bools, TextColumn

TTFT, TPOT = "silicon_ttft_ms", "silicon_tpot_ms"
_KEYS = frozenset({TTFT, TPOT, "silicon_data_source", "mode", "system", "model_path"})
_SAME = {
    "model_path": "model",
    "system": "platform",
    "backend": "engine",
    "isl": "isl",
    "osl": "osl",
    TTFT: "ttft_ms",
    TPOT: "tpot_ms",
    "id": "extra.id",
    "silicon_data_source": "extra.silicon_data_source",
}
_ROLES = {"tp_size": "tp", "pp_size": "pp"}
_CONCURRENCY = re.compile(r"(?:^|;\s*)silicon_concurrency=([\d.]+)")
_MEASURED = re.compile(r"(?:^|;\s*)measured=([^;]+)")
_DYNAMO = re.compile(r"ai-dynamo/\w+-runtime:([\w.+-]+)$")
_NAMED_TP = re.compile(r"_tp(\d+)(?:_\d+)?_ep\d")
_SWEEP = re.compile(r"db-dump|source_file=20\d\d-")
_SIDES = ("prefill_", "decode_")


def sniff(head: bytes, path: Path) -> float:
    """0.95 for a CSV with the two measured columns and the source of each row, else 0."""
    return 0.95 if set(header_of(head, ",")) >= _KEYS else 0.0


def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
    """One batch with a record per row that is neither a copy of another nor contradicts itself.

    Raises:
        FileError: the file lacks a column of the collection.
    """
    table = read_table(path, ",")
    missing = sorted(_KEYS - set(table.header))
    if missing:
        raise FileError(f"{path}: no column {missing[0]!r}; expected aiconfigurator's silicon_sample.csv")
    rows = _Rows(table)
    reasons = _reasons(rows)
    bad = [BadRow(int(table.rows[row]), *reasons[row]) for row in sorted(reasons)]
    good = np.array([row not in reasons for row in range(len(table.rows))], dtype=bool)
    columns = {name: column.take(good) for name, column in _columns(rows).items()}
    warnings = (*table.warnings, *_warnings(rows, good))
    yield assemble(
        Table(tuple(columns), tuple(columns.values()), table.rows[good], (*table.bad, *bad), warnings), settings
    )


class _Rows:
    """The n rows by column: text as it is, numbers with NaN where blank or no number."""

    def __init__(self, table: Table) -> None:
        self.n = len(table.rows)
        self.numbered = table.rows
        self.columns = dict(zip(table.header, table.columns, strict=True))
        self._numbers: dict[str, Floats] = {}

    def text(self, name: str) -> TextColumn:
        return self.columns.get(name, TextColumn.constant("", self.n))

    def number(self, name: str) -> Floats:
        if name not in self._numbers:
            self._numbers[name] = to_numbers(self.text(name))[0]
        return self._numbers[name]

    @property
    def is_aggregated(self) -> Bools:
        return self.text("mode").is_in(("agg",))

    @property
    def is_sweep(self) -> Bools:
        """Rows of the sweeps of InferenceX."""
        return self.text("silicon_data_source").mask(_SWEEP.match)

    @property
    def in_flight(self) -> Floats:
        """Requests that were kept in flight, `n`."""
        return self.text("silicon_data_source").numbers(lambda text: number(_first(_CONCURRENCY, text)))

    def devices_of(self, side: str) -> Floats:
        """Devices of one worker, `n`: tp × pp × attention DP, which is 1 where it is not told."""
        dp = self.number(f"{side}attention_dp_size")
        return self.number(f"{side}tp_size") * self.number(f"{side}pp_size") * np.where(np.isnan(dp), 1.0, dp)

    def runs(self) -> list[list[int]]:
        """Rows with one pair of measured values: one run each, however often it is told."""
        found: dict[tuple[str, str], list[int]] = {}
        for row, pair in enumerate(zip(self.text(TTFT), self.text(TPOT), strict=True)):
            found.setdefault(pair if all(pair) else ("", str(row)), []).append(row)
        return list(found.values())


def _reasons(rows: _Rows) -> dict[int, tuple[str, str, str]]:
    """Row -> (column, cell, reason) of the rows that are set aside."""
    split = _impossible_splits(rows)
    squared, devices = _is_squared(rows), rows.devices_of("")
    told = np.sum([column.said() for column in rows.columns.values()], axis=0)
    found: dict[int, tuple[str, str, str]] = {}
    for run in rows.runs():
        wrong = _wrong_devices(rows, run, devices, squared) | {row: split[row] for row in run if row in split}
        kept = min(run, key=lambda row: (row in wrong, -int(told[row]), row))
        found |= wrong
        for row in run:
            if row != kept and row not in wrong:
                shown = f"{rows.text(TTFT)[row]}, as in row {rows.numbered[kept]}"
                found[row] = (TTFT, shown, "a run that stands here twice: both times are equal to the last digit")
    return found


def _wrong_devices(rows: _Rows, run: list[int], devices: Floats, squared: Bools) -> dict[int, tuple[str, str, str]]:
    """Rows of one aggregated run whose devices are not those that an id of it names, or that no id confirms."""
    ids, cells = rows.text("id"), rows.text("tp_size")
    aggregated = [row for row in run if rows.text("mode")[row] == "agg"]
    named = {int(found[1]) for row in aggregated if (found := _NAMED_TP.search(ids[row]))}
    wrong = {}
    for row in aggregated:
        if len(named) == 1 and devices[row] not in (*named, 0):
            shown = f"{cells[row]}, {devices[row]:g} devices; its id says tp{min(named)}"
            wrong[row] = ("tp_size", shown, "tp_size × attention_dp_size is not what the id of this run names")
        elif not named and squared[row]:
            shown = f"{cells[row]}, {devices[row]:g} devices"
            wrong[row] = ("tp_size", shown, "the product of tp and ep, as in rows that their ids disprove")
    return wrong


def _is_squared(rows: _Rows) -> Bools:
    """Rows of a sweep whose tp devices, which are also ep devices, were counted as tp × ep, `n`."""
    moe_tp, moe_ep, tp, dp = (
        rows.number(name) for name in ("moe_tp_size", "moe_ep_size", "tp_size", "attention_dp_size")
    )
    is_square = ((moe_tp == moe_ep) & (moe_ep > 1)) | ((tp == dp) & (dp > 1))
    return np.asarray(is_square & (moe_tp * moe_ep == tp * dp) & rows.is_sweep, dtype=bool)


def _impossible_splits(rows: _Rows) -> dict[int, tuple[str, str, str]]:
    """Rows in which the experts of a worker are split into a number of parts that divides no layer, and the other
    aggregated rows of a sweep most of whose rows are such."""
    found = {}
    for side in ("", *_SIDES):
        name = f"{side}moe_tp_size"
        parts = rows.number(name)
        impossible = (parts > 1) & (np.log2(np.maximum(parts, 1)) % 1 != 0)
        alike = _of_same_sweep(rows, impossible) if not side else np.zeros(rows.n, dtype=bool)
        for row in np.flatnonzero(impossible | alike):
            why = "no layer can be split so" if impossible[row] else "so it is in most rows of this sweep"
            reason = f"{why}: the devices of the whole deployment, not of a worker"
            found[int(row)] = (name, rows.text(name)[int(row)], reason)
    return found


def _of_same_sweep(rows: _Rows, impossible: Bools) -> Bools:
    """Aggregated rows of a sweep of one model, system, engine and precision most of whose rows are `impossible`, `n`:
    the number of devices of a deployment may happen to divide a layer."""
    chosen = rows.is_aggregated & rows.is_sweep
    names = ("model_path", "system", "backend", "precision")
    keys = np.array(["\t".join(key) for key in zip(*(rows.text(name) for name in names), strict=True)], dtype=object)
    found = np.zeros(rows.n, dtype=bool)
    for key in set(keys[chosen & impossible]):
        members = chosen & (keys == key)
        found |= members & ~impossible & (impossible[members].mean() > 0.5)
    return found


def _columns(rows: _Rows) -> dict[str, TextColumn]:
    """Column -> cells in our names. Attention DP is no replica: its ranks share the experts of one worker."""
    source = rows.text("silicon_data_source")
    unsure = ~_load_agrees(rows)
    found = {new: rows.text(old) for old, new in _SAME.items()}
    found |= {new: rows.text(old).blank(unsure) for old, new in _ROLES.items()}
    others = [name for name in rows.columns if name not in {*_SAME, *_ROLES, "backend_version", "batch_size"}]
    found |= {f"config.{name}": rows.text(name) for name in others}
    # without devices a product of tp and pp would be taken for them
    found |= {f"config.stated_{old}": rows.text(old).blank(~unsure) for old in _ROLES}
    found |= _launch_settings(rows)
    return found | {
        # the load of one attention DP rank; what was sent is the concurrency
        "extra.batch_size": rows.text("batch_size"),
        "concurrency": source.map(lambda text: _first(_CONCURRENCY, text)),
        "measured_at": source.map(lambda text: _first(_MEASURED, text)),
        "engine_version": rows.text("backend_version").pairs(source, _engine_version),
        "extra.dynamo_version": source.map(lambda text: _first(_DYNAMO, text)),
        "devices": _texts(_devices(rows, unsure)),
    }


def _launch_settings(rows: _Rows) -> dict[str, TextColumn]:
    """Columns with what the scripts of the sweeps say of their aggregated servers, and the table does not."""
    told: list[dict[str, str]] = [{} for _ in range(rows.n)]
    isl, tp, sent = rows.number("isl"), rows.number("tp_size"), rows.in_flight
    texts = [rows.text(name) for name in ("backend", "model_path", "precision", "system", "backend_version")]
    for row in np.flatnonzero(rows.is_aggregated & rows.is_sweep & np.isfinite(isl + sent)).tolist():
        size = None if np.isnan(tp[row]) else int(tp[row])
        told[row] = launched(*(text[row] for text in texts), tp=size, isl=int(isl[row]), in_flight=int(sent[row]))
    names = sorted({name for settings in told for name in settings})
    return {f"config.{name}": TextColumn.of([settings.get(name, "") for settings in told]) for name in names}


def _says_nothing(rows: _Rows, side: str) -> Bools:
    """Rows whose worker has size one everywhere, `n`."""
    sizes = [rows.number(f"{side}{name}") for name in ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")]
    return np.asarray(np.all([size == 1 for size in sizes], axis=0), dtype=bool)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1].strip() if found else ""


def _engine_version(version: str, source: str) -> str:
    """The version, unless it is that of the Dynamo image around the engine, which says nothing of the engine's."""
    return "" if version == _first(_DYNAMO, source) else version


def _load_agrees(rows: _Rows) -> Bools:
    """Rows that are disaggregated, or whose concurrency is that of all ranks: else several workers share it, `n`."""
    sent = rows.in_flight
    ranks = rows.number("attention_dp_size")
    of_all = rows.number("batch_size") * np.where(np.isnan(ranks), 1.0, ranks)
    return np.asarray(~rows.is_aggregated | (np.abs(sent - of_all) < 1), dtype=bool)


def _devices(rows: _Rows, unsure: Bools) -> Floats:
    """Devices of the deployment, `n`; NaN where the number of its workers is not told."""
    parts = [rows.number(f"{side}num_workers") * rows.devices_of(side) for side in _SIDES]
    return np.where(rows.is_aggregated, np.where(unsure, np.nan, rows.devices_of("")), parts[0] + parts[1])


def _texts(values: Floats) -> TextColumn:
    return TextColumn.of(["" if np.isnan(value) else f"{value:g}" for value in values])


def _warnings(rows: _Rows, good: Bools) -> Iterator[str]:
    """What a reader of the numbers must know."""
    models = rows.text("model_path")
    unlike = [run for run in rows.runs() if len({models[row] for row in run}) > 1 and good[run].any()]
    if unlike:
        names = ", ".join(sorted({models[row] for run in unlike for row in run}))
        yield f"the copies of {len(unlike)} runs differ in model_path ({names}): that of the copy kept was taken"
    source = rows.text("silicon_data_source")
    dynamo = rows.text("backend_version").pairs(source, _engine_version).said() != rows.text("backend_version").said()
    if (dynamo & good).any():
        yield f"backend_version is the Dynamo image's in {(dynamo & good).sum()} rows: the engine's is unknown there"
    ones = np.any([_says_nothing(rows, side) for side in _SIDES], axis=0) & ~rows.is_aggregated & good
    if ones.any():
        yield (
            f"a prefill or decode worker is one device in all sizes in {ones.sum()} rows; copies of such runs say "
            "otherwise: take it as not told"
        )
    unsure = ~_load_agrees(rows) & good
    if unsure.any():
        yield (
            f"concurrency is not batch_size × attention_dp_size in {unsure.sum()} aggregated rows, so that the number "
            "of workers is unknown: no devices there"
        )


IMPORTER = Importer("silicon", 2, sniff, read, "aiconfigurator's silicon_sample.csv of serving runs", is_lines=True)
