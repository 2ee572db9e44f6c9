"""The seam between deciding and doing: a `Job` goes in, a `JobResult` of some outcome comes out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from perfdb.facts.engines import Applied
from perfdb.records import Config, Outcome, PointResult, Scalar, Target, Workload


@dataclass(frozen=True)
class Job:
    """One launch of one config, measured at each of `workloads` in order on the same warm server. Times are seconds.

    `model_path` is the file or folder that the engine loads, `model_files` its variants by quantisation name (one of
    them is taken where the config has a `quantization`). Logs go to `log_dir`. `applied` says how a parameter is
    applied where the task declares it otherwise than `perfdb.facts.engines` does. `limit_s` caps the whole job, launch
    included: a job that it ends is cancelled, for that says nothing of its config.
    """

    experiment_id: str
    config: Config
    target: Target
    workloads: tuple[Workload, ...]
    log_dir: Path
    model_path: str = ""
    model_files: Mapping[str, str] = field(default_factory=dict)
    launch_timeout_s: float = 600.0
    run_timeout_s: float = 1800.0
    limit_s: float = math.inf
    seed: int = 0
    applied: Mapping[str, Applied] = field(default_factory=dict)


@dataclass(frozen=True)
class JobResult:
    """How a job ended. `points` holds what was measured before it did; `error` is one sentence unless outcome is ok.

    `command` is the line to paste into a shell; `facts` is what the engine's log says of itself (sizes in bytes).
    """

    outcome: Outcome
    points: tuple[PointResult, ...] = ()
    error: str | None = None
    command: str | None = None
    log_path: str | None = None
    started_at: float = 0.0
    wall_s: float = 0.0
    engine_version: str | None = None
    facts: Mapping[str, Scalar] = field(default_factory=dict)


class Executor(Protocol):
    """Runs jobs, as many at a time as it can; a failed job is a result, never an exception."""

    name: str

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, JobResult]]:
        """Yield each job with its result as soon as it has ended."""
        ...

    def close(self) -> None:
        """Stop whatever is kept warm. Idempotent."""
        ...
