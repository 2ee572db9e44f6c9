"""Columns of text to one column of canonical JSON objects, `n`: built from one fragment per distinct text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from perfdb.importers.table.cells import number
from perfdb.importers.table.redact import redact
from perfdb.records import Scalar, canonical_json
from perfdb.texts import TextColumn, printable

_LARGEST_EXACT = 2**53


def scalar(text: str) -> Scalar:
    """A cell as the plain value that it spells: a bool, a number, or the text itself without secrets.

    A whole number of more digits than a float can tell apart stays text.
    """
    value = number(text)
    if value is None:
        lower = text.lower()
        return lower == "true" if lower in {"true", "false"} else redact(text)
    if not math.isfinite(value) or abs(value) >= _LARGEST_EXACT:
        return text
    return int(value) if value.is_integer() else value


def _text_as_json(text: str) -> str:
    return canonical_json(redact(text))


def as_json(text: str) -> str:
    """A cell's value as canonical JSON."""
    value = scalar(text)
    # repr is what json writes for numbers; a column of a million distinct ones makes the short way worth it
    return repr(value) if type(value) in (int, float) else canonical_json(value)


def json_objects(
    columns: Mapping[str, TextColumn], rows: int, ready: Mapping[str, TextColumn] | None = None
) -> TextColumn:
    """One canonical JSON object per row, `n`; a blank cell leaves its name out, a row without any is "".

    The cells of `ready` are JSON already.
    """
    every = {name: text.map(_renderer(name)) for name, text in columns.items()} | dict(ready or {})
    parts = [_named(name, every[name]) for name in sorted(every)] or [TextColumn.constant("", rows)]
    while len(parts) > 1:
        # neighbours first: a thousand columns, one after the other, would copy the beginning a thousand times
        halves = zip(parts[::2], parts[1::2], strict=False)
        parts = [left.pairs(right, listed) for left, right in halves] + parts[len(parts) & ~1 :]
    return parts[0].map(lambda text: f"{{{text}}}" if text else "")


def _renderer(name: str) -> Callable[[str], str]:
    # version 12.10 is not 12.1
    render = _text_as_json if "version" in name.lower() else as_json
    return lambda cell: render(cell) if cell else ""


def _named(name: str, rendered: TextColumn) -> TextColumn:
    start = canonical_json(printable(redact(name)))
    return rendered.map(lambda text: f"{start}:{text}" if text else "")


def listed(left: str, right: str) -> str:
    """Two JSON fragments as one, either of which may be blank."""
    return f"{left},{right}" if left and right else left or right
