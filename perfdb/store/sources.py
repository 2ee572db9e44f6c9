"""The files that were imported, what became of their records, and the records set aside."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from perfdb.batch import BadRow, ImportCounts, Source, StoredSource

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_COUNTS = "rows_read, stored, duplicates, quarantined, measurements"


def known(connection: Connection, content_hashes: Collection[str]) -> dict[str, ImportCounts]:
    """Content hash -> the counts of the first import of that content; what was never imported is left out."""
    rows = connection.execute(
        f"""SELECT content_hash, {_COUNTS}, reasons FROM sources WHERE list_contains(?::VARCHAR[], content_hash)
            QUALIFY row_number() OVER (PARTITION BY content_hash ORDER BY source_id) = 1""",
        [list(content_hashes)],
    ).fetchall()
    return {
        digest: ImportCounts(rows_read, stored, duplicates, quarantined, measurements, json.loads(reasons))
        for digest, rows_read, stored, duplicates, quarantined, measurements, reasons in rows
    }


def stored_sources(connection: Connection) -> list[StoredSource]:
    """Every file that was imported, in order; see `Store.sources`."""
    rows = connection.execute(
        f"""SELECT source_id, path, content_hash, format, importer_version, settings, {_COUNTS}, reasons
            FROM sources ORDER BY source_id"""
    ).fetchall()
    return [
        StoredSource(int(number), Source(*source), replace(ImportCounts(*counts), reasons=json.loads(reasons)))
        for number, *source, counts, reasons in ((*row[:6], row[6:-1], row[-1]) for row in rows)
    ]


def next_id(connection: Connection, table: str, column: str) -> int:
    """One more than the largest id; safe, as a writer is alone."""
    found = connection.execute(f"SELECT coalesce(max({column}), 0) + 1 FROM db.{table}").fetchone()
    return int(found[0]) if found else 1


def add_source(connection: Connection, source_id: int, source: Source, counts: ImportCounts) -> None:
    """Note a file with what became of its records."""
    connection.execute(
        f"""INSERT INTO sources
                (source_id, path, content_hash, format, importer_version, imported_at, {_COUNTS}, reasons, settings)
            VALUES (?, ?, ?, ?, ?, now()::TIMESTAMP, ?, ?, ?, ?, ?, ?, ?)""",
        [
            source_id,
            source.path,
            source.content_hash,
            source.format,
            source.importer_version,
            counts.rows_read,
            counts.stored,
            counts.duplicates,
            counts.quarantined,
            counts.measurements,
            json.dumps(dict(counts.reasons), ensure_ascii=False),
            source.settings,
        ],
    )


def staged_faults(connection: Connection) -> list[BadRow]:
    """The rows of `memory.stage` that the store refused, in the order of the file."""
    rows = connection.execute(
        "SELECT row, fault.at, fault.value, fault.reason FROM memory.stage WHERE fault IS NOT NULL ORDER BY rowid"
    ).fetchall()
    return [BadRow(int(row), str(at), str(value), str(reason)) for row, at, value, reason in rows]


def add_quarantine(connection: Connection, source_id: int, source: Source, bad: Sequence[BadRow]) -> None:
    """Keep each record set aside with its file, row, column and reason."""
    if not bad:
        return
    columns = {
        "row": np.array([b.row for b in bad], dtype=np.int64),
        "column": np.array([b.column for b in bad], dtype=object),
        "value": np.array([b.value for b in bad], dtype=object),
        "reason": np.array([b.reason for b in bad], dtype=object),
    }
    connection.register("bad_rows", columns)
    connection.execute(
        """INSERT INTO quarantine SELECT ?, ?, "row", coalesce("column", ''), coalesce(value, ''), reason
           FROM bad_rows""",
        [source_id, source.path],
    )
    connection.unregister("bad_rows")


def tally(counts: ImportCounts, bad: Sequence[BadRow]) -> ImportCounts:
    """Add the records set aside: each row of the file counts once, under its first reason."""
    first = {b.row: b.reason for b in reversed(bad)}
    return replace(
        counts,
        rows_read=counts.rows_read + len(first),
        quarantined=counts.quarantined + len(first),
        reasons=dict(Counter(first[row] for row in sorted(first))),
    )
