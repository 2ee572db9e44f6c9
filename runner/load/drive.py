"""Sends the requests of a workload in its arrival process: closed loop, Poisson, constant rate or static batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from perfdb.lengths import longest
from perfdb.records import Arrival, Workload
from runner.load.client import Endpoint, RequestRecord, send
from runner.load.plan import Request, Tokenizer, draw
from runner.vocabulary import words

if TYPE_CHECKING:
    import aiohttp


@asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    """A new connection per request: a kept one that the server closes meanwhile would fail a POST."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        yield session


async def warm_up(endpoint: Endpoint, workload: Workload, seed: int) -> Tokenizer:
    """Learn how words become tokens from two short prompts, then send a complete workload's warm-up requests, no more
    at once than it allows."""
    isl, _ = longest(workload)
    sizes = (max(1, isl // 8), max(2, isl // 4))
    async with _session() as session:
        probes = [
            await send(session, endpoint, Request(i, words(n, f"{seed} probe {i}"), 1)) for i, n in enumerate(sizes)
        ]
        tokenizer = _tokenizer(sizes, probes)
        requests = draw(workload, seed, tokenizer, workload.warmup_requests)
        await _closed(session, endpoint, requests, workload.concurrency or workload.batch_size or len(requests), [])
    return tokenizer


def _tokenizer(sizes: Sequence[int], probes: Sequence[RequestRecord]) -> Tokenizer:
    (few, many), counts = sizes, [probe.input_tokens for probe in probes if probe.ok]
    if len(counts) < 2 or counts[0] is None or counts[1] is None or counts[1] <= counts[0]:
        return Tokenizer()
    per_word = (counts[1] - counts[0]) / (many - few)
    return Tokenizer(counts[0] - per_word * few, per_word)


async def measure(
    endpoint: Endpoint, workload: Workload, requests: Sequence[Request], done: list[RequestRecord]
) -> None:
    """Send the requests of a complete workload; finished ones are appended to `done`, which outlives a cancellation."""
    async with _session() as session:
        if workload.arrival is Arrival.CLOSED:
            await _closed(session, endpoint, requests, workload.concurrency or 1, done)
        elif workload.arrival is Arrival.BATCH:
            width = workload.batch_size or 1
            for start in range(0, len(requests), width):
                await _closed(session, endpoint, requests[start : start + width], width, done)
        else:
            await _open(session, endpoint, requests, workload.concurrency, done)


async def _closed(
    session: aiohttp.ClientSession,
    endpoint: Endpoint,
    requests: Sequence[Request],
    concurrency: int,
    done: list[RequestRecord],
) -> None:
    waiting = iter(requests)

    async def user() -> None:
        for request in waiting:
            done.append(await send(session, endpoint, request))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(requests))):
            group.create_task(user())


async def _open(
    session: aiohttp.ClientSession,
    endpoint: Endpoint,
    requests: Sequence[Request],
    concurrency: int | None,
    done: list[RequestRecord],
) -> None:
    clock = asyncio.get_running_loop()
    start = clock.time()
    room = asyncio.Semaphore(concurrency or len(requests))

    async def one(request: Request) -> None:
        await asyncio.sleep(max(0.0, start + request.due_s - clock.time()))
        async with room:
            done.append(await send(session, endpoint, request))

    async with asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(one(request))
