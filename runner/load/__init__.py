"""The built-in load client: streaming completions against any OpenAI-compatible server, measured per request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perfdb.records import Measurement, Workload
from runner.load.client import Endpoint, RequestRecord
from runner.load.drive import measure, warm_up
from runner.load.plan import complete, draw


@dataclass(frozen=True)
class LoadResult:
    """What one window yielded: the workload as it was run, its measurements, its requests, and why some failed."""

    workload: Workload
    measurements: tuple[Measurement, ...]
    records: Sequence[RequestRecord]
    reasons: Mapping[str, int]


def run_load(endpoint: Endpoint, workload: Workload, seed: int = 0) -> LoadResult:
    """Measure a server that already runs: warm-up, then the workload. Failed requests are counted, never raised.

    Raises:
        InputError: the workload cannot be run (see `complete`).
    """
    from runner.load.summary import reasons, summarise

    whole = complete(workload)
    records: list[RequestRecord] = []

    async def work() -> None:
        tokenizer = await warm_up(endpoint, whole, seed)
        await measure(endpoint, whole, draw(whole, seed, tokenizer), records)

    asyncio.run(work())
    return LoadResult(whole, summarise(records), records, reasons(records))
