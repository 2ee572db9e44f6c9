"""Who serves what: a task's names and paths resolved to an architecture, a platform, an engine and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.checkpoint.architecture import Architecture, resolve_model
from model.question import Question
from perfdb.errors import FileError
from perfdb.facts.engines import engine
from perfdb.facts.platforms import PlatformFacts, platform
from perfdb.records import Grid, Target
from servecast.tuning.spec import TaskSpec


@dataclass(frozen=True)
class TaskContext:
    """A task's target under canonical names, with the paths an engine loads (absolute) and the task's folder."""

    architecture: Architecture
    platform: PlatformFacts
    target: Target
    model_path: str
    model_files: Mapping[str, str]
    folder: Path
    log_dir: Path

    def question(self, task: TaskSpec, grid: Grid) -> Question:
        """What the model is asked: this target under the task's operating point, for the configs of `grid`."""
        workload = task.load.workloads()[task.at]
        return Question(self.target, self.architecture, self.platform, workload, grid)


def context_of(task: TaskSpec, folder: Path, log_dir: Path, devices: int) -> TaskContext:
    """Resolve a task's names; its relative paths start at `folder`, its largest config takes `devices`.

    Raises:
        UnknownNameError, FileError, ModelError: the model, the platform or the engine cannot be had.
    """
    local = folder / task.model
    model_path = str(local.resolve()) if local.exists() else task.model
    files = {name: str((folder / path).resolve()) for name, path in task.model_files.items()}
    for name, path in files.items():
        if not Path(path).is_file():
            raise FileError(f"model_files.{name}: {path} is not there; expected a model file")
    architecture = resolve_model(model_path)
    facts, serving = platform(task.platform), engine(task.engine)
    target = Target(architecture.name, facts.name, serving.name, devices)
    return TaskContext(architecture, facts, target, model_path, files, folder, log_dir)
