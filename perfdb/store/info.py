"""What a database holds, at a glance."""

from __future__ import annotations

from typing import Any

from perfdb.store.connect import Database
from perfdb.store.query import jsonable
from perfdb.store.schema import CURRENT, TABLES

_COVERAGE = """
SELECT p.platform, p.engine, p.model, count(*) AS points, count(DISTINCT p.config_key) AS configs,
       max(p.measured_at) AS measured_at,
       max(greatest(coalesce(s.imported_at, e.recorded_at), coalesce(e.recorded_at, s.imported_at))) AS stored_at
FROM operating_points p LEFT JOIN sources s USING (source_id) LEFT JOIN experiments e USING (experiment_id)
GROUP BY ALL ORDER BY points DESC, p.platform, p.engine, p.model"""


def info(database: Database) -> dict[str, Any]:
    """Counts, coverage and freshness; see `Store.info`."""
    with database.reading() as connection:
        counts = {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]
            for name in TABLES
            if name != "schema_version"
        }
        cursor = connection.execute(_COVERAGE)
        names = [column[0] for column in cursor.description or ()]
        contexts = [dict(zip(names, map(jsonable, row), strict=True)) for row in cursor.fetchall()]
    exists = database.path.exists()
    return {
        "path": str(database.path),
        "exists": exists,
        "file_bytes": database.path.stat().st_size if exists else 0,
        "schema_version": CURRENT,
        "tables": counts,
        "contexts": contexts,
    }
