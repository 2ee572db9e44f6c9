"""Runs (one tuning each) and what was suggested in them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from perfdb.records import Suggestion
from perfdb.store.codec import dump, dump_intervals, load_config, load_intervals
from perfdb.store.connect import Database
from perfdb.store.engine import engine, transaction
from perfdb.store.rows import insert_rows, must_have_run

_OWN = "FROM runs WHERE task_key = ? ORDER BY rowid LIMIT 1"
"""Of several runs of one task the first is this database's own: others came by a merge."""
_SUGGESTION = ("run_id", "seq", "config_key", "config", "reason", "detail", "predicted", "on_predicted_frontier")


def open_run(database: Database, name: str, task_key: str, task: Mapping[str, object]) -> str:
    """The run of `task_key`, opened again where it was finished, or a new one; see `Store.open_run`."""
    with database.reading(is_kept=True) as connection:
        found = connection.execute(f"SELECT finished_at IS NULL, run_id {_OWN}", [task_key]).fetchone()
    if found and found[0]:
        return str(found[1])
    with engine() as connection, database.writing(connection), transaction(connection):
        found = connection.execute(
            f"""UPDATE runs SET finished_at = NULL, stopped_because = NULL
                WHERE run_id = (SELECT run_id {_OWN}) RETURNING run_id""",
            [task_key],
        ).fetchone()
        if found:
            return str(found[0])
        run_id = uuid.uuid4().hex[:12]
        connection.execute(
            "INSERT INTO runs (run_id, name, task_key, task, opened_at) VALUES (?, ?, ?, ?, now()::TIMESTAMP)",
            [run_id, name, task_key, dump(task)],
        )
        return run_id


def finish_run(database: Database, run_id: str, stopped_because: str) -> None:
    """Note why a run ended; see `Store.finish_run`."""
    with engine() as connection, database.writing(connection), transaction(connection):
        must_have_run(connection, database.path, run_id)
        connection.execute(
            "UPDATE runs SET finished_at = now()::TIMESTAMP, stopped_because = ? WHERE run_id = ?",
            [stopped_because, run_id],
        )


def note_suggestions(database: Database, run_id: str, suggestions: Sequence[Suggestion]) -> None:
    """Append suggestions; see `Store.note_suggestions`."""
    with engine() as connection, database.writing(connection), transaction(connection):
        must_have_run(connection, database.path, run_id)
        last = connection.execute("SELECT coalesce(max(seq), 0) FROM suggestions").fetchall()[0][0]
        rows = [
            (
                run_id,
                last + position,
                suggestion.config.key,
                dump(suggestion.config),
                suggestion.reason,
                suggestion.detail,
                dump_intervals(suggestion.predicted),
                bool(suggestion.on_predicted_frontier),
            )
            for position, suggestion in enumerate(suggestions, start=1)
        ]
        insert_rows(connection, "suggestions", _SUGGESTION, rows, stamped="noted_at")


def suggestions(database: Database, run_id: str) -> list[Suggestion]:
    """The latest suggestion of each config of a run, oldest first; see `Store.suggestions`."""
    with database.reading(is_kept=True) as connection:
        rows = connection.execute(
            """SELECT config, reason, detail, predicted, on_predicted_frontier FROM suggestions
               WHERE run_id = ? QUALIFY row_number() OVER (PARTITION BY config_key ORDER BY seq DESC) = 1
               ORDER BY seq""",
            [run_id],
        ).fetchall()
    return [
        Suggestion(load_config(config), reason, detail, load_intervals(predicted), on_frontier)
        for config, reason, detail, predicted, on_frontier in rows
    ]
