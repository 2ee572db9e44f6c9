"""Reading Parquet exactly: every cell as the text that spells its value."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perfdb.errors import FileError
from perfdb.store.engine import close_off, engine, first_line
from perfdb.store.text import TextTable
from perfdb.texts import TextColumn

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_GLOB = "*?["
_CELLS_AT_ONCE = 5000
"""Texts are told apart in pieces that fit the processor's cache."""
_MOST_ROWS = 50_000_000
"""More rows are no table of results: a few bytes of Parquet can claim billions."""


def scan_parquet(path: Path) -> TextTable:
    """Read a Parquet file: numbers as the shortest text that gives them back, nothing as "", lists in brackets.

    A column at a time: what is held besides the result is one column of text.

    Raises:
        FileError: it cannot be read, is no complete Parquet file, or has tens of millions of rows.
    """
    import duckdb

    path = Path(path)
    if any(sign in str(path) for sign in _GLOB):
        raise FileError.at(str(path), "its name holds *, ? or [", "a name without them")
    with engine() as connection:
        close_off(connection, path)
        try:
            names, rows = _shape(connection, path)
            columns = [_column(connection, path, name) for name in names]
        except duckdb.Error as error:
            raise FileError(f"{path}: no readable Parquet file ({first_line(error)})") from error
    return TextTable(names, columns, [], np.arange(1, rows + 1))


def _shape(connection: Connection, path: Path) -> tuple[list[str], int]:
    names = [str(row[0]) for row in connection.execute(f"DESCRIBE {_scan('*')}", [str(path)]).fetchall()]
    rows = int(connection.execute(_scan("count(*)"), [str(path)]).fetchall()[0][0])
    if rows > _MOST_ROWS:
        raise FileError.at(str(path), f"{rows:,} rows", f"at most {_MOST_ROWS:,}")
    return names, rows


def _column(connection: Connection, path: Path, name: str) -> TextColumn:
    quoted = '"' + name.replace('"', '""') + '"'
    query = _scan(f"coalesce({quoted}::VARCHAR, '') AS cells")
    cells = np.asarray(connection.execute(query, [str(path)]).fetchnumpy()["cells"], dtype=object).tolist()
    parts = range(0, max(len(cells), 1), _CELLS_AT_ONCE)
    return TextColumn.joined([TextColumn.of(cells[start : start + _CELLS_AT_ONCE]) for start in parts])


def _scan(what: str) -> str:
    # the folder's names may look like partitions (tp=8/): what they say is the user's to tell, by a path pattern
    return f"SELECT {what} FROM read_parquet(?, hive_partitioning = false)"
