"""What cannot be compared within a group (model × platform × engine): other statistics, other ways of arrival."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from perfdb.quality import CENTRAL, COMPARED, Finding, Severity, counted
from perfdb.store.checks.examples import MOST_EXAMPLES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_GROUP = ("model", "platform", "engine")


def mixed_statistics(connection: Connection) -> Iterator[Finding]:
    """Metrics of a group that no two files share a statistic of: one knows the mean, another the median."""
    names = ", ".join(_GROUP)
    has = ", ".join(f"bool_or(m.statistic = '{s}') AS has_{s}" for s in CENTRAL)
    files = [f"count(*) FILTER (has_{s})" for s in CENTRAL]
    rows = connection.execute(
        f"""WITH told AS (
              SELECT {names}, m.metric, source_id, {has}
              FROM operating_points JOIN measurements m USING (point_id)
              WHERE outcome = 'ok' AND list_contains(?, m.metric) AND list_contains(?, m.statistic) GROUP BY ALL)
            SELECT {names}, metric, {", ".join(files)} FROM told GROUP BY ALL
            HAVING count(*) > greatest({", ".join(files)}) ORDER BY count(*) DESC, {names}, metric""",
        [list(COMPARED), list(map(str, CENTRAL))],
    ).fetchall()
    if rows:
        examples = []
        for *group, metric, mean, value, median in rows[:MOST_EXAMPLES]:
            known = {str(s): n for s, n in zip(CENTRAL, (mean, value, median), strict=True) if n}
            examples.append({"metric": metric, "files": known, **dict(zip(_GROUP, group, strict=True))})
        text = (
            f"{counted(len(rows), 'metric')} of a group with means in some files and medians or unsaid values in others"
        )
        yield Finding("mixed_statistics", Severity.WARNING, len(rows), text, tuple(examples))


def mixed_protocols(connection: Connection) -> Iterator[Finding]:
    """Groups whose requests arrived in several ways."""
    rows = connection.execute(
        """SELECT model, platform, engine, map(list(way), list(points)) FROM (
             SELECT model, platform, engine, coalesce(arrival, 'unknown') AS way, count(*) AS points
             FROM operating_points WHERE outcome = 'ok' GROUP BY ALL ORDER BY way)
           GROUP BY ALL HAVING count(*) > 1 ORDER BY sum(points) DESC, model, platform, engine"""
    ).fetchall()
    if rows:
        examples = tuple(dict(zip((*_GROUP, "arrival"), row, strict=True)) for row in rows[:MOST_EXAMPLES])
        text = (
            f"{counted(len(rows), 'group')} with several ways of arrival (closed, poisson …): compare within one only"
        )
        yield Finding("mixed_protocols", Severity.NOTE, len(rows), text, examples)
