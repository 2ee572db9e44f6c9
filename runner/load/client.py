"""One streaming completion request and its time stamps."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.load.plan import Request

if TYPE_CHECKING:
    import aiohttp


@dataclass(frozen=True)
class Endpoint:
    """Where completions are asked for, with body fields for every request. `timeout_s` bounds each request."""

    url: str
    model: str = "default"
    fields: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 600.0


@dataclass
class RequestRecord:
    """What happened to one request; times are seconds on one monotonic clock, `token_s` those of its text chunks."""

    index: int
    sent_s: float
    token_s: list[float] = field(default_factory=list)
    done_s: float | None = None
    input_tokens: int | None = None
    output_tokens: int = 0
    error: str | None = None
    status: int | None = None

    @property
    def ok(self) -> bool:
        """Whether it was answered to the end."""
        return self.error is None and self.done_s is not None

    @property
    def ttft_s(self) -> float | None:
        """Request sent to first token."""
        return self.token_s[0] - self.sent_s if self.token_s else None

    @property
    def e2e_s(self) -> float | None:
        """Request sent to last token."""
        return self.token_s[-1] - self.sent_s if self.token_s else None

    @property
    def tpot_s(self) -> float | None:
        """(e2e - ttft) / (output tokens - 1); None for answers of one token."""
        if self.output_tokens < 2 or not self.token_s:
            return None
        return (self.token_s[-1] - self.token_s[0]) / (self.output_tokens - 1)


class _AnswerError(Exception):
    """The server answered, but not with a completion."""


async def send(session: aiohttp.ClientSession, endpoint: Endpoint, request: Request) -> RequestRecord:
    """Send one request and read its stream to the end; what goes wrong is noted in the record, never raised."""
    import aiohttp

    body = {
        "model": endpoint.model,
        "prompt": request.prompt,
        "max_tokens": request.max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **endpoint.fields,
    }
    record = RequestRecord(request.index, time.perf_counter())
    try:
        async with asyncio.timeout(endpoint.timeout_s), session.post(endpoint.url, json=body) as response:
            record.status = response.status
            if response.status != 200:
                record.error = f"HTTP {response.status}: {_short(await response.text())}"
            else:
                await _read(response.content, record)
                record.error = None if record.token_s else "the stream held no token"
    except TimeoutError:
        record.error = f"no complete answer within {endpoint.timeout_s:g} s"
    except _AnswerError as error:
        record.error = str(error)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        record.error = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    record.done_s = time.perf_counter()
    return record


async def _read(stream: aiohttp.StreamReader, record: RequestRecord) -> None:
    usage: dict[str, Any] = {}
    is_whole = False
    async for line in stream:
        now = time.perf_counter()
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            is_whole = True
            break
        event = json.loads(data)
        if event.get("error"):
            raise _AnswerError(_short(json.dumps(event["error"])))
        usage = event.get("usage") or usage
        choices = event.get("choices") or ()
        if any(choice.get("text") for choice in choices):
            record.token_s.append(now)
        is_whole = is_whole or any(choice.get("finish_reason") for choice in choices)
    if not is_whole:  # without a length or chunks, a broken connection reads like the end of an answer
        raise _AnswerError("the stream broke off before the answer ended")
    record.input_tokens = usage.get("prompt_tokens")
    record.output_tokens = usage.get("completion_tokens") or len(record.token_s)


def _short(text: str) -> str:
    return " ".join(text.split())[:200]
