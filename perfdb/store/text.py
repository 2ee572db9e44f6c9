"""Reading CSV and TSV exactly: every cell as the text it is, every line accounted for."""

from __future__ import annotations

import csv
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import numpy.typing as npt

from perfdb.batch import BadRow
from perfdb.delimiters import delimiter_of
from perfdb.errors import FileError, InputError
from perfdb.store.plain import read_plain
from perfdb.texts import TextColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

_SNIFFED_LINES = 20
_LINES_AT_ONCE = 5000
_SHOWN_CHARACTERS = 200
_MOST_COLUMNS = 5000
_LFS = "version https://git-lfs"
_LARGE, _WIDE = 2**22, 256
"""Bytes above which the start of an engine is worth its time, columns up to which it is."""


@dataclass(frozen=True)
class TextTable:
    """A delimited file: `columns[i]` holds the n cells under `header[i]`, `rows` their 1-based record numbers.

    `bad` are the lines with more or fewer cells than the header; they are counted in the numbering, not among the n.
    Iterating gives (header, columns, bad).
    """

    header: list[str]
    columns: list[TextColumn]
    bad: list[BadRow]
    rows: npt.NDArray[np.int64]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.header, self.columns, self.bad))


def scan_text(path: Path, delimiter: str | None = None) -> TextTable:
    """Read a CSV or TSV file with a header line; quotes may hold delimiters and line ends, a BOM is dropped.

    Empty lines are no records. Cells beyond the header are dropped where they are blank. Without a `delimiter` the one
    of comma, tab, semicolon and bar is taken that splits the first lines into the most columns of one width.

    Raises:
        FileError: the file cannot be read, is empty, is not UTF-8, has a quote that does not close, or cells or columns
            beyond all measure.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lead = "".join(islice(file, _SNIFFED_LINES))
            if not lead.strip() or lead.startswith(_LFS):
                what = "a Git LFS pointer, not the file itself" if lead.strip() else "it is empty"
                raise FileError.at(str(path), what, "a header line and records")
            delimiter = delimiter or delimiter_of(lead.splitlines()) or ","
            file.seek(0)
            return _plain(path, lead, delimiter) or _read(path, file, delimiter)
    except csv.Error as error:
        raise _refused(str(path), error) from error
    except OSError as error:
        raise FileError.at(str(path), f"cannot be read ({error.strerror})", "a readable file") from error
    except UnicodeDecodeError as error:
        raise FileError.at(str(path), f"not UTF-8 text (byte {error.object[error.start]:#04x})", "UTF-8") from error


def _plain(path: Path, lead: str, delimiter: str) -> TextTable | None:
    if path.stat().st_size < _LARGE:
        return None
    first = lead.partition("\n")[0].rstrip("\r")
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter))]
    columns = read_plain(path, delimiter, len(header)) if 1 < len(header) <= _WIDE else None
    if columns is None:
        return None
    return TextTable(header, columns, [], np.arange(1, len(columns[0]) + 1))


def _read(path: Path, file: TextIO, delimiter: str) -> TextTable:
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    header: list[str] = []
    parts: list[list[TextColumn]] = []
    numbers: list[npt.NDArray[np.int64]] = []
    bad: list[BadRow] = []
    done = 0
    try:
        header = [name.strip() for name in next(row for row in reader if _holds(row))]
        if len(header) > _MOST_COLUMNS:
            raise FileError.at(str(path), f"{len(header):,} columns", f"at most {_MOST_COLUMNS:,}")
        with _no_garbage_collection():
            while chunk := list(islice(reader, _LINES_AT_ONCE)):
                records = [row for row in chunk if _holds(row)]
                rows = np.arange(done + 1, done + len(records) + 1)
                done += len(records)
                sound = _fit(records, rows, header, delimiter, bad)
                numbers.append(rows[sound])
                parts.append(_columns([records[i] for i in sound], len(header)))
    except csv.Error as error:
        raise _refused(f"{path}, line {reader.line_num}", error) from error
    columns = [TextColumn.joined(pieces) for pieces in zip(*parts, strict=True)] if parts else _columns([], len(header))
    return TextTable(header, columns, bad, np.concatenate(numbers) if numbers else np.empty(0, dtype=np.int64))


def _refused(where: str, error: csv.Error) -> InputError:
    if "field limit" in str(error):
        return FileError.at(where, f"a cell of more than {csv.field_size_limit():,} characters", "every quote closed")
    return FileError.at(where, str(error), "every quote closed")


def _holds(row: Sequence[str]) -> bool:
    return len(row) > 1 or any(cell.strip() for cell in row)


def _fit(
    records: list[list[str]], rows: npt.NDArray[np.int64], header: list[str], delimiter: str, bad: list[BadRow]
) -> Sequence[int]:
    """Positions of the records as wide as the header, in place where only blank cells are too many; others to `bad`."""
    width = len(header)
    if all(len(record) == width for record in records):
        return range(len(records))
    sound = []
    for position, record in enumerate(records):
        if len(record) > width and not any(cell.strip() for cell in record[width:]):
            del record[width:]
        if len(record) == width:
            sound.append(position)
        else:
            shown = delimiter.join(record)[:_SHOWN_CHARACTERS]
            reason = f"the line has {len(record)} cells, the header {width}"
            bad.append(BadRow(int(rows[position]), "", shown, reason))
    return sound


def _columns(records: list[list[str]], width: int) -> list[TextColumn]:
    if not records:
        return [TextColumn.of([]) for _ in range(width)]
    return [TextColumn.of(cells) for cells in zip(*records, strict=True)]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Millions of small lists without one cycle: looking for cycles would double the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
