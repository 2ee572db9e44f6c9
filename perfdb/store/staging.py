"""From numpy columns to typed rows of `memory.stage`; a row with a value of the wrong kind gets a `fault` instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from perfdb.batch import Batch
from perfdb.metrics import Statistic, metric
from perfdb.records import Arrival, Origin, Outcome

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

TEXT = (
    "model",
    "platform",
    "engine",
    "engine_version",
    "config",
    "arrival",
    "lengths",
    "client",
    "outcome",
    "origin",
    "extra",
)
WHOLE = ("devices", "concurrency", "batch_size", "requests", "warmup_requests")
REAL = ("isl", "osl", "request_rate")
TIME = ("measured_at",)
_NAMES = {"arrival": Arrival, "outcome": Outcome, "origin": Origin}
_DEFAULTS = {"outcome": Outcome.OK, "origin": Origin.MEASURED}

Fault = tuple[str, str, str, str]
"""(column, SQL that is true where it is wrong, SQL of the value, reason)."""


@dataclass(frozen=True, slots=True)
class Staged:
    """Which columns `memory.stage` has values in: the context by kind, and value columns by (metric, statistic)."""

    text: tuple[str, ...]
    other: tuple[str, ...]
    values: Mapping[tuple[str, Statistic], str]


class Stage:
    """`memory.stage`, filled batch by batch: row, the context columns, one column per (metric, statistic), fault."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen: set[str] = set(_DEFAULTS)
        self._values: dict[tuple[str, Statistic], str] = {}
        kinds = {"VARCHAR": TEXT, "BIGINT": WHOLE, "DOUBLE": REAL, "TIMESTAMP": TIME}
        columns = [f"{name} {kind}" for kind, names in kinds.items() for name in names]
        connection.execute(
            f"""CREATE TABLE memory.stage ("row" BIGINT, {", ".join(columns)},
                fault STRUCT("at" VARCHAR, value VARCHAR, reason VARCHAR))"""
        )

    def add(self, batch: Batch) -> None:
        """Append the records of one batch.

        Raises:
            UnknownNameError: a value is of a metric that is not one of ours.
        """
        if not len(batch.rows):
            return
        given = {"row": batch.rows, **{f"c_{name}": column for name, column in batch.context.items()}}
        columns, faults = self._context(batch.context)
        for position, (key, values) in enumerate(sorted(batch.values.items())):
            name = self._value_column(key)
            given[f"v_{position}"] = values
            columns.append(f'v_{position} AS "{name}"')
            faults.append((name, f"isinf(v_{position})", f"v_{position}", "not a finite number"))
        self._connection.register("batch", {name: plain(column) for name, column in given.items()})
        self._connection.execute(
            f"""INSERT INTO memory.stage BY NAME
                SELECT "row", {", ".join(columns)}, {first_fault(faults)} AS fault FROM batch"""
        )
        self._connection.unregister("batch")

    def done(self) -> Staged:
        """What is there."""
        ordered = dict(sorted(self._values.items()))
        text = tuple(name for name in TEXT if name in self._seen)
        other = tuple(name for name in (*WHOLE, *REAL, *TIME) if name in self._seen)
        return Staged(text, (*other, *ordered.values()), ordered)

    def _context(self, context: Mapping[str, npt.NDArray[Any]]) -> tuple[list[str], list[Fault]]:
        columns, faults = [], []
        for name in (*TEXT, *WHOLE, *REAL, *TIME):
            if name in context:
                self._seen.add(name)
                value, fault = _typed(name, context[name].dtype.kind)
                columns.append(f"{value} AS {name}")
                faults += fault
            elif name in _DEFAULTS:
                columns.append(f"'{_DEFAULTS[name]}' AS {name}")
        return columns, faults

    def _value_column(self, key: tuple[str, Statistic]) -> str:
        if key not in self._values:
            name = f"{metric(key[0]).name}/{Statistic(key[1])}"
            self._connection.execute(f'ALTER TABLE memory.stage ADD COLUMN "{name}" DOUBLE')
            self._values[key] = name
        return self._values[key]


def plain(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Fixed-width numpy text as objects: DuckDB would make an enum of it."""
    return column.astype(object) if column.dtype.kind in "US" else column


def _typed(name: str, kind: str) -> tuple[str, list[Fault]]:
    """SQL that reads column `c_NAME` of numpy kind `kind` as our type, and its fault where it cannot be read."""
    given = f"c_{name}"
    if name in TEXT:
        return _text(name, given)
    if name in TIME:
        value, reason = time_of(given, kind), "not a time"
        return value, [(name, f"{given} IS NOT NULL AND {value} IS NULL", given, reason)]
    number = f"TRY_CAST({given} AS DOUBLE)"
    if name in REAL:
        wrong = f"{given} IS NOT NULL AND ({number} IS NULL OR isnan({number}))"
        return number, [(name, wrong, given, "not a number")]
    whole = f"TRY_CAST({number} AS BIGINT)"
    wrong = f"{given} IS NOT NULL AND NOT coalesce({whole} = {number}, false)"
    return whole, [(name, wrong, given, "not a whole number")]


def _text(name: str, given: str) -> tuple[str, list[Fault]]:
    if name not in _NAMES:
        return f"{given}::VARCHAR", []
    known = ", ".join(f"'{member}'" for member in _NAMES[name])
    reason = f"not one of {known}".replace("'", "")
    value = f"coalesce({given}::VARCHAR, '{_DEFAULTS[name]}')" if name in _DEFAULTS else f"{given}::VARCHAR"
    return value, [(name, f"{given}::VARCHAR NOT IN ({known})", given, reason)]


def time_of(given: str, kind: str = "O") -> str:
    """SQL of a column of numpy kind `kind` as a time in UTC.

    Read are Unix seconds, numpy datetimes, ISO 8601 (UTC where no zone is given), and vllm's 20250131-235959.
    """
    if kind == "M":
        return f"{given}::TIMESTAMP"
    # other numbers are no plausible Unix seconds: milliseconds, or a bare 20250131
    seconds = f"CASE WHEN TRY_CAST({given} AS DOUBLE) BETWEEN 1e8 AND 1e11 THEN to_timestamp({given}::DOUBLE) END"
    if kind in "fiu":
        return f"({seconds})::TIMESTAMP"
    text = f"{given}::VARCHAR"
    formats = "['%Y%m%d-%H%M%S', '%Y%m%d']"
    return (
        f"coalesce(TRY_CAST({text} AS TIMESTAMPTZ)::TIMESTAMP, try_strptime({text}, {formats}), ({seconds})::TIMESTAMP)"
    )


def first_fault(faults: list[Fault]) -> str:
    """SQL of the first fault of a row, or NULL."""
    if not faults:
        return "NULL"
    cases = [
        f"""WHEN {wrong} THEN {{'at': '{name.replace("'", "''")}', 'value': {value}::VARCHAR, 'reason': '{reason}'}}"""
        for name, wrong, value, reason in faults
    ]
    return f"CASE {' '.join(cases)} END"
