"""`servecast db`: look into the performance database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.commands import db_check, db_info, db_merge, db_quarantine
from servecast.options import DEFAULT_DB, Db, Json, Wait, open_existing

app = typer.Typer(help="Look into the performance database.", no_args_is_help=True, rich_markup_mode=None)
app.command("info")(db_info.info)
app.command("check")(db_check.check)
app.command("merge")(db_merge.merge)
app.add_typer(db_quarantine.app, name="quarantine")


@app.command("sql")
def sql(
    query: Annotated[str, typer.Argument(help="One SQL query; it can only read.", show_default=False)],
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Run a read-only SQL QUERY.

    The view `results` has a row per operating point with the usual metrics as columns: ttft_s (mean), ttft_s_p99,
    output_tps … Tables: sources, operating_points, measurements, op_measurements, runs, experiments, suggestions,
    quarantine, duplicates.
    """
    from servecast.output import emit_json, print_table

    table = open_existing(db, wait).sql(query)
    if json:
        emit_json({"columns": table.columns, "rows": table.rows})
    else:
        print_table(table.columns, table.rows)


@app.command("export")
def export(
    what: Annotated[str, typer.Argument(help="A table, the view results, or a query.", show_default=False)],
    to: Annotated[Path, typer.Argument(help="Where to: .csv, .parquet or .json.", show_default=False)],
    db: Db = DEFAULT_DB,
    force: Annotated[bool, typer.Option("--force", help="Replace the file where it exists already.")] = False,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Write WHAT (a table, the view `results`, or a query) to a new file, whole or not at all."""
    from servecast.output import emit_json, note

    rows = open_existing(db, wait).export(what, to, force)
    if json:
        emit_json({"file": str(to), "rows": rows})
    else:
        note(f"{rows} rows written to {to}")
