"""The `per_request` importer: tables with one row per request, of LLM-Pilot or any tool, as one record per point.

What was run stands in the columns that are not of a request (model, concurrency, tp, …): each combination is one point.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers import llm_pilot
from perfdb.importers.documents import documents, table_of
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.request_columns import RequestTable, Role, request_table, role_of
from perfdb.importers.request_values import gaps_of, requests_of
from perfdb.importers.requests import Requests, summary
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.frame import Table
from perfdb.importers.table.textfile import HEAD_BYTES, delimiter_of, header_of, read_table
from perfdb.texts import Bools

_TIMES = frozenset({Role.TTFT, Role.E2E, Role.END, Role.FIRST})
_UNIX_S = 1e8


def sniff(head: bytes, path: Path) -> float:
    """0.9 for rows of requests: an identity and a time of each, or LLM-Pilot's lists; else 0."""
    names = _names(head)
    roles = {role_of(name) for name in names}
    return 0.9 if llm_pilot.LIST in names or (Role.ID in roles and roles & _TIMES) else 0.0


def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
    """One batch with a record per operating point; the requests themselves stay in the file.

    Raises:
        FileError: a line is damaged, a number of a request that ended well is none, or no column is a time.
        UnknownNameError: the settings name a field that does not exist.
    """
    table = request_table(_table(path), path, settings)
    if not len(table.rows):
        raise FileError(f"{path}: no record below the header; expected one request per row")
    is_pilot = any(column.name == llm_pilot.LIST for column in table.columns)
    if not is_pilot and not any(column.role in _TIMES for column in table.columns):
        names = ", ".join(repr(column.name[:40]) for column in table.columns[:12])
        raise FileError(f"{path}: no column is a time of a request ({names}); expected ttft, latency or end_time")
    requests = requests_of(table)
    points = list(table.points())
    point = _pilot_point if is_pilot else _point
    records = [{**table.facts(), **point(table, requests, said, rows)} for said, rows in points]
    found = table_of(records, path)
    warnings = tuple(dict.fromkeys(table.warnings))
    yield assemble(Table(found.header, found.columns, found.rows, warnings=warnings), settings)


def requests_in(path: Path) -> Requests:
    """The requests of such a file, in its order.

    Raises:
        FileError: it is no table, a line is damaged, or a number of a request that ended well is none.
    """
    return requests_of(request_table(_table(path), path, ReadSettings()))


def _point(table: RequestTable, requests: Requests, said: Mapping[str, str], rows: Bools) -> dict[str, object]:
    gaps = gaps_of(table, rows & requests.is_ok)
    return {**said, **_measured_at(requests, rows), **summary(requests.take(rows, gaps))}


def _pilot_point(table: RequestTable, requests: Requests, said: Mapping[str, str], rows: Bools) -> dict[str, object]:
    timed, more = llm_pilot.timings(table, requests.take(rows), rows)
    status = llm_pilot.status(table, timed, rows)
    facts = llm_pilot.facts(table, said, table.path)
    return {**facts, **more, "status": status, **_measured_at(requests, rows), **summary(timed)}


def _measured_at(requests: Requests, rows: Bools) -> dict[str, float]:
    """When the first request was sent, if the clock is a calendar's."""
    sent = requests.sent[rows]
    first = float(np.nanmin(sent)) if np.isfinite(sent).any() else 0.0
    return {"measured_at": first} if first > _UNIX_S else {}


def _names(head: bytes) -> list[str]:
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"{", b"[")):
        return _keys(head)
    delimiter = delimiter_of(head)
    return header_of(head, delimiter) if delimiter else []


def _keys(head: bytes) -> list[str]:
    """The names of the first object of a JSONL or of a list of objects, none if the head cuts it off."""
    text = head.decode("utf-8-sig", errors="replace").lstrip().removeprefix("[").lstrip()
    try:
        first, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return []
    return list(first) if isinstance(first, dict) else []


def _table(path: Path) -> Table:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"{", b"[")):
        return read_table(path, delimiter_of(head) or ",")
    return table_of((_plain(document, number, path) for number, document in enumerate(documents(path), 1)), path)


def _plain(document: object, number: int, path: Path) -> dict[str, object]:
    if not isinstance(document, Mapping):
        raise FileError(f"{path}: record {number} is no JSON object; expected one per request")
    return {
        str(name): json.dumps(value) if isinstance(value, list | dict) else value for name, value in document.items()
    }


IMPORTER = Importer("per_request", 1, sniff, read, "CSV or JSONL with one row per request", is_lines=True)
