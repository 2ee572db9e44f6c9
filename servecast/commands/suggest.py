"""`servecast suggest` and `servecast record`: the same tuning for people who launch their servers themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perfdb.errors import InputError
from servecast.commands.tune import BudgetFlag, TaskFile
from servecast.options import DEFAULT_DB, Db, Json, Sets, Wait, open_store, pairs, typed


def suggest(
    task: TaskFile,
    db: Db = DEFAULT_DB,
    count: Annotated[int, typer.Option("--count", min=1, max=100, help="How many configs to suggest.")] = 1,
    budget: BudgetFlag = None,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Print the next configs to run for TASK, each with its launch command and why it was chosen."""
    from servecast.output import emit_json
    from servecast.tuning.ask import suggestions
    from servecast.tuning.budget import Budget
    from servecast.tuning.console import say_suggestions
    from servecast.tuning.open_task import open_tuning

    asked = None if budget is None else Budget.parse(budget)
    tuning = open_tuning(task, open_store(db, wait))
    cap = asked or tuning.task.budget_cap()
    answer = suggestions(tuning, cap, count)
    emit_json(answer) if json else say_suggestions(answer)


def record(
    task: TaskFile,
    db: Db = DEFAULT_DB,
    sets: Sets = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME=VALUE", help="A measured value, in its unit; repeatable."),
    ] = None,
    failed: Annotated[
        str | None,
        typer.Option("--failed", metavar="OUTCOME", help="It failed: oom, launch_failed, timeout, crashed, …"),
    ] = None,
    error: Annotated[str | None, typer.Option("--error", help="One sentence on the failure.")] = None,
    wall_s: Annotated[float, typer.Option("--wall-s", min=0, help="Seconds that the experiment took.")] = 0.0,
    file: Annotated[
        Path | None, typer.Option("--file", help="Results as JSON instead (one, or a list); - reads stdin.")
    ] = None,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Take the result or the failure of a config that you ran yourself, so that the next choice learns from it.

    In a file, each result is {"config": {..}, "metrics": {"ttft_s": 0.3, ..}} or {"config": {..}, "outcome": "oom"}.
    """
    from servecast.output import emit_json, note
    from servecast.tuning.ask import Report, record_reports, reports_from_file
    from servecast.tuning.open_task import open_tuning

    tuning = open_tuning(task, open_store(db, wait))
    if file is not None:
        if sets or metric or failed:
            raise InputError.at("--file", "given together with --set, --metric or --failed", "one or the other")
        reports = reports_from_file(file)
    else:
        config = {name: typed(text) for name, text in pairs(sets, "--set").items()}
        metrics = {name: typed(text) for name, text in pairs(metric, "--metric").items()}
        reports = [Report.of("--set/--metric", config, metrics, failed, error, wall_s)]
    answer = record_reports(tuning, reports)
    if json:
        emit_json(answer)
    else:
        for entry in answer["recorded"]:
            note(f"recorded {entry['id']}: {entry['outcome']}{', on the frontier' if entry['on_frontier'] else ''}")
