"""Tables of measured operations (GEMMs, attention, collectives): what a roofline is corrected with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perfdb.batch import ImportCounts, Source
from perfdb.store.arrays import as_arrays
from perfdb.store.connect import Database
from perfdb.store.engine import engine, transaction
from perfdb.store.identity import keep_new, number_records
from perfdb.store.sources import add_quarantine, add_source, known, next_id, staged_faults, tally
from perfdb.store.staging import first_fault, plain

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

TEXT = ("platform", "engine", "engine_version", "op", "dtype", "shape")
NUMBERS = ("a1", "a2", "a3", "a4", "a5", "a6", "latency_s", "spread")
FILTERS = ("platform", "engine", "op", "dtype")


def add_operations(database: Database, source: Source, columns: Mapping[str, npt.NDArray[Any]]) -> ImportCounts:
    """Import one operation table, all or nothing; see `Store.add_operations`."""
    lengths = {len(column) for column in columns.values()}
    unknown = sorted(set(columns) - {*TEXT, *NUMBERS})
    if unknown or len(lengths) != 1 or not {"op", "latency_s"} <= set(columns):
        raise ValueError(f"operation columns {sorted(columns)} need op, latency_s, one length, and none of {unknown}")
    with engine() as connection:
        _stage(connection, columns)
        number_records(connection, TEXT, NUMBERS)
        bad = staged_faults(connection)
        with database.writing(connection):
            first = known(connection, [source.content_hash]).get(source.content_hash)
            if first:
                return first.as_duplicates()
            stored = keep_new(connection, "op_measurements")
            sound = lengths.pop() - len(bad)
            counts = tally(ImportCounts(sound, stored, sound - stored, 0, stored), bad)
            source_id = next_id(connection, "sources", "source_id")
            with transaction(connection):
                _write(connection, source_id)
                add_quarantine(connection, source_id, source, bad)
                add_source(connection, source_id, source, counts)
            return counts


def _stage(connection: Connection, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    given = {f"c_{name}": plain(column) for name, column in columns.items()}
    text = [f"c_{n}::VARCHAR AS {n}" if n in columns else f"NULL::VARCHAR AS {n}" for n in TEXT]
    numbers = [f"TRY_CAST(c_{n} AS DOUBLE) AS {n}" if n in columns else f"NULL::DOUBLE AS {n}" for n in NUMBERS]
    faults = [
        (n, f"c_{n} IS NOT NULL AND NOT coalesce(isfinite(TRY_CAST(c_{n} AS DOUBLE)), false)", f"c_{n}", "not a number")
        for n in NUMBERS
        if n in columns
    ]
    faults.append(("op", "c_op IS NULL", "''", "no operation is named"))
    faults.append(
        ("latency_s", "NOT coalesce(TRY_CAST(c_latency_s AS DOUBLE) > 0, false)", "c_latency_s", "not positive")
    )
    rows = np.arange(1, len(columns["op"]) + 1, dtype=np.int64)
    connection.register("batch", {"row": rows, **given})
    connection.execute(
        f"""CREATE TABLE memory.stage AS
            SELECT "row", {", ".join([*text, *numbers])}, {first_fault(faults)} AS fault FROM batch"""
    )
    connection.unregister("batch")


def _write(connection: Connection, source_id: int) -> None:
    connection.execute(
        f"""INSERT INTO op_measurements BY NAME
            SELECT ?::BIGINT AS source_id, s."row" AS source_row, f.content_key, f.occurrence,
                   {", ".join(f"s.{name}" for name in (*TEXT, *NUMBERS))}
            FROM memory.fresh f JOIN memory.stage s ON s.rowid = f.seq ORDER BY f.id""",
        [source_id],
    )


def operations(database: Database, filters: Mapping[str, str | None]) -> dict[str, npt.NDArray[Any]]:
    """Rows of the operation tables as columns; see `Store.operations`."""
    wanted = {name: value for name, value in filters.items() if value is not None}
    where = " AND ".join(f"o.{name} = ?" for name in FILTERS if name in wanted) or "true"
    with database.reading() as connection:
        found = connection.execute(
            f"""SELECT {", ".join(f"o.{name}" for name in (*TEXT, *NUMBERS))}, s.path AS source
                FROM op_measurements o LEFT JOIN sources s USING (source_id)
                WHERE {where} ORDER BY o.source_id, o.source_row""",
            [wanted[name] for name in FILTERS if name in wanted],
        ).fetchnumpy()
    return as_arrays(found, NUMBERS)
