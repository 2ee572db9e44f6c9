"""`servecast tune`: run a task until its budget is spent or nothing is worth running."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from servecast.options import DEFAULT_DB, Db, Json, Wait, open_store

TaskFile = Annotated[Path, typer.Argument(help="The task (YAML or JSON).", show_default=False)]
BudgetFlag = Annotated[
    str | None,
    typer.Option("--budget", help="Hard cap, instead of the task's: 12 experiments, 90m, 6gpuh or $40.", metavar="N"),
]


def tune(
    task: TaskFile,
    db: Db = DEFAULT_DB,
    budget: BudgetFlag = None,
    report: Annotated[Path | None, typer.Option("--report", help="Also write the page with the frontier.")] = None,
    wait: Wait = 30.0,
    json: Json = False,
) -> None:
    """Predict all configs of TASK, run the few that matter, and end in a measured Pareto frontier.

    Killed at any moment, the same command goes on where it was.
    """
    from servecast.output import emit_json
    from servecast.report.axes import check_writable
    from servecast.report.document import document
    from servecast.report.page import write_page
    from servecast.tuning.budget import Budget
    from servecast.tuning.console import say_document, watch
    from servecast.tuning.executors import executor_for
    from servecast.tuning.open_task import open_tuning
    from servecast.tuning.tune import tune as run_tuning

    asked = None if budget is None else Budget.parse(budget)
    if report is not None:
        check_writable(report)
    tuning = open_tuning(task, open_store(db, wait))
    cap = asked or tuning.task.budget_cap()
    stopped = run_tuning(tuning, executor_for(tuning), cap, watch(tuning, cap))
    answer = document(tuning, stopped)
    if report is not None:
        write_page(answer, report)
    if json:
        emit_json(answer)
    else:
        say_document(answer)
    if not answer["frontier"]:
        raise typer.Exit(1)
