"""The `generic` importer: a CSV, TSV or Parquet file of results, its columns named in any dialect of `dialect.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers.content import PARQUET
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.bind import is_numeric
from perfdb.importers.table.dialect import meaning
from perfdb.importers.table.frame import Table
from perfdb.importers.table.results import measures, require_results
from perfdb.importers.table.textfile import HEAD_BYTES, delimiter_of, header_of, read_table, settled
from perfdb.texts import TextColumn

_LIST = re.compile(r"^\s*\[\s*-?\d")
_COMMA = re.compile(r"^\s*[+-]?\d+,\d+\s*$")


def sniff(head: bytes, path: Path) -> float:
    """0.6 for Parquet, and for a delimited text with a column that we know as a metric; else 0.

    0.2 for a file named as delimited text that has none: a map may tell.
    """
    if head.startswith(PARQUET):
        return 0.6
    if head.lstrip().startswith((b"{", b"[", b"<")):
        return 0.0
    delimiter = delimiter_of(head)
    if delimiter is None:
        return 0.0
    if any(measures(name) for name in header_of(head, delimiter)):
        return 0.6
    return 0.2 if path.suffix.lower() in {".csv", ".tsv"} else 0.0


def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
    """One batch with all rows of the file.

    Raises:
        FileError: the file has no header line, no column that is a metric by name or by the map, or decimal commas.
        UnknownNameError: the settings name a field that does not exist.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    delimiter = delimiter_of(head) or ","
    table = _parquet(path) if head.startswith(PARQUET) else read_table(path, delimiter)
    require_results(path, table.header, settings)
    lists = next((name for name, text in zip(table.header, table.columns, strict=True) if _holds_lists(text)), None)
    if not len(table.rows) and not table.bad:
        raise FileError(f"{path}: no record below the header; expected at least one")
    if lists is not None:
        raise FileError(f"{path}: column {lists!r} holds lists, so a row is one request; expected one row per run")
    if delimiter == ";":
        _refuse_decimal_commas(path, table)
    yield assemble(table, settings)


def _parquet(path: Path) -> Table:
    from perfdb.store.parquet import scan_parquet

    found = scan_parquet(path)
    return settled(found.header, found.columns, found.rows)


def _refuse_decimal_commas(path: Path, table: Table) -> None:
    """Where semicolons part the cells, 1,500 is more likely 1.5 than 1500: a factor of 1000 is not to be guessed."""
    for name, text in zip(table.header, table.columns, strict=True):
        found = meaning(name)
        cell = next((cell for cell in text.known if _COMMA.match(cell)), None) if found and is_numeric(found) else None
        if cell is not None:
            raise FileError(f"{path}: column {name!r} holds {cell}, and its comma may be decimal; expected points")


def _holds_lists(column: TextColumn) -> bool:
    return len(column) > 0 and bool(_LIST.match(column[0]))


IMPORTER = Importer("generic", 1, sniff, read, "CSV or TSV with a header line, or Parquet", is_lines=True)
