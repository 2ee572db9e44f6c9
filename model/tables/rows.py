"""Rows of an operation table as numbers: keys, arguments and seconds of one kernel."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from model.checkpoint.architecture import resolve_model
from model.dtypes import dtype as known_format
from model.prediction import Bools, Floats
from model.tables.distinct import distinct
from model.tables.grid import Ints
from model.tables.kernels import ALL_HEADS, EXPERTS, Kernel
from model.tables.shapes import Indexed, indexed_of
from perfdb.errors import InputError
from perfdb.operations import DTYPE_BYTES, OperationTable

_DEVICES_OF_HOST, _DEVICES_OF_RACK = 8.0, 4.0


@dataclass(frozen=True)
class Rows:
    """r measurements: `keys` `r x key`, `arguments` one `r` per axis, `seconds` `r`."""

    keys: Floats
    arguments: list[Floats]
    seconds: Floats


def columns_of(kernel: Kernel) -> tuple[str, ...]:
    """The columns of operation tables that the rows of a kernel are made from."""
    made_from = [_MADE_FROM.get(name, (name,)) for name in (*kernel.keys, *kernel.axes)]
    return tuple(dict.fromkeys(["kernel", "kv_dtype", "latency_s", *(name for names in made_from for name in names)]))


def measured_rows(table: OperationTable, kernel: Kernel) -> Rows:
    """The usable rows of `table`: complete, positive, and of one implementation where several measured one place."""
    keys = [_column(table, name) for name in kernel.keys]
    arguments = [_column(table, name) for name in kernel.axes]
    seconds = table["latency_s"]
    whole = np.isfinite(seconds) & (seconds > 0) & _made_by(table["kernel"], kernel.made_by)
    for values in (*keys, *arguments):
        whole &= np.isfinite(values)
    kept = np.flatnonzero(whole)
    kept = kept[
        _preferred(table["kernel"][kept], [values[kept] for values in (*keys, *arguments)], seconds[kept], kernel)
    ]
    stacked = np.stack([values[kept] for values in keys], axis=1) if keys else np.zeros((len(kept), 0))
    rows = Rows(stacked, [values[kept] for values in arguments], seconds[kept])
    return _with_all_heads(rows, kernel) if "kv_heads" in kernel.keys else rows


def _made_by(names: np.ndarray, ending: str) -> Bools:
    if not ending:
        return np.ones(len(names), bool)
    return np.array([str(name).endswith(ending) for name in names.tolist()], bool)


def _with_all_heads(rows: Rows, kernel: Kernel) -> Rows:
    """Where each head has keys and values of its own, rows form slices of their own, and end those of their number."""
    heads, at = rows.arguments[0], kernel.keys.index("kv_heads")
    own = rows.keys[:, at] == heads
    shared = np.isin(rows.keys[:, at], np.unique(rows.keys[~own, at]))
    keys = rows.keys.copy()
    keys[own, at] = ALL_HEADS
    both = np.flatnonzero(own & shared)
    keys = np.concatenate([keys, rows.keys[both]])
    again = [np.concatenate([values, values[both]]) for values in (*rows.arguments, rows.seconds)]
    return Rows(keys, again[:-1], again[-1])


def _preferred(names: np.ndarray, columns: list[Floats], seconds: Floats, kernel: Kernel) -> Ints:
    """Rows to keep, of several implementations of one place.

    Engines try those of experts and take the fastest. Of others the one captured in a graph counts, then the most
    measured one.
    """
    if len(set(names.tolist())) < 2:
        return np.arange(len(names))
    if kernel.op == EXPERTS.op:
        rank = seconds
    else:
        counts = Counter(names.tolist())
        order = sorted(counts, key=lambda name: (str(name).endswith("eager"), -counts[name], str(name)))
        usual = {name: float(number) for number, name in enumerate(order)}
        rank = np.array([usual[name] for name in names.tolist()])
    first, place = distinct(columns, len(names))
    best = np.full(len(first), np.inf)
    np.minimum.at(best, place, rank)
    return np.flatnonzero(rank == best[place])


def _column(table: OperationTable, name: str) -> Floats:
    made = _MADE.get(name)
    return made(table) if made else table[name]


def _known(values: Floats, otherwise: float = 0.0) -> Floats:
    return np.where(np.isnan(values), otherwise, values)


def _window(table: OperationTable) -> Floats:
    return _known(table["window_size"])


def _prefix(table: OperationTable) -> Floats:
    return _known(table["prefix"])


def _cached(table: OperationTable) -> Floats:
    """Tokens in the cache when a sequence has made its new one."""
    return _prefix(table) + _known(table["isl"], 1.0)


def _skew(table: OperationTable) -> Floats:
    """Exponent of the power law by which tokens choose experts, 0 where they choose evenly."""
    names = table["distribution"]
    exponents = {name: _exponent(name) for name in set(names.tolist())}
    return np.array([exponents[name] for name in names.tolist()], dtype=np.float64)


def _exponent(name: str | None) -> float:
    found = re.search(r"power_law_(\d+(?:\.\d+)?)", name or "")
    return float(found[1]) if found else 0.0


def _bytes(table: OperationTable) -> Floats:
    widths = {name: DTYPE_BYTES.get(name, 2.0) for name in set(table["dtype"].tolist())}
    numbers = table["elements"] * np.array([widths[name] for name in table["dtype"].tolist()])
    return np.where(np.isfinite(table["bytes"]), table["bytes"], numbers)


def _ones(name: str) -> Callable[[OperationTable], Floats]:
    return lambda table: _known(table[name], 1.0)


def _expert_devices(table: OperationTable) -> Floats:
    """Where a source counts hosts instead of devices: those of NVL72 racks have 4, others 8."""
    each = [_DEVICES_OF_RACK if str(name).startswith("gb") else _DEVICES_OF_HOST for name in table["platform"].tolist()]
    return np.where(np.isfinite(table["moe_ep"]), table["moe_ep"], table["nodes"] * np.array(each, np.float64))


def _weight_bytes(table: OperationTable) -> Floats:
    return _of_names(table["gemm_dtype"], lambda name: known_format(name or "bf16").bytes)


def _of_latent(size: str) -> Callable[[OperationTable], Floats]:
    """A size of the latent attention of the model that a row names."""
    return lambda table: _of_names(table["model"], lambda name: _latent_size(name, size))


def _latent_size(name: str | None, size: str) -> float:
    try:
        found = resolve_model(name or "")
    except InputError:
        return np.nan
    return float(getattr(indexed_of(found), size)) if found.is_mla else np.nan


def _of_names(names: np.ndarray, value: Callable[[str | None], float]) -> Floats:
    found = {name: value(name) for name in set(names.tolist())}
    return np.array([found[name] for name in names.tolist()], dtype=np.float64)


_MADE_FROM: Mapping[str, tuple[str, ...]] = {
    "kv": ("prefix", "isl"),
    "skew": ("distribution",),
    "bytes": ("bytes", "elements", "dtype"),
    "weight_bytes": ("gemm_dtype",),
    "expert_devices": ("moe_ep", "nodes", "platform"),
    **dict.fromkeys(Indexed._fields, ("model",)),
}
_MADE: Mapping[str, Callable[[OperationTable], Floats]] = {
    "window_size": _window,
    "prefix": _prefix,
    "kv": _cached,
    "skew": _skew,
    "bytes": _bytes,
    "weight_bytes": _weight_bytes,
    **{name: _of_latent(name) for name in Indexed._fields},
    "moe_tp": _ones("moe_tp"),
    "moe_ep": _ones("moe_ep"),
    "expert_devices": _expert_devices,
}
