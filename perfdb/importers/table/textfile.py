"""Delimited text as a table: delimiter, byte-order mark, unnamed columns, ragged rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perfdb import delimiters
from perfdb.batch import BadRow
from perfdb.importers.table.frame import Table
from perfdb.texts import TextColumn

HEAD_BYTES = 65536
_LINE_END = re.compile(r"\r\n|\n|\r")


def delimiter_of(head: bytes) -> str | None:
    """The delimiter by which the first lines fall into equally many cells, None if there is none.

    `head` is the beginning of the file; its last, cut-off line does not count.
    """
    return delimiters.delimiter_of(_whole_lines(head))


def header_of(head: bytes, delimiter: str) -> list[str]:
    """The cells of the first line that is not blank; empty if there is none."""
    return next((row for row in csv.reader(_whole_lines(head), delimiter=delimiter) if row), [])


def _whole_lines(head: bytes) -> list[str]:
    text = head.decode("utf-8-sig", errors="replace")
    lines = _LINE_END.split(text)
    if len(head) >= HEAD_BYTES and len(lines) > 1:
        lines = lines[:-1]
    return [line for line in lines[:50] if line.strip()]


def read_table(path: Path, delimiter: str) -> Table:
    """Read a delimited text file as it is, its column names settled.

    Raises:
        FileError: it cannot be read, is no UTF-8, or has a quote that does not close.
    """
    from perfdb.store.text import scan_text

    text = scan_text(path, delimiter)
    return settled(text.header, text.columns, text.rows, text.bad)


def settled(
    header: Sequence[str], columns: Sequence[TextColumn], rows: npt.NDArray[np.int64], bad: Sequence[BadRow] = ()
) -> Table:
    """The table of these columns, its column names settled: `rows` numbers the cells of each column, from 1."""
    names, warnings, keep = _names(header, columns)
    kept = tuple(names[place] for place in keep)
    return Table(kept, tuple(columns[place] for place in keep), rows, tuple(bad), tuple(warnings))


def _names(header: Sequence[str], columns: Sequence[TextColumn]) -> tuple[list[str], list[str], list[int]]:
    """(names, warnings, places to keep): blank and repeated column names are settled here.

    A blank name at the front over 0, 1, 2… is an index. Another blank name takes that of the one column that is named
    and empty (a header that slipped); else the column is kept in `extra` under its number.
    """
    names = [name.strip().lstrip("﻿") for name in header]
    warnings: list[str] = []
    dropped: set[int] = set()
    for place, name in enumerate(names):
        if name and not name.startswith("Unnamed:"):
            continue
        blank = _is_empty(columns[place])
        if blank or (place == 0 and _is_index(columns[place])):
            dropped.add(place)
            continue
        spare = [other for other, known in enumerate(names) if known and _is_empty(columns[other])]
        last = spare[-1] if spare and spare[-1] == len(names) - 1 else None
        if last is not None:
            names[place] = names[last]
            dropped.add(last)
            warnings.append(
                f"column {place + 1} has no name and {names[place]!r} stands empty at the end: read as that"
            )
        else:
            names[place] = f"column {place + 1}"
            warnings.append(f"column {place + 1} has no name: kept in extra")
    keep = [place for place in range(len(names)) if place not in dropped]
    return names, warnings, keep


def _is_empty(column: TextColumn) -> bool:
    return len(column) > 0 and not column.said().any()


def _is_index(column: TextColumn) -> bool:
    try:
        numbers = column.array().astype(np.int64)
    except ValueError:
        return False
    return len(numbers) > 0 and bool(np.all(np.diff(numbers) == 1))
