"""`servecast import`: benchmark files of any tool into the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perfdb.errors import InputError
from servecast.options import DEFAULT_DB, Db, Json, Sets, Wait, open_store, pairs

if TYPE_CHECKING:
    from perfdb.importers.options import ImportOptions, ImportReport
    from perfdb.store import Store


FromPath = Annotated[
    str | None,
    typer.Option("--from-path", metavar="PATTERN", help="Read facts from the path: '{_}_tp{tp}_isl{isl}.json'."),
]
Map = Annotated[
    Path | None, typer.Option("--map", metavar="FILE", help="A YAML file: column -> field, optionally with its unit.")
]
SaveMap = Annotated[
    Path | None,
    typer.Option(
        "--save-map",
        metavar="FILE",
        help="Write how each column was understood to a new file, to be edited and given back with --map.",
    ),
]
Systems = Annotated[
    str | None,
    typer.Option("--systems", metavar="A,B", help="Of `import aiconfigurator`: the devices whose tables to read."),
]
Format = Annotated[str | None, typer.Option("--format", help="The format, where its content does not tell.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be stored, and store nothing.")]


def import_files(
    paths: Annotated[list[str], typer.Argument(help="Files or folders.", show_default=False)],
    db: Db = DEFAULT_DB,
    sets: Sets = None,
    from_path: FromPath = None,
    map_file: Map = None,
    save_map: SaveMap = None,
    systems: Systems = None,
    format_name: Format = None,
    dry_run: DryRun = False,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Import benchmark results. What was imported before is found again by its content and stored once.

    `servecast import aiconfigurator` reads the operation tables and serving runs of the installed package of that name
    (uv sync --extra aiconfigurator), unless a file or folder here is called so and no --systems are given.
    """
    from perfdb.importers.options import ImportOptions
    from servecast.output import emit_json, note

    options = ImportOptions(pairs(sets, "--set"), from_path, map_file, format_name, dry_run, save_map)
    if "" in paths:  # of a shell variable that is not set; as a path it would be this folder
        raise InputError.at("PATHS", "an empty name", "files or folders")
    report = _import(open_store(db, wait), list(map(Path, paths)), _listed(systems), options).to_json()
    if json:
        emit_json(report)
        return
    _print(report, "would be stored" if dry_run else "stored")
    if save_map is not None and save_map.exists():
        note(f"how the columns were understood stands in {save_map}")


def _print(report: Mapping[str, Any], verb: str) -> None:
    from servecast.output import note

    files = f"{report['files']} {'file' if report['files'] == 1 else 'files'}"
    print(
        f"{report['rows_read']} rows of {files}: {report['stored']} {verb} ({report['measurements']} "
        f"measurements), {report['duplicates']} duplicates, {report['quarantined']} quarantined"
    )
    for reason, count in report["reasons"].items():
        print(f"  quarantined {count}: {reason}")
    for line in _skipped(report["skipped"]):
        print(f"  skipped {line}")
    for warning in report["warnings"]:
        note(f"warning: {warning}")


def _skipped(entries: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Each reason once: with its file, or with how many files and the first of them."""
    files: dict[str, list[str]] = {}
    for entry in entries:
        files.setdefault(entry["reason"], []).append(entry["file"])
    for reason, names in files.items():
        where = names[0] if len(names) == 1 else f"{len(names)} files (first: {names[0]})"
        yield f"{where}: {reason}"


def _listed(systems: str | None) -> list[str] | None:
    """ "a,b" -> ["a", "b"]; None where the flag is not given."""
    return None if systems is None else [name.strip() for name in systems.split(",") if name.strip()]


def _import(store: Store, paths: list[Path], systems: list[str] | None, options: ImportOptions) -> ImportReport:
    from perfdb.importers.folder import import_files, import_paths
    from perfdb.importers.installed import AICONFIGURATOR, Installed
    from servecast.output import note

    is_word = paths == [Path(AICONFIGURATOR)]
    if systems is not None and not is_word:
        raise InputError.at("--systems", "no device to choose from", f"`servecast import {AICONFIGURATOR} --systems …`")
    if is_word and systems is None and paths[0].exists():
        note(f"{AICONFIGURATOR} is a path here and is imported as such; --systems reads the installed package")
    elif is_word:
        package = Installed.find()
        return import_files(store, package.files(systems or ()), options, shown=package.shown)
    return import_paths(store, paths, options)
