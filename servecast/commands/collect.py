"""`servecast collect`: measure what this machine's kernels take."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from servecast.options import Json

app = typer.Typer(help="Measure this machine's kernels.", no_args_is_help=True, rich_markup_mode=None)
OUT = Path("servecast-ops")


class Device(StrEnum):
    """Where kernels run."""

    CPU = "cpu"
    CUDA = "cuda"


class LibraryName(StrEnum):
    """Whose kernels."""

    LLAMACPP = "llamacpp"
    TORCH = "torch"
    NUMPY = "numpy"


@app.callback()
def collect() -> None:
    """Measure this machine's kernels."""


@app.command("ops")
def ops(
    device: Annotated[Device, typer.Option("--device", help="Where: this CPU, or the first CUDA device.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for the table; `servecast import` reads it.")] = OUT,
    models: Annotated[
        str | None, typer.Option("--models", metavar="A,B", help="Measure the shapes of these models, not a grid's.")
    ] = None,
    tp: Annotated[
        str | None,
        typer.Option("--tp", help="With --models: devices that share each layer.", show_default="1,2,4,8"),
    ] = None,
    grid: Annotated[str, typer.Option("--grid", help="How many shapes: tiny, small or full.")] = "small",
    dtypes: Annotated[
        str | None, typer.Option("--dtypes", metavar="A,B", help="Number formats: bf16, fp8, q4_0 … (the usual ones).")
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="T", help="Stop after so long: 90s, 10m, 2h.")
    ] = None,
    python: Annotated[
        str, typer.Option("--python", help="The interpreter that has the library.", show_default="this one")
    ] = sys.executable,
    library: Annotated[
        LibraryName | None,
        typer.Option("--library", help="Whose kernels.", show_default="llamacpp of a CPU, torch of CUDA"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of the host.", show_default="one per core")
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option("--platform", help="What the device is called in the table.", show_default="local, or its name"),
    ] = None,
    json: Json = False,
) -> None:
    """Time products and attention, the coarsest grid first, and write a table that `servecast import` reads.

    Killed at any moment, the same command goes on where it was. How the times came about stands in METHOD.md beside
    them.
    """
    import shlex

    from runner.collect.run import Order
    from runner.collect.run import collect as measure
    from runner.collect.worker_process import Library
    from servecast.kernels import collecting
    from servecast.output import emit_json, note

    collecting.check_places(device, out, python, platform)
    shapes = collecting.shapes_of(device, grid, models, tp)
    usual = LibraryName.LLAMACPP if device is Device.CPU else LibraryName.TORCH
    kernels = Library(library or usual, device, python, collecting.threads_of(threads))
    command = shlex.join(["servecast", *sys.argv[1:]])
    formats, seconds = collecting.number_formats(dtypes), collecting.seconds_of(budget)
    found = measure(Order(kernels, shapes, out, formats, platform, seconds, command), note, collecting.watch())
    emit_json(collecting.document_of(found)) if json else collecting.say_collected(found)
    collecting.check_collected(found)
    if found.table is not None:
        note(f"the table is {found.table}; next: {shlex.join(['servecast', 'import', str(found.table)])}")
