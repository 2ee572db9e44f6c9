"""JSON files as records: objects one after the other, a list of them, or one per line; each becomes rows of a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perfdb.batch import BadRow, Batch
from perfdb.errors import FileError
from perfdb.importers.content import whole_text
from perfdb.importers.importer import Importer, ReadSettings, no_companions
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.cells import Texts
from perfdb.importers.table.frame import Table

_NO_OBJECT = "not a JSON object"

Record = Mapping[str, Any]
"""Column name -> scalar. The name tells meaning and unit as a CSV header would ("mean_ttft_ms", "ttft_s:p99", "tp")."""

Reader = Callable[[Any, Path], Iterable[Record | BadRow]]
"""From one JSON object of a file to its records. A `BadRow` is a record set aside; its row number is filled in."""


def json_format(
    name: str,
    version: int,
    about: str,
    sniff: Callable[[bytes, Path], float],
    records: Reader,
    companions: Callable[[Path], tuple[Path, ...]] = no_companions,
) -> Importer:
    """The importer of a JSON format: `records(document, path)` is called for each JSON object of the file."""

    def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
        yield assemble(table_of(_records(path, records), path), settings)

    return Importer(name, version, sniff, read, about, companions=companions)


def has_keys(head: bytes, keys: Iterable[bytes]) -> bool:
    """Whether the beginning of a file is JSON that holds all of these keys (such as b'"completed"')."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith((b"{", b"[")) and all(key in head for key in keys)


def documents(path: Path) -> Iterator[Any]:
    """Every JSON value of a file, a list's elements each by itself.

    Raises:
        FileError: the file is not complete JSON; it names the line.
    """
    text = whole_text(path)
    decoder = json.JSONDecoder()
    place = 0
    while place < len(text):
        while place < len(text) and text[place].isspace():
            place += 1
        if place == len(text):
            return
        try:
            document, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise FileError(f"{path}: line {error.lineno}: {error.msg}; expected complete JSON") from error
        except RecursionError as error:
            raise FileError(f"{path}: nested too deeply; expected an object per run") from error
        yield from document if isinstance(document, list) else (document,)


def table_of(records: Iterable[Record | BadRow], path: Path) -> Table:
    """Records as a table of text: numbered from 1 in their order, those set aside among `bad`.

    Raises:
        FileError: there is no record, nor one set aside for what it holds.
    """
    good: list[tuple[int, Record]] = []
    bad: list[BadRow] = []
    for number, record in enumerate(records, 1):
        if isinstance(record, BadRow):
            bad.append(BadRow(number, record.column, record.value, record.reason))
        else:
            good.append((number, record))
    if all(row.reason == _NO_OBJECT for row in bad) and not good:
        raise FileError(f"{path}: no JSON object in it; expected one per run")
    names = list(dict.fromkeys(name for _, record in good for name in record))
    columns = tuple(_column([record.get(name) for _, record in good]) for name in names)
    return Table(tuple(names), columns, np.array([number for number, _ in good], dtype=np.int64), tuple(bad))


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Scalars by name; lists (of requests, mostly) are left out, objects become "outer.inner" at any depth."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": item for inner, item in flat(value).items()}
        elif value is None or isinstance(value, str | int | float | bool):
            found[str(name)] = value
    return found


def _records(path: Path, records: Reader) -> Iterator[Record | BadRow]:
    for document in documents(path):
        if isinstance(document, Mapping):
            yield from records(document, path)
        else:
            yield BadRow(0, "", json.dumps(document)[:200], _NO_OBJECT)


def _column(values: list[Any]) -> Texts:
    column = np.empty(len(values), dtype=object)
    column[:] = ["" if value is None else value if isinstance(value, str) else repr(value) for value in values]
    return column
