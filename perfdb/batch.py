"""The seam between importers and the store: many source records as columns, the impossible ones set aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
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
    `bad` are records set aside, which are not among the n. `columns` is what each column of the file was read as:
    name -> (field, unit) as a column map says it.
    """

    rows: npt.NDArray[np.int64]
    context: Mapping[str, npt.NDArray[Any]]
    values: Mapping[tuple[str, Statistic], npt.NDArray[np.float64]]
    bad: tuple[BadRow, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    columns: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(self.rows), *map(len, self.context.values()), *map(len, self.values.values())}
        if len(lengths) > 1:
            raise ValueError(f"batch columns differ in length: {sorted(lengths)}")
        unknown = sorted(set(self.context) - set(CONTEXT))
        if unknown:
            raise ValueError(f"not context columns: {unknown}")


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a record: the sum of those of these `columns` that the file has, over `per`, plus `plus`."""

    columns: tuple[str, ...]
    per: float = 1.0
    plus: float = 0.0


@dataclass(frozen=True)
class Reading:
    """One latency of each record of an `OperationFile`.

    `latency` is in seconds once it is divided; where it is blank or 0 the operation was not measured. `spread` names
    the column of the relative spread, or those of standard deviation and mean. `given` and `numbers` are as those of
    the file and win over them. `when` maps columns to the text that they hold in the records that have this latency,
    `unless` to the text that they hold in those that do not.
    """

    latency: Number
    spread: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, Number] = field(default_factory=dict)
    when: Mapping[str, str] = field(default_factory=dict)
    unless: Mapping[str, str] = field(default_factory=dict)


def _never(_: str) -> bool:
    return False


@dataclass(frozen=True)
class OperationFile:
    """A table of measured operations, Parquet or delimited text, described so that the store reads it by itself.

    Keys are names of `perfdb.operations.COLUMNS`, values names of the file's columns. Of `texts` the first column that
    the file has counts. `given` says what the file does not, and wins; `absent` is taken where the file is silent or
    says a name that we do not know. `words` maps what the file says to what we call it (None: it says nothing). A
    column that nothing names goes to `more`, but for those of `ignored`: where they hold the text given there, or
    always (None). A column whose name `is_secret` is left out, and lines set aside are shown as `redact` makes them.
    """

    path: Path
    readings: tuple[Reading, ...]
    given: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, Number] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    ignored: Mapping[str, str | None] = field(default_factory=dict)
    is_secret: Callable[[str], bool] = _never
    redact: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class Source:
    """One file that was read: its path as shown, SHA-256 of its bytes and settings, format and importer version.

    `settings` is a canonical JSON object: the SHA-256 of its bytes ("bytes") and what the user said of it. Two sources
    of equal settings are one file, read by different importers or versions.
    """

    path: str
    content_hash: str
    format: str
    importer_version: int = 1
    settings: str = "{}"


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """Where the records of one file went: `rows_read == stored + duplicates + quarantined`, always."""

    rows_read: int
    stored: int
    duplicates: int
    quarantined: int
    measurements: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def as_duplicates(self) -> ImportCounts:
        """The counts of the same content once more: each of its records is a duplicate, those set aside then, too."""
        return ImportCounts(self.rows_read, 0, self.rows_read, 0, 0)


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A file as the database knows it, under its number there, with what its records came to when it was imported."""

    source_id: int
    source: Source
    counts: ImportCounts
