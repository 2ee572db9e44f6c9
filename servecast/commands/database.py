"""`servecast db`: look into the performance database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.options import DEFAULT_DB, Db, Json, Wait, open_store

app = typer.Typer(help="Look into the performance database.", no_args_is_help=True, rich_markup_mode=None)


@app.command("info")
def info(db: Db = DEFAULT_DB, wait: Wait = 30.0, json: Json = False) -> None:
    """Print what is there: tables, and counts per model, platform and engine."""
    from servecast.output import emit_json, print_table

    answer = open_store(db, wait).info()
    if json:
        emit_json(answer)
        return
    tables = answer["tables"]
    print_table(["table", "rows"], tables.items(), title=str(db))
    groups = answer["contexts"]
    if groups:
        print()
        print_table(list(groups[0]), [list(group.values()) for group in groups])


@app.command("sql")
def sql(
    query: Annotated[str, typer.Argument(help="One SQL query; it can only read.", show_default=False)],
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Run a read-only SQL QUERY over sources, operating_points, measurements, runs, experiments, quarantine, …"""
    from servecast.output import emit_json, print_table

    table = open_store(db, wait).sql(query)
    if json:
        emit_json({"columns": table.columns, "rows": table.rows})
    else:
        print_table(table.columns, table.rows)


@app.command("export")
def export(
    what: Annotated[str, typer.Argument(help="A table, or a query.", show_default=False)],
    to: Annotated[Path, typer.Argument(help="Where to: .csv, .parquet or .json.", show_default=False)],
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Write WHAT (a table or a query) to a file, whole or not at all."""
    from servecast.output import emit_json, note

    rows = open_store(db, wait).export(what, to)
    if json:
        emit_json({"file": str(to), "rows": rows})
    else:
        note(f"{rows} rows written to {to}")
