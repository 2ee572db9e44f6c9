"""The `collected` importer: operations under our own names of columns, as our collector and `db export` write them."""

from __future__ import annotations

from pathlib import Path

from perfdb.batch import Number, OperationFile, Reading
from perfdb.importers.content import PARQUET
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.optable import csv_header, is_parquet_with, parquet_footer, with_settings
from perfdb.importers.table.textfile import delimiter_of, header_of
from perfdb.operations import ARGUMENTS, TEXTS

_PLACE = ("source_id", "source_row")


def sniff(head: bytes, path: Path) -> float:
    """0.9 for Parquet or delimited text with the columns op and latency_s, else 0."""
    if is_parquet_with(head, path, "latency_s", "op"):
        return 0.9
    delimiter = None if head.startswith(PARQUET) else delimiter_of(head)
    return 0.9 if delimiter and {"op", "latency_s"} <= set(header_of(head, delimiter)) else 0.0


def read(path: Path, settings: ReadSettings) -> OperationFile:
    """How the store reads the file.

    Raises:
        FileError: it is no whole Parquet file, or no text with a header.
    """
    with path.open("rb") as file:
        is_parquet = file.read(len(PARQUET)) == PARQUET
    if is_parquet:
        parquet_footer(path)
    else:
        csv_header(path)
    table = OperationFile(
        path,
        (Reading(Number(("latency_s",)), spread=("spread",)),),
        absent={"origin": "measured"},
        numbers={name: Number((name,)) for name in ARGUMENTS},
        texts={name: (name,) for name in (*TEXTS, "measured_at")},
        ignored=dict.fromkeys(_PLACE),
    )
    return with_settings(table, settings)


IMPORTER = Importer("collected", 1, sniff, read, "operations measured by `servecast collect ops`, or exported", True)
