"""Doubtful operation tables: equal rows with different latencies, and larger operations that are much faster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from perfdb.operations import ARGUMENTS, OPERATIONS, TEXTS
from perfdb.quality import FAR_APART, Finding, Severity, counted
from perfdb.store.checks.examples import MOST_EXAMPLES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

FASTER = 2.0
"""A larger operation may be faster, as another kernel takes it; by more than this factor it is doubtful."""
_AXES = ("m", "tokens", "elements", "batch_size", "decode_batch")
"""What an operation grows with, the first of its arguments that is among these; all others are held alike."""
_ALONG = {"elements": ("elements", "bytes")}
"""Arguments that change with the axis."""
_DOUBTS = (
    ("conflicts", "operation_conflicts", "operation", f"with latencies more than {FAR_APART}x apart"),
    ("drops", "operation_order", "drop", f"where a larger operation is more than {FASTER:g}x faster than a smaller"),
)
"""What is counted in each table, and what it is called."""
_TABLE = ("platform", "engine", "engine_version", "op")


def _axis_of() -> Mapping[str, str]:
    """Operation -> its axis."""
    found = {name: next((a for a in _AXES if a in each.arguments), None) for name, each in OPERATIONS.items()}
    return {name: axis for name, axis in found.items() if axis is not None}


def _alike(axes: Mapping[str, str]) -> list[str]:
    """SQL of all that a row says but for its axis."""
    columns = list(TEXTS)
    for name in ARGUMENTS:
        ops = [op for op, axis in axes.items() if name in _ALONG.get(axis, (axis,))]
        columns.append(f"CASE WHEN op NOT IN ({_listed(ops)}) THEN {name} END" if ops else name)
    return columns


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def doubtful(connection: Connection) -> Iterator[Finding]:
    """All findings about operations; a platform at a time, so that memory stays bounded."""
    platforms = connection.execute("SELECT DISTINCT platform FROM op_measurements ORDER BY 1").fetchall()
    tables: list[dict[str, Any]] = []
    for (platform,) in platforms:
        tables += _of_platform(connection, platform)
    if tables:
        rows = sum(table["rows"] for table in tables)
        told = tuple({name: table[name] for name in (*_TABLE, "rows")} for table in _worst(tables, "rows"))
        text = f"{counted(len(tables), 'table')} of {counted(rows, 'measured operation')}"
        yield Finding("operations", Severity.NOTE, len(tables), text, told)
    for what, kind, noun, text in _DOUBTS:
        count = sum(table[what] for table in tables)
        if count:
            names = (*_TABLE, "rows", what, f"worst_{what}")
            examples = [{name: table[name] for name in names} for table in _worst(tables, what) if table[what]]
            yield Finding(kind, Severity.WARNING, count, f"{counted(count, noun)} {text}", tuple(examples))


def _worst(tables: list[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    return sorted(tables, key=lambda table: -table[what])[:MOST_EXAMPLES]


def _of_platform(connection: Connection, platform: str | None) -> list[dict[str, Any]]:
    axes, table = _axis_of(), ", ".join(_TABLE)
    alike = ", ".join(_alike(axes))
    ops = {axis: _listed([op for op, its in axes.items() if its == axis]) for axis in _AXES}
    cases = " ".join(f"WHEN op IN ({names}) THEN {axis}" for axis, names in ops.items() if names)
    rows = connection.execute(
        f"""WITH said AS (
              SELECT hash({table}) AS place, latency_s, CASE {cases} END AS size, hash({alike}) AS alike
              FROM op_measurements WHERE platform IS NOT DISTINCT FROM $platform),
            sizes AS (
              SELECT any_value(place) AS place, alike, size, min(latency_s) AS low, max(latency_s) AS high
              FROM said GROUP BY alike, size),
            steps AS (
              SELECT *, CASE WHEN size IS NOT NULL
                             THEN lag(low) OVER (PARTITION BY alike ORDER BY size) / high END AS drop FROM sizes),
            found AS (
              SELECT place, count(*) FILTER (high > {FAR_APART} * low), max(high / low),
                     count(*) FILTER (drop > {FASTER}), max(drop) FROM steps GROUP BY place)
            SELECT * EXCLUDE (place) FROM (
              SELECT hash({table}) AS place, {table}, count(*) FROM op_measurements
              WHERE platform IS NOT DISTINCT FROM $platform GROUP BY ALL) JOIN found USING (place) ORDER BY {table}""",
        {"platform": platform},
    ).fetchall()
    names = (*_TABLE, "rows", "conflicts", "worst_conflicts", "drops", "worst_drops")
    return [dict(zip(names, row, strict=True)) for row in rows]
