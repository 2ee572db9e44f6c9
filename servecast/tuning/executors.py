"""Which executor answers for a task: this machine, or a recorded grid."""

from __future__ import annotations

from runner.execute import Executor
from servecast.tuning.tuning import Tuning


def executor_for(tuning: Tuning) -> Executor:
    """The executor of a task.

    Raises:
        FileError: the recorded grid cannot be read. EngineError: the engine cannot be launched from here.
    """
    if tuning.task.replay is not None:
        from servecast.tuning.recorded_grid import replay_executor

        return replay_executor(tuning)
    from runner.engines import engine_adapter
    from runner.local import LocalExecutor

    engine_adapter(tuning.target.engine)
    return LocalExecutor()
