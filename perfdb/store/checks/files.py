"""What became of files: copies, facts that are missing, runs that failed, rows set aside."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from perfdb.quality import Finding, Severity, counted
from perfdb.store.checks.examples import FILE, MOST_EXAMPLES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_FACTS = {"model": "model", "platform": "platform", "engine": "engine", "isl": "isl", "osl": "osl"}
_FACTS |= {"arrival": "concurrency"}
"""A column without which a row teaches little -> the field of --set that supplies it."""


def duplicates(connection: Connection) -> Iterator[Finding]:
    """Files whose records other files brought, whole or in part."""
    rows = connection.execute(
        """SELECT s.path, o.path, count(*) AS records, s.rows_read FROM duplicates d
           JOIN sources s ON s.source_id = d.source_id
           JOIN operating_points p USING (content_key, occurrence) JOIN sources o ON o.source_id = p.source_id
           GROUP BY ALL
           UNION ALL
           SELECT s.path, o.path, s.rows_read, s.rows_read FROM sources s JOIN sources o USING (content_hash)
           WHERE o.source_id = (SELECT min(source_id) FROM sources f WHERE f.content_hash = s.content_hash)
             AND s.source_id > o.source_id
           ORDER BY records DESC, 1, 2"""
    ).fetchall()
    if rows:
        count, files = sum(row[2] for row in rows), len({row[0] for row in rows})
        names = ("file", "same_as", "records", "of")
        examples = tuple(dict(zip(names, row, strict=True)) for row in rows[:MOST_EXAMPLES])
        text = f"{counted(files, 'file')} with {counted(count, 'record')} that other files brought: stored once"
        yield Finding("duplicates", Severity.NOTE, count, text, examples)


def unknown_facts(connection: Connection) -> Iterator[Finding]:
    """Rows without a model, platform, engine, lengths or load, file by file, with what would supply it."""
    lacking = ", ".join(f"count(*) - count(p.{name})" for name in _FACTS)
    anything = " OR ".join(f"p.{name} IS NULL" for name in _FACTS)
    rows = connection.execute(
        f"""SELECT {FILE}, count(*), count(*) FILTER ({anything}) AS unknown, p.source_id IS NOT NULL, {lacking}
            FROM operating_points p LEFT JOIN sources s USING (source_id)
            WHERE p.outcome = 'ok' GROUP BY ALL HAVING unknown > 0 ORDER BY unknown DESC, 1"""
    ).fetchall()
    if not rows:
        return
    examples = []
    for file, points, unknown, is_file, *counts in rows[:MOST_EXAMPLES]:
        missing = {name: n for name, n in zip(_FACTS, counts, strict=True) if n}
        # --set speaks for every row of a file, so it helps only where no row says otherwise
        sets = [f"--set {_FACTS[name]}={_FACTS[name].upper()}" for name, n in missing.items() if n == points]
        fix = " ".join(["servecast db quarantine retry", shlex.quote(file), *sets]) if sets and is_file else None
        examples.append({"file": file, "rows": unknown, "of": points, "unknown": missing, "fix": fix})
    count = sum(row[2] for row in rows)
    text = f"{counted(count, 'row')} of {counted(len(rows), 'file')} without a fact that predictions need"
    yield Finding("unknown_facts", Severity.WARNING, count, text, tuple(examples))


def failures(connection: Connection) -> Iterator[Finding]:
    """Outcomes other than ok, per outcome and file."""
    rows = connection.execute(
        f"""SELECT p.outcome, {FILE}, count(*) FROM operating_points p LEFT JOIN sources s USING (source_id)
            WHERE p.outcome <> 'ok' GROUP BY ALL
            UNION ALL
            SELECT outcome, 'experiment ' || experiment_id, 1 FROM experiments
            ANTI JOIN operating_points USING (experiment_id) WHERE outcome <> 'ok'
            ORDER BY 3 DESC, 1, 2"""
    ).fetchall()
    if rows:
        count = sum(row[2] for row in rows)
        examples = tuple({"outcome": o, "file": file, "rows": n} for o, file, n in rows[:MOST_EXAMPLES])
        yield Finding(
            "failures", Severity.NOTE, count, f"{counted(count, 'run')} failed: no frontier takes them in", examples
        )


def quarantined(connection: Connection) -> Iterator[Finding]:
    """Rows set aside, per reason."""
    rows = connection.execute(
        """SELECT reason, count(*), count(DISTINCT source_id), min(file)
           FROM (SELECT DISTINCT ON (source_id, "row") source_id, "row", file, reason FROM quarantine ORDER BY rowid)
           GROUP BY reason ORDER BY 2 DESC, reason"""
    ).fetchall()
    if rows:
        count = sum(row[1] for row in rows)
        names = ("reason", "rows", "files", "first_file")
        examples = tuple(dict(zip(names, row, strict=True)) for row in rows[:MOST_EXAMPLES])
        text = f"{counted(count, 'row')} set aside: `servecast db quarantine list` shows them"
        yield Finding("quarantine", Severity.WARNING, count, text, examples)
