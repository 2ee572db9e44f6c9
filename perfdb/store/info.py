"""What a database holds, at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfdb.store.connect import Database
from perfdb.store.query import jsonable
from perfdb.store.schema import CURRENT, TABLES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_CONTEXTS = """
SELECT p.platform, p.engine, p.model, count(*) AS points, sum(m.measured)::BIGINT AS measurements,
       count(DISTINCT p.config_key) AS configs, count(*) FILTER (p.outcome <> 'ok') AS failed,
       max(p.measured_at) AS measured_at,
       max(greatest(coalesce(s.imported_at, e.recorded_at), coalesce(e.recorded_at, s.imported_at))) AS stored_at
FROM operating_points p LEFT JOIN sources s USING (source_id) LEFT JOIN experiments e USING (experiment_id)
LEFT JOIN (SELECT point_id, count(*) AS measured FROM measurements GROUP BY point_id) m USING (point_id)
GROUP BY ALL ORDER BY points DESC, p.platform, p.engine, p.model"""

_FORMATS = """
SELECT format, count(*) AS files, sum(rows_read)::BIGINT AS rows_read, sum(stored)::BIGINT AS stored,
       sum(duplicates)::BIGINT AS duplicates, sum(quarantined)::BIGINT AS quarantined, max(imported_at) AS imported_at
FROM sources GROUP BY format ORDER BY stored DESC, format"""

_OPERATIONS = """
SELECT platform, engine, engine_version, op, count(*) AS rows
FROM op_measurements GROUP BY ALL ORDER BY platform, engine, engine_version, op"""


def info(database: Database) -> dict[str, Any]:
    """Counts, contents and freshness; see `Store.info`."""
    with database.reading() as connection:
        counts = {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]
            for name in TABLES
            if name != "schema_version"
        }
        contexts = _dicts(connection, _CONTEXTS)
        formats = _dicts(connection, _FORMATS)
        operations = _dicts(connection, _OPERATIONS)
    exists = database.path.exists()
    return {
        "path": str(database.path),
        "exists": exists,
        "file_bytes": database.path.stat().st_size if exists else 0,
        "schema_version": CURRENT,
        "tables": counts,
        "formats": formats,
        "contexts": contexts,
        "operations": operations,
    }


def _dicts(connection: Connection, query: str) -> list[dict[str, Any]]:
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, map(jsonable, row), strict=True)) for row in cursor.fetchall()]
