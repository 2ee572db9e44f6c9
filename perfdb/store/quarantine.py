"""The records that were set aside: how many of which file and why, and the records themselves."""

from __future__ import annotations

from typing import Any

from perfdb.batch import BadRow
from perfdb.store.connect import Database


def groups(database: Database) -> list[dict[str, Any]]:
    """Per file and reason the number of rows; see `Store.quarantine`."""
    with database.reading() as connection:
        rows = connection.execute(
            """SELECT source_id, file, reason, count(DISTINCT "row") FROM quarantine
               GROUP BY ALL ORDER BY source_id, 4 DESC, reason"""
        ).fetchall()
    return [dict(zip(("source_id", "file", "reason", "rows"), row, strict=True)) for row in rows]


def rows(database: Database, source_id: int, limit: int) -> list[BadRow]:
    """The first faults of a file in the order of its rows; see `Store.quarantined`."""
    with database.reading() as connection:
        found = connection.execute(
            """SELECT "row", "column", value, reason FROM quarantine WHERE source_id = ?
               ORDER BY "row", rowid LIMIT ?""",
            [source_id, limit],
        ).fetchall()
    return [BadRow(*row) for row in found]
