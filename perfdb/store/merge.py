"""Bringing another database of ours into this one: what is new of it, each record once, in one transaction."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfdb.errors import FileError, InputError
from perfdb.paths import is_same, is_there
from perfdb.store.connect import Database
from perfdb.store.engine import engine
from perfdb.store.merge_files import merge_files
from perfdb.store.merge_runs import merge_runs

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

MERGED = (
    "sources",
    "operating_points",
    "measurements",
    "op_measurements",
    "quarantine",
    "runs",
    "experiments",
    "suggestions",
)


@dataclass(frozen=True, slots=True)
class MergeCounts:
    """Of one table of the other database: `read == stored + duplicates`."""

    read: int
    stored: int

    @property
    def duplicates(self) -> int:
        """Rows that were here already, or that a newer reading of the same file here stands for."""
        return self.read - self.stored

    def to_json(self) -> dict[str, int]:
        """The counts as a JSON object."""
        return {"read": self.read, "stored": self.stored, "duplicates": self.duplicates}


def merge(database: Database, other: Database, dry_run: bool) -> dict[str, MergeCounts]:
    """Table -> what became of the rows of `other`; see `Store.merge`."""
    if not is_there(other.path):
        raise FileError(f"{other.path}: no such file that this user can reach; expected another performance database")
    if is_same(database.path, other.path):
        raise InputError.at(str(other.path), "it is the database itself", "another one to merge into it")
    with ExitStack() as stack:
        if dry_run and not database.path.exists():
            connection = stack.enter_context(database.reading())
            stack.enter_context(other.beside(connection, "other"))
        else:
            connection = stack.enter_context(engine())
            stack.enter_context(other.beside(connection, "other"))
            stack.enter_context(database.writing(connection))
        return _merge(connection, dry_run)


def _merge(connection: Connection, dry_run: bool) -> dict[str, MergeCounts]:
    end = "ROLLBACK"
    connection.execute("BEGIN")
    try:
        stored = Counter(merge_files(connection))
        stored.update(merge_runs(connection))
        counts = {table: MergeCounts(_count(connection, table), stored[table]) for table in MERGED}
        end = "ROLLBACK" if dry_run else "COMMIT"
    finally:
        connection.execute(end)
    return counts


def _count(connection: Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM other.{table}").fetchall()[0][0])
