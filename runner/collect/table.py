"""Times as a table of operations under our own names of columns, which `servecast import` reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perfdb.operations import ARGUMENTS, OperationTable
from perfdb.records import canonical_json
from runner.collect.cases import GEMM
from runner.collect.journal import Timed

_WORTH_TELLING = 0.001


def file_name(about: Mapping[str, Any]) -> str:
    """A table's name, which tells platform, library and version."""
    words = (about["platform"], about["library"], about["version"])
    return "_".join(re.sub(r"[^\w.-]+", "-", str(word)) for word in words) + ".parquet"


def table_of(about: Mapping[str, Any], timed: Sequence[Timed]) -> OperationTable:
    """One row per case that has times, but those of a busy machine; ordered by what was asked."""
    rows = sorted((_row(about, each) for each in timed if each.error is None and not each.is_busy), key=_order)
    texts = ("platform", "engine", "engine_version", "op", "dtype", "kv_dtype", "kernel", "statistic", "origin", "more")
    columns: dict[str, np.ndarray] = {}
    for name in texts:
        columns[name] = np.empty(len(rows), dtype=object)
        columns[name][:] = [row.get(name) for row in rows]
    for name in (*ARGUMENTS, "latency_s", "spread", "measured_at"):
        if any(name in row for row in rows):
            columns[name] = np.array([row.get(name, np.nan) for row in rows], dtype=np.float64)
    return OperationTable(columns, len(rows))


def _row(about: Mapping[str, Any], timed: Timed) -> dict[str, Any]:
    asked, answer = timed.asked, timed.answer
    more: dict[str, Any] = {"device": about["device"], "threads": about["threads"], "repeats": len(answer["samples"])}
    if timed.waited >= _WORTH_TELLING:
        more["waited"] = round(timed.waited, 3)
    if answer["outliers"]:
        more["outliers"] = answer["outliers"]
    row = {
        "platform": about["platform"],
        "engine": about["library"],
        "engine_version": about["version"],
        "kernel": answer["kernel"],
        "statistic": "median",
        "origin": "measured",
        "more": canonical_json(more),
        "latency_s": answer["latency_s"],
        "spread": timed.spread,
        "measured_at": timed.measured_at,
        **asked,
    }
    return row if asked["op"] == GEMM else {**row, "kv_dtype": asked["dtype"], "window_size": 0}


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["op"], row["dtype"], *(row.get(name, -1) for name in ARGUMENTS))
