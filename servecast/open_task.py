"""From a task file and a database to a `Tuning`: everything is checked before anything is written."""

from __future__ import annotations

from pathlib import Path

from perfdb.store import Store
from search.strategies import strategy
from servecast.context import context_of
from servecast.space import task_space
from servecast.spec import load_task
from servecast.tuning import Tuning


def open_tuning(path: Path, store: Store) -> Tuning:
    """Open the run of a task: the one that its database holds, or a new one. Logs go to `logs` beside the database.

    Raises:
        InputError and its kind: the task is wrong, or names what is not there. StoreError: the database cannot be used.
    """
    task = load_task(path)
    folder = path.resolve().parent
    space = task_space(task)
    strategy(task.strategy)
    logs = store.path.resolve().parent / "logs"
    context = context_of(task, folder, logs)
    run_id = store.open_run(task.name, task.key(), task.model_dump(mode="json"))
    return Tuning(task, context, store, run_id, space)
