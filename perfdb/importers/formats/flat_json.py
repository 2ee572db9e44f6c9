"""The `flat_json` importer: flat JSON objects that no other format claims, one per run, as a list or one per line.

Their names are read as those of a CSV's columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfdb.batch import BadRow, Batch
from perfdb.importers.documents import Record, documents, table_of
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.results import measures, require_results

_SHOWN = 200


def sniff(head: bytes, path: Path) -> float:
    """0.4 if the first object is flat and one of its names is a metric that we know, else 0."""
    text = head.decode("utf-8-sig", errors="replace").lstrip().removeprefix("[").lstrip()
    if not text.startswith("{"):
        return 0.0
    try:
        first, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return 0.0
    return 0.4 if _is_flat(first) and any(measures(name) for name in first) else 0.0


def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
    """One batch with all records of the file; one that is not flat is set aside.

    Raises:
        FileError: the file is not complete JSON, or no name in it is a metric by itself or by the map.
        UnknownNameError: the settings name a field that does not exist.
    """
    table = table_of(map(_record, documents(path)), path)
    require_results(path, table.header, settings)
    yield assemble(table, settings)


def _record(document: Any) -> Record | BadRow:
    if isinstance(document, Mapping) and _is_flat(document):
        return document
    return BadRow(0, "", json.dumps(document)[:_SHOWN], "not a flat record of one run")


def _is_flat(record: Mapping[str, Any]) -> bool:
    return not any(isinstance(value, Mapping | list) for value in record.values())


IMPORTER = Importer("flat_json", 1, sniff, read, "flat JSON objects with metrics, one per run")
