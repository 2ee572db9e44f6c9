"""Importing one file: staged and hashed in memory first, then written in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from perfdb.batch import BadRow, Batch, ImportCounts, Source
from perfdb.store.connect import Database
from perfdb.store.engine import engine, transaction
from perfdb.store.identity import keep_new, number_records
from perfdb.store.replace import add_copies, drop_sources, note_duplicates
from perfdb.store.sources import (
    add_quarantine,
    add_source,
    known,
    next_id,
    staged_faults,
    tally,
)
from perfdb.store.staging import Stage, Staged

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def ingest(database: Database, source: Source, batches: Iterable[Batch], replaces: Collection[int]) -> ImportCounts:
    """Import one file, all or nothing; see `Store.ingest`."""
    with engine() as connection:
        stage = Stage(connection)
        bad: list[BadRow] = []
        for batch in batches:
            stage.add(batch)
            bad += batch.bad
        staged = stage.done()
        number_records(connection, staged.text, staged.other)
        bad += staged_faults(connection)
        with database.writing(connection), transaction(connection):
            copies = drop_sources(connection, replaces)
            first = known(connection, [source.content_hash]).get(source.content_hash)
            source_id = min(replaces, default=next_id(connection, "sources", "source_id"))
            counts = first.as_duplicates() if first else _write(connection, source_id, source, staged, bad)
            add_copies(connection, source, copies, counts)
            return counts


def _write(
    connection: Connection, source_id: int, source: Source, staged: Staged, bad: Sequence[BadRow]
) -> ImportCounts:
    stored = keep_new(connection, "operating_points", next_id(connection, "operating_points", "point_id"))
    sound = connection.execute("SELECT count(*) FROM memory.numbered").fetchall()[0][0]
    _write_points(connection, source_id, staged)
    note_duplicates(connection, source_id)
    measurements = _write_measurements(connection, staged)
    counts = tally(ImportCounts(sound, stored, sound - stored, 0, measurements), bad)
    add_quarantine(connection, source_id, source, bad)
    add_source(connection, source_id, source, counts)
    return counts


def _write_points(connection: Connection, source_id: int, staged: Staged) -> None:
    context = [*staged.text, *(name for name in staged.other if name not in staged.values.values())]
    # the same digest as records.content_key: configs come as canonical JSON, and thousands of points share one
    keys = "SELECT config, left(sha256(config), 16) AS key FROM (SELECT DISTINCT config FROM memory.stage)"
    key, of_config = ("k.key", f"LEFT JOIN ({keys}) k USING (config)") if "config" in context else ("NULL", "")
    connection.execute(
        f"""INSERT INTO operating_points BY NAME
            SELECT f.id AS point_id, ?::BIGINT AS source_id, s."row" AS source_row, f.content_key, f.occurrence,
                   {key} AS config_key, {", ".join(f"s.{name}" for name in context)}
            FROM temp.fresh f JOIN memory.stage s ON s.rowid = f.seq {of_config} ORDER BY f.id""",
        [source_id],
    )


def _write_measurements(connection: Connection, staged: Staged) -> int:
    if not staged.values:
        return 0
    # one statement for all metrics, each in a column of its own: half the time of one each for a small file
    parts = [
        f"""SELECT f.id, ?, ?, s."{column}" FROM temp.fresh f JOIN memory.stage s ON s.rowid = f.seq
            WHERE s."{column}" IS NOT NULL"""
        for column in staged.values.values()
    ]
    names = [text for metric, statistic in staged.values for text in (metric, str(statistic))]
    done = connection.execute(f"INSERT INTO measurements {' UNION ALL '.join(parts)}", names).fetchall()
    return int(done[0][0])
