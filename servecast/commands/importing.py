"""`servecast import`: benchmark files of any tool into the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.options import DEFAULT_DB, Db, Json, Sets, Wait, open_store, pairs


def import_files(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders.", show_default=False)],
    db: Db = DEFAULT_DB,
    sets: Sets = None,
    from_path: Annotated[
        str | None,
        typer.Option("--from-path", metavar="PATTERN", help="Read facts from the path: '{_}_tp{tp}_isl{isl}.json'."),
    ] = None,
    map_file: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="A YAML file: column -> field, optionally with its unit."),
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", help="The format, where its content does not tell.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be stored, and store nothing.")] = False,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Import benchmark results. What was imported before is found again by its content and stored once."""
    from perfdb.importers.folder import import_paths
    from perfdb.importers.options import ImportOptions
    from servecast.output import emit_json, note

    options = ImportOptions(pairs(sets, "--set"), from_path, map_file, format_name, dry_run)
    report = import_paths(open_store(db, wait), paths, options).to_json()
    if json:
        emit_json(report)
        return
    verb = "would be stored" if dry_run else "stored"
    files = f"{report['files']} {'file' if report['files'] == 1 else 'files'}"
    print(
        f"{report['rows_read']} rows of {files}: {report['stored']} {verb} ({report['measurements']} "
        f"measurements), {report['duplicates']} duplicates, {report['quarantined']} quarantined"
    )
    for reason, count in report["reasons"].items():
        print(f"  quarantined {count}: {reason}")
    for entry in report["skipped"]:
        print(f"  skipped {entry['file']}: {entry['reason']}")
    for warning in report["warnings"]:
        note(f"warning: {warning}")
