"""`servecast demo`: the whole product on this machine, for real, in under three minutes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from servecast.options import Json, Wait

DEMO_DIR = Path("servecast-demo")


def demo(
    budget: Annotated[str | None, typer.Option("--budget", help="Hard cap: 12 experiments, 2m, …", metavar="N")] = None,
    out: Annotated[Path, typer.Option("--out", help="The folder to work in.")] = DEMO_DIR,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Make a small model, predict every config of a llama.cpp server, run about 12 for real, show the frontier.

    Needs no GPU and no network. The same command goes on where an earlier one was stopped.
    """
    from servecast.demo import run_demo
    from servecast.output import emit_json, note
    from servecast.tuning.console import say_document

    answer = run_demo(out, budget, wait)
    if json:
        emit_json(answer)
    else:
        say_document(answer)
    note(f"Everything is in {out}: open {out / 'report.html'}, or go on: {_next_command(out, answer)}")
    if not answer["frontier"]:
        raise typer.Exit(1)


def _next_command(out: Path, answer: dict[str, list[object]]) -> str:
    more = len(answer["experiments"]) + 4
    return shlex.join(
        ["servecast", "tune", str(out / "task.yaml"), "--db", str(out / "servecast.duckdb"), "--budget", str(more)]
    )
