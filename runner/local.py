"""The executor of this machine: one job at a time, each on a server that it starts and stops itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from perfdb.errors import EngineError, InputError
from perfdb.records import Outcome, PointResult
from runner.engines import engine_adapter
from runner.engines.base import Engine, split
from runner.execute import Job, JobResult
from runner.failures import JobError
from runner.limits import Limits
from runner.measure import measure_point
from runner.server import RunningServer, log_path, start

_SHOWN_PORT = 8080


class LocalExecutor:
    """Runs jobs here, one after the other. A server stays warm for the next job if that differs only in live or
    request parameters; no server outlives this process, however it ends.
    """

    name = "local"

    def __init__(
        self,
        adapter: Callable[[str], Engine] = engine_adapter,
        request_timeout_s: float = 600.0,
        grace_s: float = 5.0,
        keep_records: bool = True,
    ) -> None:
        self._adapter = adapter
        self._request_timeout_s = request_timeout_s
        self._grace_s = grace_s
        self._keep_records = keep_records
        self._cancelled = threading.Event()
        self._warm: RunningServer | None = None

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, JobResult]]:
        """Yield each job with its result as soon as it has ended. Not from inside a running asyncio loop."""
        for job in jobs:
            yield job, self._run_one(job)

    def cancel(self) -> None:
        """End the running job and all later ones as cancelled. May be called from any thread."""
        self._cancelled.set()

    def close(self) -> None:
        """Stop whatever is kept warm. Idempotent."""
        server, self._warm = self._warm, None
        if server is not None:
            server.process.stop(self._grace_s)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run_one(self, job: Job) -> JobResult:
        attempt = _Attempt(job, time.time(), time.monotonic())
        try:
            failure = self._measure(attempt)
        except JobError as error:
            failure = error
        except InputError as error:
            failure = JobError(Outcome.INVALID, str(error))
        except EngineError as error:
            failure = JobError(Outcome.LAUNCH_FAILED, str(error))
        except BaseException:
            self.close()
            raise
        if failure is not None:
            self.close()
        return attempt.result(failure)

    def _measure(self, attempt: _Attempt) -> JobError | None:
        """Fill the attempt as far as it gets; the failure that ended it, if any."""
        job = attempt.job
        if self._cancelled.is_set():
            return JobError(Outcome.CANCELLED, "the executor was cancelled before the job began")
        engine = self._adapter(job.target.engine)
        parts = split(job.config, engine.facts, job.applied)
        attempt.command = engine.launch(job, parts.restart, _SHOWN_PORT).command
        fields = engine.request_fields(parts.request)
        if self._warm is None or not self._warm.serves(engine, job, parts):
            self.close()
            self._warm = start(engine, job, parts, self._limits(attempt, job.launch_timeout_s))
        attempt.server = self._warm
        self._warm.adjust(job, parts)
        limits = self._limits(attempt, job.run_timeout_s)
        for index, workload in enumerate(job.workloads):
            window = f"{job.experiment_id}-{index}"
            records = job.log_dir / f"{window}.requests.jsonl" if self._keep_records else None
            point, failure = measure_point(self._warm, workload, job.seed, fields, limits, window, records)
            attempt.points.append(point)
            if failure is not None:
                return failure
        return None

    def _limits(self, attempt: _Attempt, timeout_s: float) -> Limits:
        job_deadline = attempt.clock + attempt.job.limit_s
        return Limits(time.monotonic(), timeout_s, self._cancelled, job_deadline, self._request_timeout_s)


@dataclass
class _Attempt:
    """What is known of a job while it runs."""

    job: Job
    started_at: float
    clock: float
    points: list[PointResult] = field(default_factory=list)
    command: str | None = None
    server: RunningServer | None = None

    def result(self, failure: JobError | None) -> JobResult:
        """The job's result, now that it has ended."""
        server = self.server
        path = log_path(self.job) if server is None else server.process.log_path
        return JobResult(
            outcome=Outcome.OK if failure is None else failure.outcome,
            points=tuple(self.points),
            error=None if failure is None else str(failure),
            command=self.command,
            log_path=str(path) if path.exists() else None,
            started_at=self.started_at,
            wall_s=time.monotonic() - self.clock,
            engine_version=None if server is None else server.launch.version,
            facts={} if server is None else server.facts(),
        )
