"""The part of a merge that is about files: their records, measurements, operations and quarantine.

`other` is attached beside the database; all happens in the caller's transaction, in temporary tables: `coming` says of
each of the other's sources what it is to ours, `points` which of its points are new and their ids here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfdb.operations import COLUMNS
from perfdb.store.replace import drop_sources
from perfdb.store.sources import next_id

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_GROUP = ("platform", "engine", "engine_version", "op")


def merge_files(connection: Connection) -> dict[str, int]:
    """Table -> rows stored."""
    copies = _compare(connection)
    _choose_points(connection)
    done = {
        "operating_points": _run(
            connection,
            """INSERT INTO operating_points BY NAME
               SELECT p.* REPLACE (n.point_id AS point_id, n.source_id AS source_id, n.source_row AS source_row)
               FROM other.operating_points p JOIN temp.points n ON p.point_id = n.theirs ORDER BY n.point_id""",
        ),
        "measurements": _run(
            connection,
            """INSERT INTO measurements SELECT n.point_id, m.metric, m.statistic, m.value
               FROM other.measurements m JOIN temp.points n ON m.point_id = n.theirs""",
        ),
        "op_measurements": _operations(connection),
        "quarantine": _run(
            connection,
            """INSERT INTO quarantine BY NAME SELECT q.* REPLACE (c.source_id AS source_id)
               FROM other.quarantine q JOIN temp.coming c ON q.source_id = c.theirs WHERE c.is_taken""",
        ),
        "sources": _sources(connection),
    }
    _note_duplicates(connection)
    for path, source_id in copies:
        _copy_source(connection, path, source_id)
    return done


def _compare(connection: Connection) -> list[tuple[str, int]]:
    """Make `coming`; remove ours where theirs is read by a newer importer. Returns the paths of copies of those."""
    connection.execute(
        """CREATE TEMP TABLE coming AS
           SELECT o.source_id AS theirs, s.source_id AS ours, s.source_id IS NULL OR better AS is_taken, worse,
                  s.source_id AS source_id
           FROM other.sources o LEFT JOIN LATERAL (
             SELECT s.source_id,
                    CASE WHEN s.format = o.format THEN o.importer_version > s.importer_version
                         ELSE o.imported_at > s.imported_at END AS better,
                    CASE WHEN s.format = o.format THEN o.importer_version < s.importer_version
                         ELSE o.imported_at <= s.imported_at END AS worse
             FROM sources s WHERE s.content_hash = o.content_hash OR (s.settings = o.settings AND s.settings <> '{}')
             ORDER BY s.content_hash = o.content_hash DESC, s.source_id LIMIT 1
           ) s ON true"""
    )
    connection.execute(
        """UPDATE coming SET source_id = n.id FROM (
             SELECT theirs, ? - 1 + row_number() OVER (ORDER BY theirs) AS id FROM temp.coming WHERE is_taken
           ) n WHERE coming.theirs = n.theirs""",
        [next_id(connection, "sources", "source_id")],
    )
    replaced = connection.execute(
        "SELECT ours, min(source_id) FROM temp.coming WHERE is_taken AND ours IS NOT NULL GROUP BY ours ORDER BY ours"
    ).fetchall()
    return [(path, source_id) for ours, source_id in replaced for path in drop_sources(connection, [ours])]


def _choose_points(connection: Connection) -> None:
    """Make `heirs` and `points`.

    The records of a source that ours has read by a newer importer do not come, but for those that another of their
    sources brought, too (`heirs`).
    """
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE heirs AS
           SELECT p.point_id, min_by(h.source_id, d.rowid) AS source_id, min_by(d.source_row, d.rowid) AS source_row,
                  min_by(d.source_id, d.rowid) AS theirs
           FROM other.operating_points p JOIN temp.coming c ON p.source_id = c.theirs AND c.worse
           JOIN other.duplicates d USING (content_key, occurrence)
           JOIN temp.coming h ON d.source_id = h.theirs AND NOT coalesce(h.worse, false) GROUP BY p.point_id"""
    )
    connection.execute(
        """CREATE TEMP TABLE points AS
           SELECT theirs, source_id, source_row, ? - 1 + row_number() OVER (ORDER BY theirs) AS point_id FROM (
             SELECT p.point_id AS theirs, p.content_key, p.occurrence,
                    CASE WHEN c.worse THEN h.source_id ELSE c.source_id END AS source_id,
                    CASE WHEN c.worse THEN h.source_row ELSE p.source_row END AS source_row
             FROM other.operating_points p JOIN temp.coming c ON p.source_id = c.theirs
             LEFT JOIN temp.heirs h ON h.point_id = p.point_id
           ) o ANTI JOIN operating_points USING (content_key, occurrence) WHERE source_id IS NOT NULL""",
        [next_id(connection, "operating_points", "point_id")],
    )


def _operations(connection: Connection) -> int:
    """Of equal rows only as many come as are more than are here; compared only where both have any of a kind."""
    group, said = ", ".join(_GROUP), ", ".join(COLUMNS)
    keys = f"hash({said}) AS key, hash('second', {said}) AS key_2"
    same = " AND ".join(f"o.{name} IS NOT DISTINCT FROM g.{name}" for name in _GROUP)
    connection.execute(
        f"""CREATE TEMP TABLE shared AS SELECT DISTINCT {group} FROM other.op_measurements
            INTERSECT SELECT DISTINCT {group} FROM op_measurements"""
    )
    taken = """other.op_measurements o JOIN temp.coming c ON o.source_id = c.theirs AND c.is_taken"""
    is_shared = f"EXISTS (SELECT 1 FROM temp.shared g WHERE {same})"
    before = _run(connection, "SELECT count(*) FROM op_measurements")
    connection.execute(
        f"""INSERT INTO op_measurements BY NAME
            SELECT c.source_id, o.source_row, {", ".join(f"o.{name}" for name in COLUMNS)}
            FROM {taken} WHERE NOT {is_shared}"""
    )
    connection.execute(
        f"""INSERT INTO op_measurements BY NAME
            SELECT * EXCLUDE (key, key_2, place, times) FROM (
              SELECT *, row_number() OVER (PARTITION BY key, key_2 ORDER BY source_id, source_row) AS place
              FROM (SELECT c.source_id, o.source_row, {", ".join(f"o.{name}" for name in COLUMNS)}, {keys}
                    FROM {taken} WHERE {is_shared})
            ) LEFT JOIN (
              SELECT key, key_2, count(*) AS times
              FROM (SELECT {keys} FROM op_measurements o WHERE {is_shared}) GROUP BY key, key_2
            ) USING (key, key_2) WHERE place > coalesce(times, 0)"""
    )
    return _run(connection, "SELECT count(*) FROM op_measurements") - before


def _sources(connection: Connection) -> int:
    """Note the files that come; what others had brought here counts among their duplicates."""
    return _run(
        connection,
        """INSERT INTO sources BY NAME
           SELECT o.* REPLACE (
             c.source_id AS source_id, coalesce(n.stored, 0) AS stored,
             o.stored + o.duplicates - coalesce(n.stored, 0) AS duplicates, coalesce(n.measured, 0) AS measurements)
           FROM other.sources o JOIN temp.coming c ON o.source_id = c.theirs LEFT JOIN (
             SELECT source_id, count(DISTINCT source_row) AS stored, sum(measured) AS measured FROM (
               SELECT source_id, source_row, count(m.point_id) AS measured
               FROM temp.points LEFT JOIN measurements m USING (point_id) GROUP BY source_id, source_row
               UNION ALL SELECT source_id, source_row, 1 FROM op_measurements
               WHERE source_id IN (SELECT source_id FROM temp.coming WHERE is_taken)) GROUP BY source_id
           ) n ON n.source_id = c.source_id WHERE c.is_taken ORDER BY c.source_id""",
    )


def _note_duplicates(connection: Connection) -> None:
    """Which records of the files that came others had brought: there, or here."""
    connection.execute(
        """INSERT INTO duplicates
           SELECT c.source_id, d.source_row, d.content_key, d.occurrence
           FROM other.duplicates d JOIN temp.coming c ON d.source_id = c.theirs
           ANTI JOIN temp.heirs h ON h.theirs = d.source_id AND h.source_row = d.source_row WHERE c.is_taken
           UNION ALL
           SELECT c.source_id, p.source_row, p.content_key, p.occurrence
           FROM other.operating_points p JOIN temp.coming c ON p.source_id = c.theirs
           ANTI JOIN temp.points n ON n.theirs = p.point_id WHERE c.is_taken"""
    )


def _copy_source(connection: Connection, path: str, source_id: int) -> None:
    """Note a copy of ours of a file that came instead of its original."""
    connection.execute(
        """INSERT INTO sources BY NAME
           SELECT * REPLACE (? AS source_id, ? AS path, 0 AS stored, rows_read AS duplicates, 0 AS quarantined,
                             0 AS measurements, '{}' AS reasons) FROM sources WHERE source_id = ?""",
        [next_id(connection, "sources", "source_id"), path, source_id],
    )


def _run(connection: Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchall()[0][0])
