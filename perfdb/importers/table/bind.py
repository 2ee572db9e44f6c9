"""From a table to a frame: what each column means, what the user said instead, and every cell parsed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from perfdb.importers.importer import ReadSettings
from perfdb.importers.table.cells import Floats, is_blank, number, to_numbers
from perfdb.importers.table.dialect import meaning, squeeze, unit_of
from perfdb.importers.table.fields import NUMERIC_CONTEXT, TEXT_HELPERS, Kind, Meaning, field_meaning
from perfdb.importers.table.frame import Column, Frame, Key, Table
from perfdb.importers.table.redact import MARK, is_secret_name, redact
from perfdb.importers.table.scales import SCALES
from perfdb.metrics import Statistic
from perfdb.texts import Bools, TextColumn, printable


def bind(table: Table, settings: ReadSettings) -> Frame:
    """The frame of a table: cells parsed, units not yet decided."""
    own = [Column(name, _meaning(name, settings), text) for name, text in zip(table.header, table.columns, strict=True)]
    has_units = any(column.meaning.name == "unit" for column in own)
    columns = (*_given(settings, len(table.rows)), *(_result(column, has_units) for column in own))
    frame = Frame(table.rows, columns, warnings=list(table.warnings))
    for name, rule in settings.columns.items():
        if rule.unit and name in table.header:
            frame.decided[name] = f"{rule.unit}, by the column map"
    for column in columns:
        if column.meaning.kind is not Kind.IGNORE:
            _add(frame, column)
    return frame


def _given(settings: ReadSettings, rows: int) -> list[Column]:
    columns = []
    for name, text in settings.given.items():
        where = "--set" if name in settings.constants else "the path"
        columns.append(Column(name, field_meaning(name, f"field of {where}"), TextColumn.constant(text, rows), where))
    return columns


def _meaning(header: str, settings: ReadSettings) -> Meaning:
    rule = settings.columns.get(header) or settings.columns.get(header.strip())
    by_name = meaning(header)
    if rule is None:
        return by_name or Meaning(Kind.EXTRA, header.strip())
    found = field_meaning(rule.field, "field of the column map")
    if rule.unit:
        return replace(found, unit=unit_of(rule.unit) or rule.unit)
    # the map says which field, not in which unit: the column's own name may still tell
    return replace(found, unit=by_name.unit) if by_name and by_name.name == found.name else replace(found, unit="")


def _result(column: Column, has_units: bool) -> Column:
    """A "result" may be how a run ended, or the number that it yielded, in a unit that another column tells."""
    if column.meaning.name != "status" or squeeze(column.header) not in {"result", "results"}:
        return column
    said = column.text.said()
    if not said.any() or np.isnan(column.text.numbers(number)[said]).mean() > 0.5:
        return column
    meaning = Meaning(Kind.HELPER, "throughput") if has_units else Meaning(Kind.EXTRA, column.header)
    return replace(column, meaning=meaning)


def is_numeric(meaning: Meaning) -> bool:
    """Whether a column of this meaning holds numbers."""
    is_helper = meaning.kind is Kind.HELPER and meaning.name not in TEXT_HELPERS
    is_context = meaning.kind is Kind.CONTEXT and meaning.name in NUMERIC_CONTEXT
    return meaning.kind is Kind.METRIC or is_helper or is_context


def _add(frame: Frame, column: Column) -> None:
    name = column.meaning.name
    if is_numeric(column.meaning):
        _add_numbers(frame, column)
    elif column.meaning.kind in (Kind.CONTEXT, Kind.HELPER):
        _add_text(frame, frame.texts, name, column)
    else:
        store = frame.config if column.meaning.kind is Kind.CONFIG else frame.extra
        text = TextColumn.constant(MARK, frame.n) if is_secret_name(column.header) else column.text
        _add_text(frame, store, name, replace(column, text=text))


def _cleaned(cell: str) -> str:
    return "" if is_blank(cell) else "\n".join(map(printable, redact(cell.strip()).splitlines()))


def _add_text(frame: Frame, store: dict[str, TextColumn], name: str, column: Column) -> None:
    text = column.text.map(_cleaned)
    known = store.get(name)
    if known is None:
        store[name] = text
        frame.headers.setdefault((name, Statistic.VALUE), column.header)
        return
    _warn_disagreement(frame, (name, Statistic.VALUE), column, known.differs(text))
    store[name] = known.or_else(text)


def _add_numbers(frame: Frame, column: Column) -> None:
    key: Key = (column.meaning.name, column.meaning.statistic)
    values, wrong = to_numbers(column.text)
    known = frame.numbers.get(key)
    if known is None:
        frame.numbers[key], frame.wrong[key] = values, wrong
        frame.units[key] = column.meaning.unit
        frame.headers[key] = column.header
        return
    if frame.units[key] != column.meaning.unit:
        values = _in_one_unit(frame, key, column, values)
        known = frame.numbers[key]
    _warn_disagreement(frame, key, column, ~np.isnan(known) & ~np.isnan(values) & (known != values))
    takes = np.isnan(known) & ~frame.wrong[key]
    frame.numbers[key] = np.where(takes, values, known)
    frame.wrong[key] = np.where(takes, wrong, frame.wrong[key])


def _in_one_unit(frame: Frame, key: Key, column: Column, values: Floats) -> Floats:
    """The values in the unit of the column that came first; a column without a unit stays aside, in extra."""
    first, second = frame.units[key], column.meaning.unit
    if first and second:
        return values * (SCALES[second] / SCALES[first])
    aside = frame.headers[key] if second else column.header
    frame.extra[aside] = frame.column(aside)
    frame.warn(f"column {aside!r} is a second {key[0]} and does not say its unit: kept in extra")
    if second:
        frame.units[key], frame.headers[key] = second, column.header
        frame.numbers[key], frame.wrong[key] = np.full(frame.n, np.nan), np.zeros(frame.n, dtype=bool)
        return values
    return np.full(frame.n, np.nan)


def _warn_disagreement(frame: Frame, key: Key, column: Column, differs: Bools) -> None:
    if not differs.any():
        return
    first = frame.headers.get(key, key[0])
    source = next((other.origin for other in frame.columns if other.header == first), "file")
    taken = f"column {first!r}" if source == "file" else source
    count = int(differs.sum())
    rows = f"{count} row{'s' * (count != 1)}"
    frame.warn(f"{key[0]}: column {column.header!r} says something else than {taken} in {rows}; {taken} was taken")
