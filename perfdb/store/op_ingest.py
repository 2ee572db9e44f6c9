"""Importing tables of operations: several files staged in memory, then written together in one transaction."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfdb.batch import ImportCounts, OperationFile, Source
from perfdb.errors import FileError
from perfdb.store.connect import Database
from perfdb.store.engine import engine, transaction
from perfdb.store.op_source import quoted
from perfdb.store.op_stage import KINDS, Staged, stage
from perfdb.store.op_words import GROUP
from perfdb.store.replace import add_copies, drop_sources
from perfdb.store.sources import add_source, known, next_id
from perfdb.store.waiting import LONGEST_PAUSE_S

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_GROUP_ROWS = 1_000_000
"""Records that are written together."""
_TURN_S = 1.5 * LONGEST_PAUSE_S
"""Seconds for which the database is left to others between two groups: each who waits for it asks once meanwhile."""


@dataclass(frozen=True)
class _Waiting:
    """A file that is read, or the error for which it was not."""

    source: Source
    staged: Staged | FileError
    replaces: Collection[int]

    @property
    def records(self) -> int:
        return self.staged.records if isinstance(self.staged, Staged) else 0


def ingest_operations(
    database: Database, files: Iterable[tuple[Source, OperationFile, Collection[int]]]
) -> Iterator[ImportCounts | FileError]:
    """Import tables of operations, each all or nothing; see `Store.ingest_operations`."""
    with engine() as connection, closing(connection.cursor()) as reader, ThreadPoolExecutor(1) as worker:
        _be_frugal(connection)
        groups, free_since = _groups(reader, files), 0.0
        ahead = worker.submit(next, groups, None)
        while (group := ahead.result()) is not None:
            # one core reads the next files while another writes these
            ahead = worker.submit(next, groups, None)
            time.sleep(max(free_since + _TURN_S - time.monotonic(), 0.0))
            results = _write(connection, database, group)
            free_since = time.monotonic()
            yield from results


def _groups(
    connection: Connection, files: Iterable[tuple[Source, OperationFile, Collection[int]]]
) -> Iterator[list[_Waiting]]:
    """The files, read, in groups of about `_GROUP_ROWS` records."""
    waiting: list[_Waiting] = []
    for number, (source, file, replaces) in enumerate(files):
        try:
            waiting.append(_Waiting(source, stage(connection, file, number), replaces))
        except FileError as error:
            waiting.append(_Waiting(source, error, ()))
        if sum(read.records for read in waiting) >= _GROUP_ROWS:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def preview(file: OperationFile) -> ImportCounts:
    """What storing a file would count, without the records that the database holds already.

    Raises:
        FileError: it cannot be read.
    """
    with engine() as connection:
        _be_frugal(connection)
        staged = stage(connection, file, 0)
        rows, readings = connection.execute(f'SELECT count(DISTINCT "row"), count(*) FROM {staged.rows}').fetchall()[0]
        return _counts(connection, staged, int(rows), int(readings))


def _be_frugal(connection: Connection) -> None:
    # a second thread makes such inserts slower: it writes row groups that are half full, to be merged again
    connection.execute("SET threads = 1")
    connection.execute("SET memory_limit = '1GB'")


def _write(connection: Connection, database: Database, waiting: Sequence[_Waiting]) -> list[ImportCounts | FileError]:
    if all(isinstance(file.staged, FileError) for file in waiting):
        return [file.staged for file in waiting if isinstance(file.staged, FileError)]
    with database.writing(connection), transaction(connection):
        before = known(connection, [file.source.content_hash for file in waiting])
        results = [_write_one(connection, file, before) for file in waiting]
    for file in waiting:
        if isinstance(file.staged, Staged):
            file.staged.drop(connection)
    return results


def _write_one(connection: Connection, file: _Waiting, before: dict[str, ImportCounts]) -> ImportCounts | FileError:
    """Write one file unless its content is in `before`, and note it there."""
    if isinstance(file.staged, FileError):
        return file.staged
    digest = file.source.content_hash
    copies = drop_sources(connection, file.replaces)
    if digest in before and not file.replaces:
        return before[digest].as_duplicates()
    source_id = min(file.replaces, default=next_id(connection, "sources", "source_id"))
    before[digest] = counts = _store(connection, file.source, source_id, file.staged)
    add_copies(connection, file.source, copies, counts)
    return counts


def _store(connection: Connection, source: Source, source_id: int, staged: Staged) -> ImportCounts:
    """Write one file within the caller's transaction."""
    shared = _shared_groups(connection, staged)
    rows = _only_new(staged, shared) if shared else staged.rows
    done = connection.execute(
        f"""INSERT INTO op_measurements BY NAME
            SELECT {source_id}::BIGINT AS source_id, "row" AS source_row, {", ".join(staged.columns)} FROM {rows}"""
    ).fetchall()
    stored = readings = int(done[0][0])
    if staged.is_wide:
        found = connection.execute(
            "SELECT count(DISTINCT source_row) FROM op_measurements WHERE source_id = ?", [source_id]
        )
        stored = int(found.fetchall()[0][0])
    counts = _counts(connection, staged, stored, readings)
    connection.execute(
        f"""INSERT INTO quarantine (source_id, file, "row", "column", value, reason)
            SELECT {source_id}, {quoted(source.path)}, "row", "at", coalesce(value, ''), reason FROM {staged.faulty}"""
    )
    add_source(connection, source_id, source, counts)
    return counts


def _counts(connection: Connection, staged: Staged, stored: int, readings: int) -> ImportCounts:
    """Every record is stored, set aside, or a duplicate."""
    reasons = dict(
        connection.execute(f"SELECT reason, count(*) FROM {staged.faulty} GROUP BY reason ORDER BY min(row)").fetchall()
    )
    bad = sum(reasons.values())
    duplicates = staged.records - stored - bad
    return ImportCounts(staged.records, stored, duplicates, bad, readings, reasons, staged.warnings)


def _shared_groups(connection: Connection, staged: Staged) -> list[str]:
    """Conditions, one for each group of the staged records that the database has some of."""
    shared = []
    for group in staged.groups:
        condition = " AND ".join(
            f"{name} IS NULL" if value is None else f"{name} = {quoted(value)}"
            for name, value in zip(GROUP, group, strict=True)
        )
        if connection.execute(f"SELECT 1 FROM op_measurements WHERE {condition} LIMIT 1").fetchall():
            shared.append(f"({condition})")
    return shared


def _only_new(staged: Staged, shared: Sequence[str]) -> str:
    """The staged rows, of equal ones only as many as are more than the database has: true repeats survive.

    Rows are compared by two hashes of 64 bits each over all that they say.
    """
    given = ", ".join(_typed(staged, name) for name in KINDS)
    keys = f"hash({', '.join(KINDS)}) AS key, hash('second', {', '.join(KINDS)}) AS key_2"
    return f"""(
        SELECT * EXCLUDE (key, key_2, place, times) FROM (
            SELECT *, row_number() OVER (PARTITION BY key, key_2 ORDER BY "row", reading) AS place
            FROM (SELECT *, {keys} FROM (SELECT "row", reading, {given} FROM {staged.rows}))
        ) LEFT JOIN (
            SELECT key, key_2, count(*) AS times FROM (SELECT {keys} FROM op_measurements WHERE {" OR ".join(shared)})
            GROUP BY key, key_2
        ) USING (key, key_2)
        WHERE place > coalesce(times, 0))"""


def _typed(staged: Staged, name: str) -> str:
    return name if name in staged.columns else f"NULL::{KINDS[name]} AS {name}"
