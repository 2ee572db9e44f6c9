"""Points as examples for a reader: what was run, in which file and row, and in what alike points differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from perfdb.records import canonical_json
from perfdb.store.query import jsonable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

MOST_EXAMPLES = 1000
"""A finding shows no more; its count says how many there are."""
_MOST_MEMBERS = 50
FILE = "coalesce(s.path, 'experiment ' || p.experiment_id)"
"""Where a point p with its source s comes from."""
FACTS = (
    "model",
    "platform",
    "devices",
    "engine",
    "engine_version",
    "config",
    "isl",
    "osl",
    "lengths",
    "arrival",
    "concurrency",
    "request_rate",
    "batch_size",
    "client",
)
"""What makes a key, in the order of reading."""
_BESIDE = ("requests", "warmup_requests", "measured_at")
"""Recorded, but no part of the key: what may explain why two points of one key differ."""


def describe(connection: Connection, points: Sequence[int], names: Sequence[str] = FACTS) -> list[dict[str, object]]:
    """Of each point what is known of `names`; where all of `FACTS` is asked, its file (or experiment) and row first."""
    with_file = ("file", "row") if names is FACTS else ()
    found = _rows(connection, points, [*with_file, *names])
    return [{name: _plain(name, value) for name, value in found[p].items() if value is not None} for p in points]


def differing(connection: Connection, groups: Sequence[Sequence[int]]) -> list[dict[str, object]]:
    """Of each group of points its files, and the columns beside the key in which the points differ ("differs")."""
    chosen = [list(group[:_MOST_MEMBERS]) for group in groups]
    found = _rows(connection, [point for group in chosen for point in group], ["file", *_BESIDE, "extra"])
    answer: list[dict[str, object]] = []
    for group in chosen:
        rows = [_flat(found[point]) for point in group]
        names = sorted({name for row in rows for name in row} - {"file"})
        files = list(dict.fromkeys(row.get("file") for row in rows))
        differs = [name for name in names if len({canonical_json(row.get(name)) for row in rows}) > 1]
        answer.append({"files": files, "differs": differs})
    return answer


def _rows(connection: Connection, points: Sequence[int], names: Sequence[str]) -> dict[int, dict[str, Any]]:
    columns = {
        "file": FILE,
        "row": "p.source_row",
        **{name: f"p.{name}" for name in (*FACTS, *_BESIDE, "extra")},
    }
    rows = connection.execute(
        f"""SELECT p.point_id, {", ".join(columns[name] for name in names)}
            FROM operating_points p LEFT JOIN sources s USING (source_id)
            WHERE p.point_id IN (SELECT unnest(?::BIGINT[]))""",
        [list(points)],
    ).fetchall()
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}


def _plain(name: str, value: object) -> object:
    return json.loads(str(value)) if name == "config" else jsonable(value)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row with each entry of `extra` as a column of its own; notes of the importer are none."""
    extra = json.loads(row["extra"] or "{}")
    plain = {name: jsonable(value) for name, value in row.items() if name != "extra"}
    return plain | {f"extra.{name}": value for name, value in extra.items() if name != "import"}
