"""`servecast workload`: what users send, as a file that every command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.options import Json

app = typer.Typer(help="Describe what users send.", no_args_is_help=True, rich_markup_mode=None)


@app.command("fit")
def fit(
    log: Annotated[Path, typer.Argument(help="A trace, or what a load test wrote of each request.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the workload file (YAML).")] = None,
    json: Json = False,
) -> None:
    """Find lengths, arrivals, common prefixes and conversations of the requests in LOG."""
    from servecast.loads.fitting import fit_file, say_fit
    from servecast.output import emit_json

    answer = fit_file(log, out)
    emit_json(answer) if json else say_fit(answer, out)
