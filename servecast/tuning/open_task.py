"""From a task file and a database to a `Tuning`: everything is checked before anything is written."""

from __future__ import annotations

from pathlib import Path

from perfdb.errors import InputError
from perfdb.facts.engines import engine
from perfdb.store import Store
from search.strategies import strategy
from servecast.output import note
from servecast.tuning.context import context_of
from servecast.tuning.space import devices_of, task_space
from servecast.tuning.task_file import load_task
from servecast.tuning.tuning import Tuning


def open_tuning(path: Path, store: Store) -> Tuning:
    """Open the run of a task: the one that its database holds, or a new one. Logs go to `logs` beside the database.

    Raises:
        InputError and its kind: the task is wrong, or names what is not there. StoreError: the database cannot be used.
    """
    task = load_task(path)
    logs = store.path.resolve().parent / "logs"
    try:
        space = task_space(task)
        strategy(task.strategy)
        task.budget_cap()
        devices = task.devices or int(devices_of(space.grid, engine(task.engine)).max())
        context = context_of(task, path.resolve().parent, logs, devices)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None
    strange = [name for name in task.space if name not in engine(task.engine).parameters]
    if strange and task.replay is None:
        note(f"{path}: {', '.join(strange)}: no parameter of {task.engine} known here; only runs tell what it does")
    run_id = store.open_run(task.name, task.key(), task.model_dump(mode="json"))
    return Tuning(task, context, store, run_id, space)
