"""JSON files as records: objects one after the other, a list of them, or one per line; each becomes rows of a table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perfdb.batch import BadRow, Batch
from perfdb.errors import FileError
from perfdb.importers.content import whole_text
from perfdb.importers.importer import Importer, ReadSettings, no_companions
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.frame import Table
from perfdb.texts import TextColumn

_NO_OBJECT = "not a JSON object"
_NO_JSON = "the line is not complete JSON"
_SHOWN = 200
_HALVES = re.compile("[\ud800-\udfff]")

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
    lines: bool = False,
) -> Importer:
    """The importer of a JSON format: `records(document, path)` is called for each JSON object of the file.

    With `lines` a line is an object: one that is cut off or damaged is set aside by itself, and the others are read.
    """

    def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
        yield from read_json(path, settings, records, lines)

    return Importer(name, version, sniff, read, about, is_lines=lines, companions=companions)


def read_json(path: Path, settings: ReadSettings, records: Reader, lines: bool = False) -> Iterator[Batch]:
    """One batch with the records of each JSON object of a file.

    Raises:
        FileError: the file is not complete JSON (not one of its lines is, with `lines`), or holds no object.
    """
    values = _line_values(path) if lines else documents(path)
    yield assemble(table_of(_records(values, path, records), path), settings)


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
    decoder = json.JSONDecoder(object_pairs_hook=_object)
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
        except _RepeatedKeyError as error:
            raise FileError(f"{path}: {error}") from error
        except ValueError as error:
            raise FileError(f"{path}: a whole number of thousands of digits; expected a measurement") from error
        except RecursionError as error:
            raise FileError(f"{path}: nested too deeply; expected an object per run") from error
        yield from document if isinstance(document, list) else (document,)


class _RepeatedKeyError(ValueError):
    """An object says two things under one name, and nobody knows which is true."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        name = next((name for name, value in pairs if value != found[name]), None)
        if name is not None:
            raise _RepeatedKeyError(f"key {name!r} stands twice in one object, with two values; expected it once")
    return found


def table_of(records: Iterable[Record | BadRow], path: Path) -> Table:
    """Records as a table of text: numbered from 1 in their order, those set aside among `bad`.

    Raises:
        FileError: there is no record, nor one set aside for what it holds.
    """
    good: list[tuple[int, Record]] = []
    bad: list[BadRow] = []
    for number, record in enumerate(records, 1):
        if isinstance(record, BadRow):
            bad.append(BadRow(number, _sound(record.column), _sound(record.value), record.reason))
        else:
            good.append((number, record))
    if not good and all(row.reason in {_NO_OBJECT, _NO_JSON} for row in bad):
        raise FileError(f"{path}: no JSON object in it; expected one per run")
    names = list(dict.fromkeys(name for _, record in good for name in record))
    columns = tuple(_column([record.get(name) for _, record in good]) for name in names)
    header = tuple(_sound(name) for name in names)
    return Table(header, columns, np.array([number for number, _ in good], dtype=np.int64), tuple(bad))


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Scalars by name; lists (of requests, mostly) are left out, objects become "outer.inner" at any depth."""
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [(str(name), value) for name, value in reversed([*document.items()])]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(f"{name}.{inner}", item) for inner, item in reversed([*value.items()])]
        elif value is None or isinstance(value, str | int | float | bool):
            found[name] = value
    return found


def at(document: Any, *paths: str) -> Any:
    """The first value that one of the dotted `paths` leads to ("config.rates.0"), None where none leads anywhere."""
    for path in paths:
        found = document
        for name in path.split("."):
            if isinstance(found, Mapping):
                found = found.get(name)
            elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            else:
                found = None
        if found is not None:
            return found
    return None


def _records(values: Iterable[Any], path: Path, records: Reader) -> Iterator[Record | BadRow]:
    for value in values:
        if isinstance(value, Mapping):
            yield from records(value, path)
        elif isinstance(value, BadRow):
            yield value
        else:
            yield BadRow(0, "", json.dumps(value)[:_SHOWN], _NO_OBJECT)


def _line_values(path: Path) -> Iterator[Any]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_object)
        except _RepeatedKeyError as error:
            yield BadRow(0, f"line {number}", line.strip()[:_SHOWN], str(error))
        except (ValueError, RecursionError):
            # a line whose beginning is lost may begin within a key that nothing marks as one
            shown = line.strip()[:_SHOWN] if line.lstrip().startswith("{") else ""
            yield BadRow(0, f"line {number}", shown, _NO_JSON)
        else:
            yield from value if isinstance(value, list) else (value,)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from file
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise FileError(f"{path}: byte 0x{byte:02x} is not UTF-8; expected UTF-8 text") from error


def _column(values: list[Any]) -> TextColumn:
    return TextColumn.of([_cell(value) for value in values])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return _sound(value) if isinstance(value, str) else repr(value)


def _sound(text: str) -> str:
    """JSON can spell half of a character (such as \\ud800), which no file and no database can hold."""
    return text if text.isascii() else _HALVES.sub("\N{REPLACEMENT CHARACTER}", text)
