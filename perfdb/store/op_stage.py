"""From a described file of operations to typed rows in memory, the impossible ones with a fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perfdb.batch import Number, OperationFile, Reading
from perfdb.errors import FileError
from perfdb.operations import ARGUMENTS, COLUMNS, TEXTS
from perfdb.store.engine import first_line
from perfdb.store.op_source import Relation, open_relation, quoted
from perfdb.store.op_words import Group, Words
from perfdb.store.staging import Fault, first_fault, time_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_SMALL = frozenset(
    {
        *("heads", "kv_heads", "head_dim", "decode_batch", "topk", "experts", "active_experts"),
        *("tp", "moe_tp", "moe_ep", "devices", "nodes"),
    }
)
_LARGE = frozenset({"elements", "bytes"})
KINDS: Mapping[str, str] = {
    **dict.fromkeys(TEXTS, "VARCHAR"),
    **{name: "SMALLINT" if name in _SMALL else "BIGINT" if name in _LARGE else "INTEGER" for name in ARGUMENTS},
    "latency_s": "DOUBLE",
    "spread": "DOUBLE",
    "measured_at": "TIMESTAMP",
}
"""SQL types of what a row says: arguments as narrow as they can be, as most are NULL in most rows, which costs time."""


@dataclass(frozen=True)
class Staged:
    """A file in memory: the relation `rows` has "row", "reading" and `columns`, typed as in `KINDS`, of sound records.

    The table `faulty` holds the records set aside, one line each: row, at, value, reason. `records` counts all,
    `groups` are the values of `op_words.GROUP` that occur.
    """

    rows: str
    columns: tuple[str, ...]
    faulty: str
    tables: tuple[str, ...]
    records: int
    is_wide: bool
    groups: frozenset[Group]
    warnings: tuple[str, ...]

    def drop(self, connection: Connection) -> None:
        """Free the memory."""
        for table in self.tables:
            connection.execute(f"DROP TABLE {table}")


def stage(connection: Connection, file: OperationFile, number: int) -> Staged:
    """Read a file into tables whose names end in `number`.

    Raises:
        FileError: it cannot be read, or has no column that holds latencies, or none that names the operation.
    """
    import duckdb

    try:
        return _stage(connection, file, f"memory.staged_{number}", f"memory.faulty_{number}")
    except duckdb.Error as error:
        raise FileError(f"{file.path}: cannot be read ({first_line(error)})") from error
    finally:
        connection.execute("DROP TABLE IF EXISTS memory.given")


def _stage(connection: Connection, file: OperationFile, raw: str, faulty: str) -> Staged:
    relation = open_relation(connection, file.path)
    readings = [reading for reading in file.readings if relation.number(reading.latency)]
    if not readings:
        wanted = ", ".join(name for reading in file.readings for name in reading.latency.columns)
        raise FileError.at(str(file.path), "no column of latencies", f"one of {wanted}")
    words = Words.of(connection, relation, file)
    rows = [_Rows(relation, file, words, reading, place) for place, reading in enumerate(readings)]
    is_wide = len(rows) > 1
    connection.execute(f"CREATE TABLE {raw} AS {' UNION ALL BY NAME '.join(row.select(is_wide) for row in rows)}")
    _set_aside(connection, relation, raw, faulty, is_wide)
    # a line whose cells do not fit the header does not say which of them is the secret
    hides = any(map(file.is_secret, relation.names))
    for bad in relation.bad:
        place = [bad.row, bad.column, "" if hides else file.redact(bad.value), bad.reason]
        connection.execute(f"INSERT INTO {faulty} VALUES (?, ?, ?, ?)", place)
    records = int(connection.execute(f"SELECT count(*) FROM {relation.sql}").fetchall()[0][0]) + len(relation.bad)
    constants = {} if is_wide else rows[0].constants
    there = {name for row in rows for name in (*row.columns, *row.constants)}
    columns = tuple(name for name in COLUMNS if name in there)
    shown = ", ".join(f"{constants[name]} AS {name}" if name in constants else name for name in columns)
    sound = f'SELECT "row", reading, {shown} FROM {raw} WHERE fault IS NULL AND latency_s > 0'
    if is_wide:
        sound += f' AND "row" NOT IN (SELECT "row" FROM {faulty})'
    groups = frozenset(group for row in rows for group in words.groups(row.given))
    return Staged(f"({sound})", columns, faulty, (raw, faulty), records, is_wide, groups, tuple(words.warnings))


@dataclass
class _Rows:
    """SQL of the rows of one reading: its columns, those of them that are the same in each row, and its faults."""

    relation: Relation
    file: OperationFile
    words: Words
    reading: Reading
    place: int
    columns: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.given = {**self.file.given, **self.reading.given}
        self._texts()
        self._numbers()
        self._more()
        self._latency()

    def select(self, is_wide: bool) -> str:
        """The query. What is the same in each row is in it only where another reading says something else."""
        shown = {**self.columns, **(self.constants if is_wide else {})}
        when = [self._holds(column, text) for column, text in self.reading.when.items()]
        when += [f"NOT coalesce({self._holds(column, text)}, false)" for column, text in self.reading.unless.items()]
        columns = ", ".join(f"{sql} AS {name}" for name, sql in shown.items())
        return f"""SELECT "row", {self.place}::TINYINT AS reading, {columns}, {first_fault(self.faults)} AS fault
                FROM {self.relation.sql}{" WHERE " + " AND ".join(when) if when else ""}"""

    def _add(self, name: str, sql: str) -> None:
        is_constant = sql.startswith(("'", "NULL"))
        (self.constants if is_constant else self.columns)[name] = f"{sql}::{KINDS[name]}" if is_constant else sql

    def _texts(self) -> None:
        for name in TEXTS:
            sql = self.words.text(name, self.given) if name != "more" else None
            if sql is not None:
                self._add(name, sql)
        operation = self.words.text("op", self.given)
        if operation is None:
            wanted = " or ".join(self.file.texts.get("op", ("op",)))
            raise FileError.at(str(self.file.path), "no column names the operation", wanted)
        if None in self.words.ours.get("op", {}) and "op" not in self.given:
            self.faults.append(("op", f"{operation} IS NULL", "''", "no operation is named"))
        self._time()

    def _time(self) -> None:
        column = self.relation.first(self.file.texts.get("measured_at", ()))
        if "measured_at" in self.given:
            self.constants["measured_at"] = f"({time_of(quoted(self.given['measured_at']))})"
        elif column is not None:
            cell = self.relation.text(column)
            self.columns["measured_at"] = time_of(cell)
            self.faults.append((column, f"{cell} IS NOT NULL AND {time_of(cell)} IS NULL", cell, "not a time"))

    def _numbers(self) -> None:
        for name, number in {**self.file.numbers, **self.reading.numbers}.items():
            value = None if name in self.given else self.relation.number(number)
            if value is not None:
                self._whole(name, value, self.relation.first(number.columns) or name)
        self.constants |= {name: f"{int(self.given[name])}::{KINDS[name]}" for name in ARGUMENTS if name in self.given}
        if "elements" in self.columns and "bytes" not in self.columns:
            sql = self.words.bytes_of(self.columns["elements"])
            self.columns |= {} if sql is None else {"bytes": sql}

    def _whole(self, name: str, value: str, column: str) -> None:
        cell = self.relation.names[column]
        whole = f"TRY_CAST({value} AS {KINDS[name]})"
        wrong = f"{whole} < 0 OR {whole} IS NULL"
        if not (self.relation.is_whole(column) and value == cell):
            wrong += f" OR {whole} <> {value}"
        self.columns[name] = whole
        self.faults.append((column, f"{cell} IS NOT NULL AND ({wrong})", cell, "not a whole number of 0 or more"))

    def _latency(self) -> None:
        reading, relation = self.reading, self.relation
        value, column = f"({relation.number(reading.latency)})::DOUBLE", relation.first(reading.latency.columns) or ""
        cell = relation.names[column]
        self.columns["latency_s"] = value
        self.faults += [
            (column, f"{cell} IS NOT NULL AND NOT coalesce(isfinite({value}), false)", cell, "not a number"),
            (column, f"{value} < 0", cell, "a negative latency"),
        ]
        if len(self.file.readings) == 1:
            self.faults.append((column, f"coalesce({value}, 0) = 0", f"coalesce({cell}::VARCHAR, '')", "not measured"))
        if reading.spread and all(column in relation.names for column in reading.spread):
            spread = " / ".join(str(relation.number(Number((column,)))) for column in reading.spread)
            self.columns["spread"] = f"CASE WHEN isfinite({spread}) AND ({spread}) >= 0 THEN ({spread})::DOUBLE END"

    def _more(self) -> None:
        """What nothing names, and what is given under a name that is no column, as a JSON object."""
        relation, file = self.relation, self.file
        others = [name for name in relation.names if name not in _used(file) and not file.is_secret(name)]
        entries = {name: relation.json(name) for name in others}
        for name, blank in file.ignored.items():
            if blank is not None and name in relation.names:
                entries[name] = f"CASE WHEN {relation.text(name)} <> {quoted(blank)} THEN {relation.json(name)} END"
        entries |= {name: f"to_json({quoted(text)})" for name, text in self.given.items() if name not in COLUMNS}
        parts = [f"json_object({', '.join(f'{quoted(n)}, {entries[n]}' for n in sorted(entries))})"] if entries else []
        whole = relation.first(file.texts.get("more", ()))
        if whole is not None:
            cell = relation.text(whole)
            parts.insert(0, f"coalesce(TRY_CAST({cell} AS JSON), '{{}}')")
            wrong = f"{cell} IS NOT NULL AND NOT coalesce(json_type(TRY_CAST({cell} AS JSON)) = 'OBJECT', false)"
            self.faults.append((whole, wrong, cell, "not a JSON object"))
        if parts:
            # a merge drops what is null
            self.columns["more"] = f"nullif(json_merge_patch('{{}}', {', '.join(parts)})::VARCHAR, '{{}}')"

    def _holds(self, column: str, text: str) -> str:
        return f"{self.relation.text(column)} = {quoted(text)}" if column in self.relation.names else "false"


def _used(file: OperationFile) -> set[str]:
    """The columns of the file that its description names."""
    return {*_named(file), *file.ignored}


def _named(file: OperationFile) -> Iterator[str]:
    for columns in file.texts.values():
        yield from columns
    for numbers in (file.numbers, *(reading.numbers for reading in file.readings)):
        for number in numbers.values():
            yield from number.columns
    for reading in file.readings:
        yield from (*reading.latency.columns, *reading.spread, *reading.when, *reading.unless)


def _set_aside(connection: Connection, relation: Relation, raw: str, faulty: str, is_wide: bool) -> None:
    """Make the table `faulty`: a record is there once, for the first of its faults."""
    connection.execute(
        f"""CREATE TABLE {faulty} AS
            SELECT "row", unnest(min_by(fault, reading)) FROM {raw} WHERE fault IS NOT NULL GROUP BY "row" """
    )
    if is_wide:
        connection.execute(
            f"""INSERT INTO {faulty} SELECT "row", '', '', 'not measured' FROM {relation.sql}
                WHERE "row" NOT IN (SELECT "row" FROM {raw} WHERE latency_s > 0 OR fault IS NOT NULL)"""
        )
