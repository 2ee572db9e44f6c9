"""The `generic` importer: a CSV or TSV of results with a header line, in any of the dialects of `dialect.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.bind import is_numeric
from perfdb.importers.table.cells import Texts
from perfdb.importers.table.dialect import meaning
from perfdb.importers.table.fields import Kind, field_meaning
from perfdb.importers.table.frame import Table
from perfdb.importers.table.textfile import HEAD_BYTES, delimiter_of, header_of, read_table
from perfdb.metrics import METRICS

_LIST = re.compile(r"^\s*\[\s*-?\d")
_COMMA = re.compile(r"^\s*[+-]?\d+,\d+\s*$")
_RESULTS = frozenset({"throughput", "throughput_per_gpu", "status"})


def _measures(name: str) -> bool:
    found = meaning(name)
    return found is not None and (found.kind is Kind.METRIC or found.name in _RESULTS)


def sniff(head: bytes, path: Path) -> float:
    """0.6 for a delimited text with a column that we know as a metric, 0.2 with none (a map may tell), else 0."""
    if head.lstrip().startswith((b"{", b"[", b"<")):
        return 0.0
    delimiter = delimiter_of(head)
    if delimiter is None:
        return 0.0
    header = header_of(head, delimiter)
    if any(_measures(name) for name in header):
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
    table = read_table(path, delimiter)
    mapped = {name for name, rule in settings.columns.items() if field_meaning(rule.field, "field").name in METRICS}
    if not any(_measures(name) or name in mapped for name in table.header):
        shown = ", ".join(repr(name) for name in table.header[:12])
        raise FileError(f"{path}: no column is a metric that we know ({shown}); expected one, or --map to name it")
    lists = next((name for name, text in zip(table.header, table.columns, strict=True) if _holds_lists(text)), None)
    if not len(table.rows) and not table.bad:
        raise FileError(f"{path}: no record below the header; expected at least one")
    if lists is not None:
        raise FileError(f"{path}: column {lists!r} holds lists, so a row is one request; expected one row per run")
    if delimiter == ";":
        _refuse_decimal_commas(path, table)
    yield assemble(table, settings)


def _refuse_decimal_commas(path: Path, table: Table) -> None:
    """Where semicolons part the cells, 1,500 is more likely 1.5 than 1500: a factor of 1000 is not to be guessed."""
    for name, text in zip(table.header, table.columns, strict=True):
        found = meaning(name)
        cell = next((cell for cell in text if _COMMA.match(cell)), None) if found and is_numeric(found) else None
        if cell is not None:
            raise FileError(f"{path}: column {name!r} holds {cell}, and its comma may be decimal; expected points")


def _holds_lists(column: Texts) -> bool:
    return len(column) > 0 and bool(_LIST.match(str(column[0])))


IMPORTER = Importer("generic", 1, sniff, read, "CSV or TSV with a header line", is_lines=True)
