"""`servecast ops`: what single operations take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.options import DEFAULT_DB, Db, Json, Wait, open_store


def ops(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Rows of op, dtype, a1, a2 …; docs/operations.md.")],
    platform: Annotated[str, typer.Option("--platform", help="An accelerator, or local.")],
    engine: Annotated[str, typer.Option("--engine", help="Whose kernels: vllm, vllm:0.24.0, sglang …")],
    bench: Annotated[int, typer.Option("--bench", min=0, help="Repeat the batch so often: look-ups per second.")] = 0,
    db: Db = DEFAULT_DB,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Answer what operations take: measured, else interpolated, else estimated, and how surely."""
    from servecast.kernels.kernel_tables import tables_named
    from servecast.kernels.operations import operation_times, say_operations
    from servecast.output import emit_json, note

    document = operation_times(file, tables_named(platform, engine, open_store(db, wait)), bench)
    if json:
        emit_json(document)
        if any("error" in row for row in document["rows"]):
            note(document["warnings"][-1])
        return
    say_operations(document, file)
    if bench:
        print(f"{document['lookups_per_s']:,.0f} look-ups per second of CPU")
