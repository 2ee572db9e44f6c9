"""Taking a file's records out again, without losing what another file brought as well."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from perfdb.batch import ImportCounts, Source
from perfdb.paths import is_there
from perfdb.store.connect import Database
from perfdb.store.engine import engine, transaction
from perfdb.store.sources import add_source, known, next_id

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def superseded(connection: Connection, sources: Collection[Source]) -> dict[str, list[int]]:
    """Content hash of a source -> ids of the stored ones that it is a better reading of; left out where there is none.

    A reading is better where the importer is newer, or, of the same bytes with the same settings, of another format.
    """
    rows = connection.execute(
        """SELECT n.hash, s.source_id FROM sources s
           JOIN (SELECT unnest(?::VARCHAR[]) AS hash, unnest(?::VARCHAR[]) AS settings,
                        unnest(?::VARCHAR[]) AS format, unnest(?::INTEGER[]) AS version) n
             ON s.content_hash = n.hash OR (s.settings = n.settings AND s.settings <> '{}')
           WHERE s.format <> n.format OR s.importer_version < n.version ORDER BY s.source_id""",
        [
            [source.content_hash for source in sources],
            [source.settings for source in sources],
            [source.format for source in sources],
            [source.importer_version for source in sources],
        ],
    ).fetchall()
    found: dict[str, list[int]] = {}
    for digest, source_id in rows:
        found.setdefault(str(digest), []).append(int(source_id))
    return found


def read_otherwise(connection: Connection, sources: Collection[Source]) -> set[str]:
    """Content hashes of those sources whose file, by its path and bytes, is stored as it is under other settings."""
    rows = connection.execute(
        """SELECT n.hash FROM sources s
           JOIN (SELECT unnest(?::VARCHAR[]) AS hash, unnest(?::VARCHAR[]) AS path,
                        unnest(?::VARCHAR[]) AS settings, unnest(?::VARCHAR[]) AS format) n
             ON s.path = n.path AND s.format = n.format AND s.content_hash <> n.hash
            AND json_extract_string(s.settings, '$.bytes') = json_extract_string(n.settings, '$.bytes')""",
        [
            [source.content_hash for source in sources],
            [source.path for source in sources],
            [source.settings for source in sources],
            [source.format for source in sources],
        ],
    ).fetchall()
    return {str(digest) for (digest,) in rows}


def drop_sources(connection: Connection, ids: Collection[int]) -> list[str]:
    """Remove the sources `ids` with all that they brought, within the caller's transaction.

    Records that a remaining file brought, too, become its own: they were counted as its duplicates until now. Copies of
    the files, which brought nothing, go with them. Returns the paths of all that went.
    """
    if not ids:
        return []
    gone = f"IN ({', '.join(map(str, ids))})"
    copies = f"""(source_id {gone} OR stored = 0 AND quarantined = 0
                  AND content_hash IN (SELECT content_hash FROM sources WHERE source_id {gone}))"""
    paths = connection.execute(f"SELECT path FROM sources WHERE {copies} ORDER BY source_id").fetchall()
    _bequeath(connection, gone)
    connection.execute(
        f"""DELETE FROM measurements USING operating_points p
            WHERE measurements.point_id = p.point_id AND p.source_id {gone}"""
    )
    for table in ("operating_points", "op_measurements", "quarantine", "duplicates"):
        connection.execute(f"DELETE FROM {table} WHERE source_id {gone}")
    connection.execute(f"DELETE FROM sources WHERE {copies}")
    return [str(path) for (path,) in paths]


def _bequeath(connection: Connection, gone: str) -> None:
    """Give the records of the sources that go to the first of those that stay and brought them, too."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE heirs AS
            SELECT p.point_id, min_by(d.source_id, d.rowid) AS source_id, min_by(d.source_row, d.rowid) AS source_row
            FROM operating_points p JOIN duplicates d USING (content_key, occurrence)
            WHERE p.source_id {gone} AND d.source_id NOT {gone} GROUP BY p.point_id"""
    )
    for statement in (
        """UPDATE operating_points SET source_id = h.source_id, source_row = h.source_row
           FROM temp.heirs h WHERE operating_points.point_id = h.point_id""",
        """DELETE FROM duplicates USING temp.heirs h
           WHERE duplicates.source_id = h.source_id AND duplicates.source_row = h.source_row""",
        """UPDATE sources SET stored = stored + h.points, duplicates = duplicates - h.points,
                  measurements = sources.measurements + h.measured
           FROM (SELECT source_id, count(DISTINCT point_id) AS points, count(value) AS measured
                 FROM temp.heirs LEFT JOIN measurements USING (point_id) GROUP BY source_id) h
           WHERE sources.source_id = h.source_id""",
    ):
        connection.execute(statement)


def note_duplicates(connection: Connection, source_id: int) -> None:
    """Keep which records of a file others had brought already: those of `memory.numbered` not in `temp.fresh`."""
    connection.execute(
        """INSERT INTO duplicates
           SELECT ?, s."row", n.content_key, n.occurrence
           FROM memory.numbered n JOIN memory.stage s ON s.rowid = n.seq ANTI JOIN temp.fresh f ON f.seq = n.seq""",
        [source_id],
    )


def add_copies(connection: Connection, source: Source, paths: Iterable[str], counts: ImportCounts) -> None:
    """Note the other paths, where a file is still there, as copies of `source`; `counts` are those of the first."""
    for path in dict.fromkeys(paths):
        if path == source.path or not is_there(Path(path)):
            continue
        source_id = next_id(connection, "sources", "source_id")
        add_source(connection, source_id, replace(source, path=path), counts.as_duplicates())


def note_copies(database: Database, sources: Collection[Source]) -> None:
    """Note files whose content is known from another file; see `Store.note_copies`."""
    with database.reading() as connection:
        copies = _copies(connection, sources)
    if not copies:
        return
    with engine() as connection, database.writing(connection), transaction(connection):
        for source in _copies(connection, sources):
            counts = known(connection, [source.content_hash])[source.content_hash].as_duplicates()
            add_source(connection, next_id(connection, "sources", "source_id"), source, counts)


def _copies(connection: Connection, sources: Collection[Source]) -> list[Source]:
    """Those of the sources that are not noted, while another file of the same content is noted and still there."""
    rows = connection.execute(
        "SELECT content_hash, list(path) FROM sources WHERE list_contains(?, content_hash) GROUP BY 1",
        [[source.content_hash for source in sources]],
    ).fetchall()
    paths = {str(digest): [Path(path) for path in noted] for digest, noted in rows}
    unlike = {(source.content_hash, source.path): source for source in sources}
    return [source for source in unlike.values() if _is_another(Path(source.path), paths.get(source.content_hash, []))]


def _is_another(path: Path, noted: Collection[Path]) -> bool:
    there = [other for other in noted if is_there(other)]
    return bool(there) and is_there(path) and not any(path.samefile(other) for other in there)
