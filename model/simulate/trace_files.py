"""Traces of requests in the files that people have.

| format | one request | time |
| --- | --- | --- |
| own JSONL | arrival_s, input_tokens, output_tokens; optional prefix_id and prefix_tokens, priority | seconds |
| | in a conversation: session_id (or conversation_id), optional turn and think_s; arrival_s for its first turn | |
| records of our load client | sent_s, input_tokens, output_tokens; those with an error are left out | seconds |
| Mooncake JSONL | timestamp, input_length, output_length, hash_ids (one per 512 tokens) | milliseconds |
| Azure CSV | TIMESTAMP, ContextTokens, GeneratedTokens | date and time |
| BurstGPT CSV | Timestamp, Request tokens, Response tokens | seconds |
| any table with one row per request that `servecast import` reads | its start, its tokens | as it says |

Times count from the first request.
"""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from model.simulate.trace import Trace
from model.simulate.trace_lines import line_rows, objects, reader_of
from model.simulate.trace_rows import Row, trace_of
from model.simulate.trace_tables import csv_rows, header_places, recorded_rows
from perfdb.errors import FileError


def read_trace(path: Path) -> Trace:
    """The requests of a file, by their arrival.

    Raises:
        FileError: it cannot be read, is of no known format, or a line of it lacks a field or holds no number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _rows(path, file)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not UTF-8 text") from error
    if not rows:
        raise FileError(f"{path}: no request in it; expected at least one")
    return trace_of(rows)


def _rows(path: Path, file: TextIO) -> list[Row]:
    first = file.readline()
    file.seek(0)
    if not first.strip():
        return []
    if first.lstrip().startswith("{"):
        _, found = next(objects(path, [first]))
        return list(recorded_rows(path) if reader_of(found) is None else line_rows(path, file))
    places = header_places(first)
    return list(recorded_rows(path) if places is None else csv_rows(path, file, places))
