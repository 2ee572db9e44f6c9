"""The seam between importers and the store: many source records as columns, the impossible ones set aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from perfdb.metrics import Statistic

CONTEXT = (
    "model",
    "platform",
    "devices",
    "engine",
    "engine_version",
    "config",
    "isl",
    "osl",
    "arrival",
    "concurrency",
    "request_rate",
    "batch_size",
    "lengths",
    "requests",
    "warmup_requests",
    "client",
    "outcome",
    "origin",
    "measured_at",
    "extra",
)
"""Columns that say what was run. `config` and `extra` are canonical JSON objects; None where a fact is unknown."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """One source record that was not stored. `row` is 1-based (header not counted), `column` as in the file."""

    row: int
    column: str
    value: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """n source records of one file.

    `rows` holds their 1-based record numbers, `n`; `context` maps names of `CONTEXT` to arrays, `n` (a name left out
    is unknown for all); `values` maps (metric, statistic) to float64 `n` in the metric's unit, NaN where not given;
    `bad` are records set aside, which are not among the n.
    """

    rows: npt.NDArray[np.int64]
    context: Mapping[str, npt.NDArray[Any]]
    values: Mapping[tuple[str, Statistic], npt.NDArray[np.float64]]
    bad: tuple[BadRow, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        lengths = {len(self.rows), *map(len, self.context.values()), *map(len, self.values.values())}
        if len(lengths) > 1:
            raise ValueError(f"batch columns differ in length: {sorted(lengths)}")
        unknown = sorted(set(self.context) - set(CONTEXT))
        if unknown:
            raise ValueError(f"not context columns: {unknown}")


@dataclass(frozen=True, slots=True)
class Source:
    """One file that was read: its path as shown, SHA-256 of its bytes and settings, format and importer version."""

    path: str
    content_hash: str
    format: str
    importer_version: int = 1


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """Where the records of one file went: `rows_read == stored + duplicates + quarantined`, always."""

    rows_read: int
    stored: int
    duplicates: int
    quarantined: int
    measurements: int
    reasons: Mapping[str, int] = field(default_factory=dict)

    def as_duplicates(self) -> ImportCounts:
        """The counts of the same content once more: each of its records is a duplicate, those set aside then, too."""
        return ImportCounts(self.rows_read, 0, self.rows_read, 0, 0)
