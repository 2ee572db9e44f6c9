"""`servecast db merge`: another performance database into this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.options import DEFAULT_DB, Db, Json, Wait, open_store


def merge(
    other: Annotated[Path, typer.Argument(help="Another performance database.", show_default=False)],
    db: Db = DEFAULT_DB,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be stored, and store nothing.")] = False,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Bring what is new in OTHER into the database: files, operations, runs, quarantine. OTHER is only read."""
    from servecast.output import emit_json, print_table

    counts = open_store(db, wait).merge(other, dry_run)
    tables = {table: count.to_json() for table, count in counts.items()}
    if json:
        emit_json({"database": str(db), "other": str(other), "dry_run": dry_run, "tables": tables})
        return
    stored = "would be stored" if dry_run else "stored"
    rows = [[table, *count.values()] for table, count in tables.items() if count["read"]]
    print_table(["table", "read", stored, "duplicates"], rows, title=f"{other} into {db}")
