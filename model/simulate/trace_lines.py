"""Traces as JSON lines: our own, with conversations; what our load client wrote; Mooncake's."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from model.simulate.trace_rows import Row, named, real, whole
from model.tables.said import say
from perfdb.errors import FileError

MOONCAKE_CHUNK = 512
"""Tokens that one of Mooncake's hash ids stands for."""
_MOST_PRIORITY = 1 << 31

_OWN = frozenset(
    {"arrival_s", "input_tokens", "output_tokens", "prefix_id", "prefix_tokens", "session_id", "conversation_id",
     "turn", "think_s", "priority"}
)  # fmt: skip
_ALIKE = 0.8
"""Likeness, of 1, from which on an unknown field is taken for a known one that is misspelt."""
Reader = Callable[[str, Mapping[str, Any]], Row | None]


def reader_of(found: Mapping[str, Any]) -> Reader | None:
    """What reads lines like this one; None where they are of a format that is not known here."""
    if "hash_ids" in found or {"timestamp", "input_length"} <= set(found):
        return _mooncake
    if "sent_s" in found:
        return _sent
    return _own if {"arrival_s", "session_id", "conversation_id"} & set(found) else None


def objects(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, the object) of every line that is not blank.

    Raises:
        FileError: a line is no JSON object.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            found = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise FileError(f"{where}: not JSON; expected one request") from error
        if not isinstance(found, dict):
            raise FileError(f"{where}: not an object; expected one request")
        yield where, found


def line_rows(path: Path, lines: Iterable[str]) -> Iterator[Row]:
    """The requests of a file whose formats `reader_of` knows.

    Raises:
        FileError: a line lacks a field, or holds no number in it.
    """
    for where, found in objects(path, lines):
        row = (reader_of(found) or _own)(where, found)
        if row is not None:
            yield row


def _own(where: str, found: Mapping[str, Any]) -> Row:
    for field in found.keys() - _OWN:
        _check_field(where, field)
    session, arrival = named(found, "session_id", "conversation_id"), found.get("arrival_s")
    row = Row(
        where,
        None if arrival is None and session is not None else real(where, "arrival_s", arrival),
        whole(where, "input_tokens", found.get("input_tokens")),
        whole(where, "output_tokens", found.get("output_tokens")),
    )
    if session is not None:
        row.session = json.dumps(session, sort_keys=True)
        row.turn = None if found.get("turn") is None else real(where, "turn", found["turn"])
        row.think_s = real(where, "think_s", found.get("think_s", 0.0))
    row.priority = _priority(where, found.get("priority"))
    name = found.get("prefix_id")
    if name is None and found.get("prefix_tokens"):
        raise FileError.at(where, "prefix_tokens without prefix_id", "the name of what these tokens are")
    if name is not None:
        row.shared = whole(where, "prefix_tokens", found.get("prefix_tokens"))
        row.chunks = (json.dumps(name, sort_keys=True),)
        if row.shared > row.prompt:
            raise FileError(f"{where}: prefix_tokens is {row.shared}; expected at most input_tokens ({row.prompt})")
    return row


def _check_field(where: str, name: str) -> None:
    """A field more is said, a misspelt one refused.

    Raises:
        FileError: it is nearly a known one.
    """
    meant = difflib.get_close_matches(name.lower(), _OWN, n=1, cutoff=_ALIKE)
    if meant:
        raise FileError.at(where, f"unknown field {name!r}", meant[0])
    say([f"field {name!r} of the trace is not read"])


def _priority(where: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= _MOST_PRIORITY:
        raise FileError.at(where, f"priority is {value!r}", "a whole number, the least served first")
    return value


def _sent(where: str, found: Mapping[str, Any]) -> Row | None:
    """A request that the load client sent; one that failed got no answer to be long."""
    if found.get("error") is not None or found.get("done_s") is None:
        return None
    return Row(
        where,
        real(where, "sent_s", found["sent_s"]),
        whole(where, "input_tokens (the server's usage)", found.get("input_tokens")),
        whole(where, "output_tokens", found.get("output_tokens")),
    )


def _mooncake(where: str, found: Mapping[str, Any]) -> Row:
    ids = found.get("hash_ids") or []
    if not isinstance(ids, list) or not all(isinstance(each, int | str) for each in ids):
        raise FileError(f"{where}: hash_ids is no list of ids")
    prompt = whole(where, "input_length", found.get("input_length"))
    return Row(
        where,
        real(where, "timestamp", found.get("timestamp")) / 1e3,
        prompt,
        whole(where, "output_length", found.get("output_length")),
        min(prompt, len(ids) * MOONCAKE_CHUNK),
        tuple(ids),
        MOONCAKE_CHUNK,
    )
