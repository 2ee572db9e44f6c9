"""A launched server of one engine: brought to readiness, adjusted while it runs, and stopped."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path

from perfdb.errors import EngineError
from perfdb.records import Config, Outcome, Scalar
from runner.engines.base import Engine, HttpCall, Launch, Split
from runner.execute import Job
from runner.failures import JobError, is_port_taken, log_end, server_ended
from runner.limits import Limits
from runner.process import ServerProcess, free_port

_PROBE_S = 2.0
_PAUSE_S = 0.02
_CALL_S = 60.0


class RunningServer:
    """A ready server with the config it runs. Made by `start`."""

    def __init__(self, engine: Engine, launch: Launch, process: ServerProcess) -> None:
        self.engine = engine
        self.launch = launch
        self.process = process
        self.config: Config | None = None
        self._live: dict[str, Scalar] = {}

    @property
    def completions_url(self) -> str:
        """Where completions are posted."""
        return self.launch.url + self.engine.completions_path

    def serves(self, engine: Engine, job: Job, parts: Split) -> bool:
        """Whether this server, as it runs, can take the job without a restart.

        The same config again is a deliberate repeat: it gets a launch of its own, so that its spread is a launch's too.
        """
        if engine is not self.engine or self.process.poll() is not None or self.config in {None, job.config}:
            return False
        # A live parameter that the job leaves out has its default again only after a restart.
        if not set(self._live) <= set(parts.live):
            return False
        return engine.launch(job, parts.restart, self.launch.port) == self.launch

    def adjust(self, job: Job, parts: Split) -> None:
        """Bring the live parameters to the job's.

        Raises:
            InputError: the engine cannot change one of them while it runs.
            JobError: the server refused one.
        """
        if parts.live != self._live:
            for call in self.engine.live_calls(parts.live):
                self._call(call)
        self._live = dict(parts.live)
        self.config = job.config

    def _call(self, call: HttpCall) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.launch.port, timeout=_CALL_S)
        try:
            connection.request(call.method, call.path, json.dumps(call.body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise JobError(Outcome.CRASHED, f"{call.method} {call.path} was not answered: {error}") from error
        finally:
            connection.close()
        if answer.status >= 400:
            asked = f"{call.method} {call.path} {json.dumps(call.body)}"
            raise JobError(Outcome.INVALID, f"{asked} was refused: HTTP {answer.status} {text[:200]}")

    def facts(self) -> Mapping[str, Scalar]:
        """What the log says of the server."""
        return self.engine.log_facts(self.process.log_head())

    def failure(self, code: int) -> JobError:
        """What it means that this ready server has ended."""
        return server_ended(code, self.process.log_text(), self.engine.refused_signs, ready=True)


def log_path(job: Job) -> Path:
    """Where the job's server logs, if the job starts one."""
    return job.log_dir / f"{job.experiment_id}.log"


def start(engine: Engine, job: Job, parts: Split, limits: Limits) -> RunningServer:
    """Launch and wait for readiness; once again on another port if ours was taken meanwhile.

    Raises:
        InputError: a parameter is refused before anything starts.
        EngineError: the engine is not installed here.
        JobError: the server ended early, was not ready in time, or the job was cancelled.
    """
    for last in (False, True):
        launch = engine.launch(job, parts.restart, free_port())
        job.log_dir.mkdir(parents=True, exist_ok=True)
        process = ServerProcess(launch.argv, launch.env, log_path(job), cwd=job.log_dir)
        try:
            _await_ready(engine, launch, process, limits)
        except BaseException as error:
            process.stop(grace_s=0.0)
            if isinstance(error, JobError) and not last and is_port_taken(process.log_text()):
                continue
            raise
        return RunningServer(engine, launch, process)
    raise EngineError("two free ports in a row were taken by others")  # pragma: no cover - the loop returns or raises


def _await_ready(engine: Engine, launch: Launch, process: ServerProcess, limits: Limits) -> None:
    while True:
        code = process.wait(_PAUSE_S)
        if code is not None:
            raise server_ended(code, process.log_text(), engine.refused_signs, ready=False)
        limits.check(f"the server was not ready; {log_end(process.log_text())}")
        if _healthy(launch.port, engine.health_path, min(max(limits.left_s(), _PAUSE_S), _PROBE_S)):
            return


def _healthy(port: int, path: str, timeout_s: float) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
