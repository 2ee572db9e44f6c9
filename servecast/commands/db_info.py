"""`servecast db info`: what the database holds, and where its operations are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from servecast.options import DEFAULT_DB, Db, Json, Wait, open_existing

if TYPE_CHECKING:
    from perfdb.store.coverage import Coverage

_SHOWN = 20
_PICTURES = 12


def info(
    op: Annotated[
        str | None, typer.Option("--op", help="Draw where this operation is measured (gemm, moe, …).")
    ] = None,
    platform: Annotated[str | None, typer.Option("--platform", help="Only this platform.")] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="Only this engine.")] = None,
    engine_version: Annotated[str | None, typer.Option("--engine-version", help="Only this version of it.")] = None,
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Print what is there: tables, files, counts per platform, engine and model, operations; with --op a picture."""
    from servecast.output import emit_json

    store = open_existing(db, wait)
    wanted = {"platform": platform, "engine": engine, "engine_version": engine_version}
    if op is not None:
        found = store.coverage(op, platform, engine, engine_version)
        emit_json({"coverage": [each.to_json() for each in found]}) if json else _say_coverage(op, found)
        return
    answer = store.info()
    for part in ("contexts", "operations"):
        answer[part] = [entry for entry in answer[part] if _fits(entry, wanted)]
    emit_json(answer) if json else _say(answer, any(wanted.values()))


def _fits(entry: Mapping[str, Any], wanted: Mapping[str, str | None]) -> bool:
    return all(entry.get(name) == value for name, value in wanted.items() if value is not None and name in entry)


def _say(answer: Mapping[str, Any], is_chosen: bool) -> None:
    from servecast.output import print_table

    print_table(["table", "rows"], answer["tables"].items(), title=answer["path"])
    _say_some(answer["formats"], "Files by format")
    _say_some(answer["contexts"], "Serving measurements")
    _say_some(_operations(answer["operations"]), "Operations; --op NAME draws where one is measured")
    if is_chosen and not answer["contexts"] and not answer["operations"]:
        print("\nNothing of that platform, engine and version is there.")


def _say_some(entries: Sequence[Mapping[str, Any]], title: str) -> None:
    from servecast.output import print_table

    if entries:
        print()
        rows = [[_short(name, value) for name, value in entry.items()] for entry in entries[:_SHOWN]]
        print_table(list(entries[0]), rows, title=title)
    if len(entries) > _SHOWN:
        print(f"… {len(entries) - _SHOWN} more (--json, or choose with --platform and --engine)")


def _short(name: str, value: object) -> object:
    """Times to the minute."""
    return value[:16].replace("T", " ") if name.endswith("_at") and isinstance(value, str) else value


def _operations(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tables of one platform, engine and version taken together."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for table in tables:
        groups.setdefault((table["platform"], table["engine"], table["engine_version"]), []).append(table)
    found = [
        {
            "platform": platform,
            "engine": engine,
            "version": version,
            "rows": sum(table["rows"] for table in members),
            "operations": ", ".join(f"{t['op']} {t['rows']:,}" for t in sorted(members, key=lambda t: -t["rows"])[:4])
            + (" …" if len(members) > 4 else ""),
        }
        for (platform, engine, version), members in groups.items()
    ]
    return sorted(found, key=lambda entry: -entry["rows"])


def _say_coverage(op: str, found: Sequence[Coverage]) -> None:
    from servecast.kernels.coverage_picture import picture

    if not found:
        print(f"No {op} is measured there.")
    for coverage in found[:_PICTURES]:
        print("\n".join(picture(coverage)), end="\n\n")
    if len(found) > _PICTURES:
        print(f"… {len(found) - _PICTURES} more: choose with --platform, --engine and --engine-version")
