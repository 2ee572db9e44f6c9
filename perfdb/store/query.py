"""Questions in the user's own SQL: one statement that only reads, and sees nothing but the database."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from perfdb.errors import InputError
from perfdb.store.connect import Database
from perfdb.store.engine import close_off, first_line

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_ZONED = "TIMESTAMP WITH TIME ZONE"
_READING = ("SELECT", "EXPLAIN", "MULTI")  # MULTI is what DuckDB makes of PIVOT


@dataclass(frozen=True)
class Table:
    """The answer to a query: `rows` hold only what JSON can say (str, int, finite float, bool, None, lists, dicts)."""

    columns: list[str]
    rows: list[list[object]]


def sql(database: Database, query: str) -> Table:
    """Answer a query; see `Store.sql`."""
    import duckdb

    with database.reading() as connection:
        close_off(connection)
        statement = single_statement(connection, query)
        try:
            cursor = connection.execute(statement)
            columns = [column[0] for column in cursor.description or ()]
            kinds = [str(column[1]) for column in cursor.description or ()]
            if any(_ZONED in kind for kind in kinds):
                cursor = connection.execute(_in_utc(statement, kinds))
            rows = cursor.fetchall()
        except duckdb.Error as error:
            raise refused(error) from error
    return Table(columns, [[jsonable(value) for value in row] for row in rows])


def _in_utc(statement: str, kinds: Sequence[str]) -> str:
    """The same rows with times in UTC without a zone, as all stored ones are: for zones DuckDB would ask for pytz."""
    names = [f"c{i}" for i in range(len(kinds))]
    casts = [f"{name}::{kind.replace(_ZONED, 'TIMESTAMP')}" for name, kind in zip(names, kinds, strict=True)]
    # a new line before the bracket: the query may end in a comment
    return f"SELECT {', '.join(casts)} FROM ({statement}\n) AS answer({', '.join(names)})"


def single_statement(connection: Connection, query: str) -> str:
    """The one reading statement in `query`, without its semicolon.

    Raises:
        InputError: there is none, more than one, one that is no SQL, or one that does not only read.
    """
    import duckdb

    try:
        statements = connection.extract_statements(query)
    except duckdb.Error as error:
        raise refused(error) from error
    if len(statements) != 1:
        raise InputError.at("query", f"{len(statements)} statements", "one SELECT")
    kind = statements[0].type.name
    if kind not in _READING:
        raise InputError.at("query", f"{kind} is refused, as the database is open for reading only", "a SELECT")
    return str(statements[0].query).strip().rstrip(";")


def refused(error: Exception) -> InputError:
    """DuckDB's complaint about a query as one sentence of ours."""
    text = first_line(error)
    if "read-only mode" in text:
        return InputError.at("query", "a write is refused, as the database is open for reading only", "a SELECT")
    if "disabled by" in text:
        return InputError.at("query", f"{text}", "a SELECT from the tables of the database")
    meant = re.search(r"Did you mean .*", str(error))
    return InputError(f"query: {text}" + (f" {meant[0]}" if meant else ""))


def jsonable(value: object) -> object:
    """Times as ISO 8601, decimals as floats, NaN and infinity as None, bytes as hex, what else is not JSON as text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return _text(value)


def _text(value: object) -> object:
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.hex() if isinstance(value, bytes) else str(value)
