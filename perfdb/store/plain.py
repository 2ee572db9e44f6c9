"""Large text files without quotes, read by DuckDB: five times faster than line by line, and exact or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perfdb.store.arrays import as_arrays
from perfdb.store.engine import engine
from perfdb.texts import TextColumn

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_CHUNK = 2**20
_MOST_DISTINCT = 50_000
_GLOB = "*?["


def read_plain(path: Path, delimiter: str, width: int) -> list[TextColumn] | None:
    """The columns below the header line of a file in which nothing is to be interpreted.

    Returns None for any other: one with quotes, several kinds of line end, empty lines, lines that are not `width`
    cells wide, or bytes that are no UTF-8.

    Raises:
        OSError: the file cannot be read.
    """
    import duckdb

    lines, line_end = _lines(path)
    if not line_end or any(sign in str(path) for sign in _GLOB):
        return None
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(width))
    with engine() as connection:
        try:
            connection.execute(
                f"""CREATE TABLE raw AS SELECT * FROM read_csv(
                    ?, delim = ?, quote = '', escape = '', comment = '', new_line = '{line_end}', compression = 'none',
                    header = false, skip = 1, auto_detect = false, strict_mode = true, columns = {{{columns}}})""",
                [str(path), delimiter],
            )
        except duckdb.Error:
            return None
        found = connection.execute("SELECT count(*) FROM raw").fetchall()
        return _columns(connection, width) if found[0][0] == lines - 1 else None


def _lines(path: Path) -> tuple[int, str]:
    """(number of lines, how each ends as DuckDB spells it); "" where lines or cells are not told by their bytes."""
    feeds = returns = pairs = 0
    last = b"\n"
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if b'"' in chunk or b"\0" in chunk:
                return 0, ""
            feeds += chunk.count(b"\n")
            returns += chunk.count(b"\r")
            pairs += chunk.count(b"\r\n") + (last == b"\r" and chunk.startswith(b"\n"))
            last = chunk[-1:]
    unfinished = last != b"\n"
    if returns and not returns == pairs == feeds:
        return 0, ""
    return feeds + unfinished, r"\r\n" if returns else r"\n"


def _columns(connection: Connection, width: int) -> list[TextColumn]:
    if not width:
        return []
    counts = ", ".join(f"approx_count_distinct(c{i})" for i in range(width))
    rows, *distinct = connection.execute(f"SELECT count(*), {counts} FROM raw").fetchall()[0]
    few = [i for i in range(width) if distinct[i] <= min(_MOST_DISTINCT, rows // 4)]
    known = {i: _dictionary(connection, i) for i in few}
    codes = {}
    if few:
        coded = ", ".join(f"enum_code(coalesce(c{i}, '')::e{i})::INTEGER AS c{i}" for i in few)
        codes = connection.execute(f"SELECT {coded} FROM raw").fetchnumpy()
    return [
        TextColumn(np.asarray(codes[f"c{i}"], dtype=np.int32), known[i]) if i in known else _plain(connection, i)
        for i in range(width)
    ]


def _dictionary(connection: Connection, i: int) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """The texts of a column in the order of their first rows; they become the type e{i}."""
    ordered = f"SELECT coalesce(c{i}, '') AS text FROM raw GROUP BY text ORDER BY min(rowid)"
    connection.execute(f"CREATE TYPE e{i} AS ENUM ({ordered})")
    names = connection.execute(f"SELECT unnest(enum_range(NULL::e{i})) AS text").fetchall()
    known = np.empty(len(names), dtype=object)
    known[:] = [name for (name,) in names]
    return known


def _plain(connection: Connection, i: int) -> TextColumn:
    cells = as_arrays(connection.execute(f"SELECT coalesce(c{i}, '') AS text FROM raw").fetchnumpy(), ())["text"]
    return TextColumn(np.arange(len(cells), dtype=np.int32), cells)
