"""Traces as tables: Azure's and BurstGPT's CSV, and one row per request in the words of any load generator."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np

from model.simulate.trace_rows import Row, whole
from perfdb.errors import FileError

_FIELDS = {
    "timestamp": "time",
    "contexttokens": "prompt",
    "generatedtokens": "output",
    "requesttokens": "prompt",
    "responsetokens": "output",
}
_WANTED = ("time", "prompt", "output")


def header_places(line: str) -> list[int] | None:
    """Where time, prompt and output stand in a CSV of Azure's or BurstGPT's, by its header; None for others."""
    names = next(csv.reader([line]), [])
    header = [_FIELDS.get(name.lower().replace(" ", "").replace("_", "").strip(), "") for name in names]
    return [header.index(name) for name in _WANTED] if set(_WANTED) <= set(header) else None


def csv_rows(path: Path, lines: Iterable[str], places: list[int]) -> Iterator[Row]:
    """The requests below the header; those that failed (BurstGPT: an answer of no token) are left out.

    Raises:
        FileError: a line lacks a cell, or one holds no number or time.
    """
    reader = csv.reader(lines)
    header = next(reader)
    for number, cells in enumerate(reader, 2):
        if not cells:
            continue
        where = f"{path}, line {number}"
        if len(cells) <= max(places):
            raise FileError(f"{where}: {len(cells)} cells; expected {len(header)}")
        time, prompt, output = (cells[place] for place in places)
        answer = whole(where, "output tokens", output, least=0)
        if answer:
            yield Row(where, _time(where, time), whole(where, "input tokens", prompt), answer)


def _time(where: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        # Azure writes seven digits of a second, Python reads six
        head, _, fraction = text.strip().partition(".")
        return datetime.fromisoformat(f"{head}.{(fraction + '000000')[:6]}").timestamp()
    except ValueError:
        raise FileError(f"{where}: {text[:40]!r} is no time") from None


def recorded_rows(path: Path) -> Iterator[Row]:
    """The requests that ended well, from a table that `servecast import` reads as one row per request.

    Raises:
        FileError: it is no such table, or does not say when a request was sent and how many tokens it had.
    """
    from perfdb.importers.formats.per_request import requests_in

    found = requests_in(path)
    ok = np.flatnonzero(found.is_ok)
    columns = {"sent time": found.sent, "input tokens": found.input_tokens, "output tokens": found.output_tokens}
    missing = next((name for name, column in columns.items() if not np.isfinite(column[ok]).all()), None)
    if missing:
        raise FileError(
            f"{path}: no trace that we know, for it does not tell the {missing} of every request; expected JSON lines "
            "of ours (arrival_s, input_tokens, output_tokens) or Mooncake's, a CSV with TIMESTAMP and token counts "
            "(Azure, BurstGPT), or one row per request with its start time and its tokens"
        )
    start = float(found.sent[ok].min()) if len(ok) else 0.0
    for row in ok.tolist():
        where = f"{path}, request {row + 1}"
        output = whole(where, "output tokens", found.output_tokens[row], least=0)
        if output:
            yield Row(where, found.sent[row] - start, whole(where, "input tokens", found.input_tokens[row]), output)
