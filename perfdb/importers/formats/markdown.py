"""The `markdown` importer: the tables of results in any markdown file, each with its own header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from perfdb.batch import BadRow, Batch
from perfdb.errors import FileError
from perfdb.importers.content import whole_text
from perfdb.importers.importer import ColumnRule, Importer, ReadSettings
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.bind import is_numeric
from perfdb.importers.table.dialect import meaning
from perfdb.importers.table.fields import Kind, field_meaning
from perfdb.importers.table.frame import Table
from perfdb.importers.table.markdown import MarkdownTable, markdown_tables, with_spread
from perfdb.importers.table.results import measures, require_results
from perfdb.importers.table.textfile import settled
from perfdb.metrics import Statistic
from perfdb.texts import TextColumn

_DEVIATION = " ±"
_NAMES = {".md", ".markdown"}


def sniff(head: bytes, path: Path) -> float:
    """0.7 for a text with a table that has a column of results, 0.2 for markdown with another table, else 0."""
    if b"|" not in head or b"\0" in head:
        return 0.0
    found = list(markdown_tables(head.decode("utf-8-sig", errors="replace").splitlines()))
    if any(measures(name) for table in found for name in table.header):
        return 0.7
    return 0.2 if found and path.suffix.lower() in _NAMES else 0.0


def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
    """A batch per table that measures something; the records are numbered through all of them.

    Raises:
        FileError: there is no table, none of them has a column of results, or none of those a row.
        UnknownNameError: the settings name a field that does not exist.
    """
    every = list(markdown_tables(whole_text(path).splitlines()))
    if not every:
        what = "it is empty" if not path.stat().st_size else "no table in it"
        raise FileError(f"{path}: {what}; expected a header with a line of dashes below it")
    found = [table for table in every if any(measures(name, settings) for name in table.header)]
    require_results(path, [name for table in found or every for name in table.header], settings)
    measured = [table for table in found if table.rows]
    if not measured:
        raise FileError(f"{path}: no record below the header; expected at least one")
    warnings = tuple(_passed_over(table) for table in every if table not in found)
    done = 0
    for one in measured:
        table, rules = _table(one, done, settings)
        yield assemble(replace(table, warnings=(*warnings, *table.warnings)), rules)
        done, warnings = done + len(one.rows), ()


def _passed_over(table: MarkdownTable) -> str:
    shown = ", ".join(repr(name) for name in table.header[:6])
    return f"the table in line {table.start + 1} has no column that is a metric ({shown}): it was passed over"


def _table(found: MarkdownTable, done: int, settings: ReadSettings) -> tuple[Table, ReadSettings]:
    """The table, records numbered on from `done`, and the settings with a rule for each column of deviations."""
    width = len(found.header)
    numbers = np.array([done + place for place, row in enumerate(found.rows, 1) if len(row) == width], dtype=np.int64)
    bad = [_ragged(done + place, row, width) for place, row in enumerate(found.rows, 1) if len(row) != width]
    sound = [row for row in found.rows if len(row) == width]
    columns: list[tuple[str, list[str]]] = []
    rules = dict(settings.columns)
    for place, name in enumerate(found.header):
        cells = [row[place] for row in sound]
        deviation = _deviation(name, settings)
        parts = [with_spread(cell) for cell in cells]
        if deviation is None or not any(parts):
            columns.append((name, cells))
            continue
        columns.append((name, [part[0] if part else cell for part, cell in zip(parts, cells, strict=True)]))
        columns.append((name + _DEVIATION, [part[1] if part else "" for part in parts]))
        rules.setdefault(name + _DEVIATION, deviation)
    texts = [TextColumn.of(cells) for _, cells in columns]
    return settled([name for name, _ in columns], texts, numbers, bad), replace(settings, columns=rules)


def _deviation(name: str, settings: ReadSettings) -> ColumnRule | None:
    """What stands behind the ± of a column of this name, None if it holds no numbers."""
    rule = settings.columns.get(name)
    found = meaning(name) if rule is None else field_meaning(rule.field, "field of the column map")
    if found is None or not is_numeric(found):
        return None
    if found.kind is Kind.METRIC:
        return ColumnRule(f"{found.name}:{Statistic.STD}", found.unit if rule is None else rule.unit)
    return ColumnRule(f"extra.{name}{_DEVIATION}")


def _ragged(number: int, row: Sequence[str], width: int) -> BadRow:
    return BadRow(number, "", " | ".join(row)[:200], f"the line has {len(row)} cells, the header {width}")


IMPORTER = Importer("markdown", 1, sniff, read, "tables of results in a markdown file")
