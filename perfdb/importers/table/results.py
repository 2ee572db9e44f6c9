"""Whether a table is one of results: it has a column that is a metric, by its name or by what the user says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perfdb.errors import FileError
from perfdb.importers.importer import ReadSettings
from perfdb.importers.table.dialect import meaning
from perfdb.importers.table.fields import Kind, field_meaning

_RESULTS = frozenset({"throughput", "throughput_per_gpu", "status"})
_SHOWN = 12


def measures(name: str, settings: ReadSettings | None = None) -> bool:
    """Whether a column of this name holds results; a rule of the settings' map says so before the name does.

    Raises:
        UnknownNameError: the map names a field that does not exist.
    """
    rule = settings.columns.get(name) if settings is not None else None
    found = field_meaning(rule.field, "field of the column map") if rule is not None else meaning(name)
    return found is not None and (found.kind is Kind.METRIC or found.name in _RESULTS)


def require_results(path: Path, header: Sequence[str], settings: ReadSettings) -> None:
    """Refuse a table without a column of results.

    Raises:
        FileError: there is none; it shows the names.
        UnknownNameError: the map names a field that does not exist.
    """
    if not any(measures(name, settings) for name in header):
        shown = ", ".join(repr(name) for name in header[:_SHOWN])
        raise FileError(f"{path}: no column is a metric that we know ({shown}); expected one, or --map to name it")
