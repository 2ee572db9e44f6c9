"""`servecast db quarantine`: the rows that were set aside, and reading their files again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from servecast.options import DEFAULT_DB, Db, Json, Sets, Wait, open_existing, pairs

if TYPE_CHECKING:
    from perfdb.batch import BadRow, StoredSource

app = typer.Typer(help="Rows that were set aside: list, show, retry.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(db: Db = DEFAULT_DB, wait: Wait = 30.0, json: Json = False) -> None:
    """Print how many rows of which file were set aside, and why."""
    from servecast.output import emit_json, print_table

    groups = open_existing(db, wait).quarantine()
    if json:
        emit_json({"database": str(db), "quarantine": groups})
    elif groups:
        print_table(["source", "rows", "reason", "file"], [[g[n] for n in _LISTED] for g in groups])
    else:
        print("No row is in quarantine.")


_LISTED = ("source_id", "rows", "reason", "file")


@app.command("show")
def show(
    file: Annotated[str, typer.Argument(help="An imported file, or its number.", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many faults.")] = 20,
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Print the rows of FILE that were set aside: row, column, value and reason."""
    from perfdb.importers.again import choose
    from servecast.output import emit_json

    store = open_existing(db, wait)
    answers = [
        _faults(stored, store.quarantined(stored.source_id, limit)) for stored, _ in choose(store.sources(), [file])
    ]
    if json:
        emit_json({"database": str(db), "files": answers})
        return
    for answer in answers:
        _say_faults(answer)


def _faults(stored: StoredSource, rows: list[BadRow]) -> dict[str, Any]:
    return {
        "source_id": stored.source_id,
        "file": stored.source.path,
        "quarantined": stored.counts.quarantined,
        "faults": [{"row": r.row, "column": r.column, "value": r.value, "reason": r.reason} for r in rows],
    }


def _say_faults(answer: Mapping[str, Any]) -> None:
    from servecast.output import print_table

    faults = answer["faults"]
    title = f"{answer['file']} (source {answer['source_id']}): {answer['quarantined']} rows in quarantine"
    if not faults:
        print(title)
        return
    print_table(["row", "column", "value", "reason"], [list(fault.values()) for fault in faults], title=title)
    if len({fault["row"] for fault in faults}) < answer["quarantined"]:
        print(f"… the first {len(faults)} faults; --limit shows more")


@app.command("retry")
def retry(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Imported files, or their numbers; without any, all with rows in quarantine."),
    ] = None,
    sets: Sets = None,
    map_file: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="A YAML file: column -> field, optionally with its unit."),
    ] = None,
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Read FILES again as they were imported, with --set and --map besides: what is sound now takes the place of all
    that the file brought before."""
    from perfdb.importers.again import retry as read_again
    from servecast.output import emit_json

    done = read_again(open_existing(db, wait), files or [], pairs(sets, "--set"), map_file)
    if json:
        emit_json({"database": str(db), "files": [each.to_json() for each in done]})
        return
    for each in done:
        _say_retried(each.to_json())
    if not done:
        print("No file has rows in quarantine.")


def _say_retried(answer: Mapping[str, Any]) -> None:
    before, after = answer["before"], answer["after"]
    if after is None:
        print(f"left alone: {answer['left_alone']}")
        return
    print(
        f"{answer['file']}: {after['rows_read']} rows: {after['stored']} stored ({before['stored']} before), "
        f"{after['duplicates']} duplicates, {after['quarantined']} quarantined ({before['quarantined']} before)"
    )
