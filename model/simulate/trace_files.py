"""Traces of requests in the files that people have: our own JSON lines, Mooncake's, Azure's and BurstGPT's.

| format | one request | time |
| --- | --- | --- |
| own JSONL | arrival_s, input_tokens, output_tokens; optional prefix_id and prefix_tokens | seconds |
| Mooncake JSONL | timestamp, input_length, output_length, hash_ids (one per 512 tokens) | milliseconds |
| Azure CSV | TIMESTAMP, ContextTokens, GeneratedTokens | date and time |
| BurstGPT CSV | Timestamp, Request tokens, Response tokens | seconds |

Times count from the first request.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.simulate.state import NO_SHARING
from model.simulate.trace import Trace
from perfdb.errors import FileError

MOONCAKE_CHUNK = 512
"""Tokens that one of Mooncake's hash ids stands for."""


class _Row(NamedTuple):
    arrival_s: float
    prompt: int
    output: int
    shared: int = 0
    chunks: tuple[Any, ...] = ()
    chunk_tokens: int = NO_SHARING


def read_trace(path: Path) -> Trace:
    """The requests of a file, by their arrival.

    Raises:
        FileError: it cannot be read, is of no known format, or a line of it lacks a field or holds no number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            rows = list(_json_rows(path, file) if first.lstrip().startswith("{") else _csv_rows(path, file))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not UTF-8 text") from error
    if not rows:
        raise FileError(f"{path}: no request in it; expected at least one")
    return _trace(rows)


def _trace(rows: list[_Row]) -> Trace:
    rows.sort(key=lambda row: row.arrival_s)
    names: dict[Any, int] = {}
    chunks = [names.setdefault(name, len(names)) for row in rows for name in row.chunks]
    counts = np.array([len(row.chunks) for row in rows], dtype=np.int64)
    arrival = np.array([row.arrival_s for row in rows])
    return Trace(
        arrival - arrival[0],
        np.array([row.prompt for row in rows], dtype=np.int64),
        np.array([row.output for row in rows], dtype=np.int64),
        np.array([row.shared for row in rows], dtype=np.int64),
        np.cumsum(counts) - counts,
        np.array(chunks or [0], dtype=np.int64),
        min(row.chunk_tokens for row in rows),
    )


def _json_rows(path: Path, lines: Iterable[str]) -> Iterator[_Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise FileError(f"{path}, line {number}: not JSON; expected one request") from error
        if not isinstance(found, dict):
            raise FileError(f"{path}, line {number}: not an object; expected one request")
        yield (
            _mooncake(path, number, found) if "hash_ids" in found or "timestamp" in found else _own(path, number, found)
        )


def _own(path: Path, number: int, found: Mapping[str, Any]) -> _Row:
    arrival = _real(path, number, "arrival_s", found.get("arrival_s"))
    prompt = _whole(path, number, "input_tokens", found.get("input_tokens"))
    output = _whole(path, number, "output_tokens", found.get("output_tokens"))
    name = found.get("prefix_id")
    if name is None:
        return _Row(arrival, prompt, output)
    shared = _whole(path, number, "prefix_tokens", found.get("prefix_tokens"))
    if shared > prompt:
        raise FileError(f"{path}, line {number}: prefix_tokens is {shared}; expected at most input_tokens ({prompt})")
    return _Row(arrival, prompt, output, shared, (json.dumps(name, sort_keys=True),))


def _mooncake(path: Path, number: int, found: Mapping[str, Any]) -> _Row:
    arrival = _real(path, number, "timestamp", found.get("timestamp")) / 1e3
    prompt = _whole(path, number, "input_length", found.get("input_length"))
    output = _whole(path, number, "output_length", found.get("output_length"))
    ids = found.get("hash_ids") or []
    if not isinstance(ids, list) or not all(isinstance(each, int | str) for each in ids):
        raise FileError(f"{path}, line {number}: hash_ids is no list of ids")
    return _Row(arrival, prompt, output, min(prompt, len(ids) * MOONCAKE_CHUNK), tuple(ids), MOONCAKE_CHUNK)


_CSV_FIELDS = {
    "timestamp": "time",
    "contexttokens": "prompt",
    "generatedtokens": "output",
    "requesttokens": "prompt",
    "responsetokens": "output",
}


def _csv_rows(path: Path, lines: Iterable[str]) -> Iterator[_Row]:
    reader = csv.reader(lines)
    header = [_CSV_FIELDS.get(name.lower().replace(" ", "").replace("_", ""), "") for name in next(reader, [])]
    missing = {"time", "prompt", "output"} - set(header)
    if missing:
        raise FileError(
            f"{path}: no trace that we know; expected JSON lines, or a CSV with TIMESTAMP and token counts "
            "(ContextTokens, GeneratedTokens or Request tokens, Response tokens)"
        )
    places = [header.index(name) for name in ("time", "prompt", "output")]
    for number, cells in enumerate(reader, 2):
        if not cells:
            continue
        if len(cells) <= max(places):
            raise FileError(f"{path}, line {number}: {len(cells)} cells; expected {len(header)}")
        time, prompt, output = (cells[place] for place in places)
        answer = _whole(path, number, "output tokens", output, least=0)
        if answer:  # BurstGPT keeps requests that failed as answers of no token
            yield _Row(_time(path, number, time), _whole(path, number, "input tokens", prompt), answer)


def _time(path: Path, number: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        # Azure writes seven digits of a second, Python reads six
        head, _, fraction = text.strip().partition(".")
        return datetime.fromisoformat(f"{head}.{(fraction + '000000')[:6]}").timestamp()
    except ValueError:
        raise FileError(f"{path}, line {number}: {text[:40]!r} is no time") from None


def _real(path: Path, number: int, name: str, value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if isinstance(value, bool) or not 0 <= found < 1e12:
        raise FileError(f"{path}, line {number}: {name} is {value!r}; expected a number from 0")
    return found


def _whole(path: Path, number: int, name: str, value: Any, least: int = 1) -> int:
    found = _real(path, number, name, value)
    if found != int(found) or not least <= found < 2**40:
        raise FileError(f"{path}, line {number}: {name} is {value!r}; expected a whole number from {least}")
    return int(found)
