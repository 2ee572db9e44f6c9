"""One operating point on a ready server: warm-up, load, and what the machine did meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from perfdb.metrics import Statistic
from perfdb.records import Measurement, Outcome, PointResult, Workload
from runner.failures import JobError, requests_failed
from runner.limits import Limits
from runner.load.client import Endpoint, RequestRecord
from runner.load.drive import measure, warm_up
from runner.load.plan import complete, draw
from runner.load.summary import reasons, summarise, write_records
from runner.server import RunningServer

LEAST_SUCCESS = 0.95
"""A point with a smaller share of completed requests is partial."""
_LOOK_S = 0.05
_DEATH_S = 1.0
_T = TypeVar("_T")


def measure_point(
    server: RunningServer,
    workload: Workload,
    seed: int,
    fields: Mapping[str, Any],
    limits: Limits,
    window: str,
    records_path: Path | None = None,
) -> tuple[PointResult, JobError | None]:
    """Measure one workload; what was measured comes back even where it failed. `window` as in `draw`.

    Raises:
        InputError: the workload cannot be run.
        JobError: it failed before anything was measured.
    """
    whole = complete(workload)
    endpoint = Endpoint(server.completions_url, fields=fields, timeout_s=limits.request_timeout_s)
    return asyncio.run(_point(server, whole, seed, endpoint, limits, window, records_path))


async def _point(
    server: RunningServer,
    workload: Workload,
    seed: int,
    endpoint: Endpoint,
    limits: Limits,
    window: str,
    records_path: Path | None,
) -> tuple[PointResult, JobError | None]:
    tokenizer = await _watched(warm_up(endpoint, workload, seed), server, limits)
    requests = draw(workload, seed, tokenizer, window=window)
    records: list[RequestRecord] = []
    failure: JobError | None = None
    cpu = server.process.cpu_seconds()
    try:
        await _watched(measure(endpoint, workload, requests, records), server, limits)
    except JobError as error:
        failure = error
    machine = _machine(server, cpu)
    if records_path is not None:
        write_records(records_path, records)
    measurements = (*summarise(records, len(requests)), *machine)
    failure = failure or _verdict(server, records)
    point_outcome = Outcome.OK if failure is None else Outcome.PARTIAL
    if not any(record.ok for record in records) and failure is not None:
        point_outcome = failure.outcome
    return PointResult(workload, measurements, point_outcome), failure


async def _watched(work: Coroutine[Any, Any, _T], server: RunningServer, limits: Limits) -> _T:
    """Await `work`, but not beyond the server's end, the deadline or a cancellation."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_S)
            if not task.done():
                _check(server, limits)
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _check(server: RunningServer, limits: Limits) -> None:
    code = server.process.poll()
    if code is not None:
        raise server.failure(code)
    limits.check("the load was not finished")


def _verdict(server: RunningServer, records: list[RequestRecord]) -> JobError | None:
    good = sum(record.ok for record in records)
    if good == len(records):
        return None
    # Broken connections are seen before the process's end is.
    broken = any(record.status in {None, 200} for record in records if not record.ok)
    code = server.process.wait(_DEATH_S) if broken else None
    if code is not None:
        return server.failure(code)
    if good >= LEAST_SUCCESS * len(records):
        return None
    refused = all(record.status is not None and 400 <= record.status < 500 for record in records)
    return requests_failed(len(records), good, reasons(records), refused)


def _machine(server: RunningServer, cpu_before: float) -> list[Measurement]:
    resident = server.process.memory_bytes()
    if not resident:  # a server that is gone: zeros would be no measurement
        return []
    used = max(0.0, server.process.cpu_seconds() - cpu_before)
    pairs = (
        ("server_cpu_s", used),
        ("load_avg", os.getloadavg()[0]),
        ("memory_bytes", float(resident)),
    )
    return [Measurement(name, Statistic.VALUE, value) for name, value in pairs]
