"""The command line. Every command is thin: it reads its flags, calls one function and prints the answer."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from perfdb.errors import OutputError, ServecastError
from servecast.commands import (
    accuracy,
    capacity,
    collect,
    database,
    demo,
    facts,
    importing,
    ops,
    replay,
    simulate,
    suggest,
    tune,
    whatif,
    workload,
)
from servecast.start import INTERRUPTED

app = typer.Typer(
    name="servecast",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("import")(importing.import_files)
app.command("whatif")(whatif.whatif)
app.command("simulate")(simulate.simulate)
app.command("capacity")(capacity.capacity)
app.command("ops")(ops.ops)
app.command("accuracy")(accuracy.accuracy)
app.command("tune")(tune.tune)
app.command("suggest")(suggest.suggest)
app.command("record")(suggest.record)
app.command("replay")(replay.replay)
app.add_typer(collect.app, name="collect")
app.add_typer(workload.app, name="workload")
app.add_typer(database.app, name="db")
app.command("models")(facts.models)
app.command("platforms")(facts.platforms)
app.command("engines")(facts.engines)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"servecast {version('servecast')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Predict every LLM-serving configuration, run only the few that matter, end in a measured Pareto frontier."""


def run() -> None:
    """Run the command line; errors of the product become one sentence on stderr and an exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    try:
        _run_to_the_end()
    except ServecastError as error:
        sys.stderr.write(f"servecast: {error}\n")
        sys.exit(error.exit_code)
    except MemoryError:
        sys.stderr.write("servecast: the answer takes more memory than there is; expected fewer requests or configs\n")
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # what typer makes of Ctrl-C, without a word
            raise KeyboardInterrupt from ended
        raise
    except BrokenPipeError:  # the reader of our output has gone (head, less): nothing is left to say
        _drop_output()
        sys.exit(1)


def _run_to_the_end() -> None:
    """Run it, and see that stdout took what was printed: until then an answer is lost without anybody knowing.

    Raises:
        OutputError: stdout did not. BrokenPipeError: its reader has gone.
    """
    try:
        app()
    finally:
        try:
            print(end="", flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            _drop_output()
            raise OutputError(f"stdout: cannot be written ({error.strerror}); expected room for the answer") from error


def _drop_output() -> None:
    """Let what stdout still holds go nowhere, lest Python complain at exit that it cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
