"""Operation tables made up for tests: parts with the same keys become one table, as in a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from model.tables.library import Tables
from perfdb.facts.platforms import platform
from perfdb.operations import TEXTS, OperationSet, OperationTable

Part = Mapping[str, Any]
Build = Callable[..., Tables]
SET = ("engine", "engine_version", "op", "dtype", "kv_dtype")


def _columns(part: Part) -> dict[str, np.ndarray]:
    texts = {name: part[name] for name in part if name in TEXTS and isinstance(part[name], str)}
    values = {name: np.atleast_1d(part[name]) for name in part if name not in texts}
    names, arrays = list(values), np.broadcast_arrays(*values.values())
    columns = dict(zip(names, (np.array(array) for array in arrays), strict=True))
    length = len(arrays[0])
    return {**columns, **{name: np.full(length, text, dtype=object) for name, text in texts.items()}}


def table_of(part: Part) -> OperationTable:
    """One part, numbers and texts repeated to the length of its arrays."""
    columns = _columns(part)
    return OperationTable(columns, len(columns["latency_s"]))


def part_key(part: Part) -> dict[str, str]:
    """The texts that all rows of a part have."""
    return {name: value for name, value in part.items() if isinstance(value, str)}


@pytest.fixture
def table_rows() -> Callable[[Part], OperationTable]:
    return table_of


@pytest.fixture
def build_tables() -> Build:
    """`build_tables(*parts, platform=, engine=, version=)`: the tables of one engine version over these parts."""

    def make(*parts: Part, on: str = "h200_sxm", engine: str = "vllm", version: str | None = "0.24.0") -> Tables:
        tables = [table_of(part) for part in parts]
        sets = [
            OperationSet(*(part.get(name) for name in SET), len(table), float(table["latency_s"].min()))
            for part, table in zip(parts, tables, strict=True)
        ]

        def fetch(columns: Sequence[str] | None = None, **key: str | None) -> OperationTable:
            wanted = {name: value for name, value in key.items() if name != "platform" and value is not None}
            at = [place for place, part in enumerate(parts) if wanted.items() <= part_key(part).items()]
            names = {name for place in at for name in tables[place] if columns is None or name in columns}
            found = {name: np.concatenate([tables[place][name] for place in at]) for name in names}
            return OperationTable(found, sum(len(tables[place]) for place in at))

        return Tables(platform(on), engine, version, sets, fetch)

    return make
