"""A recorded grid as columns, with filters and derived columns in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perfdb.errors import FileError, InputError
from perfdb.store.arrays import as_arrays
from perfdb.store.engine import close_off, engine, first_line
from perfdb.store.text import scan_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_ROW = "_row"
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_REALS = ("FLOAT", "DOUBLE", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "DECIMAL")


@dataclass(frozen=True)
class Scan:
    """n rows of a file. `rows` are their 0-based numbers in it, in the order of the file.

    `columns[name]` is int64 or float64 (NaN where blank) where every cell of the file is a number, else objects (str,
    None where blank); `text[name]` the same cells as written (None where blank). Derived columns come last.
    """

    rows: npt.NDArray[np.int64]
    columns: dict[str, npt.NDArray[Any]]
    text: dict[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.rows)


def scan(path: Path, where: str | None = None, derive: Mapping[str, str] | None = None) -> Scan:
    """Read a CSV, TSV or Parquet file with typed columns.

    Args:
        path: the file; ".parquet" is read as Parquet, all else as delimited text.
        where: SQL condition over the columns, the derived ones too; rows where it is not true are left out.
        derive: new column -> SQL expression over the columns, and over those derived before it.

    Raises:
        FileError: the file cannot be read, or has a line that does not fit its header.
        InputError: the SQL of `where` or `derive` is wrong; it names the flag and the known columns.
    """
    path = Path(path)
    with engine() as connection:
        names = _load_parquet(connection, path) if path.suffix.lower() == ".parquet" else _load_text(connection, path)
        close_off(connection)
        for name, expression in (derive or {}).items():
            _derive(connection, names, name, expression)
        if where is not None:
            _run(connection, f"SELECT * FROM data WHERE ({where}\n)", f"--where {where}", names)
        return _collect(connection, names)


def _load_text(connection: Connection, path: Path) -> list[str]:
    table = scan_text(path)
    if table.bad:
        raise FileError.at(f"{path}, row {table.bad[0].row}", table.bad[0].reason, "as many cells as the header")
    names = _unique(table.header)
    cells = {f"c{i}": column.array() for i, column in enumerate(table.columns)}
    connection.register("given", {_ROW: table.rows - 1, **cells})
    blank = [f"nullif(trim(c{i}), '') AS c{i}" for i in range(len(names))]
    connection.execute(f"CREATE TABLE raw AS SELECT {_ROW}, {', '.join(blank)} FROM given")
    connection.unregister("given")
    kinds = _kinds(connection, len(names))
    typed = [f"c{i}::{kinds[i]} AS {_quoted(name)}" for i, name in enumerate(names)]
    texts = [f"c{i} AS {_quoted(_as_text(name))}" for i, name in enumerate(names)]
    connection.execute(f"CREATE TABLE data AS SELECT {_ROW}, {', '.join([*typed, *texts])} FROM raw")
    return names


def _kinds(connection: Connection, width: int) -> list[str]:
    """BIGINT, DOUBLE or VARCHAR for each column of `raw`: the first that every cell can be read as."""
    if not width:
        return []
    # DuckDB reads 1_000 as a number; in a benchmark file that is a name
    tests = [
        f"count(c{i}) > 0 AND count(c{i}) = count(TRY_CAST(c{i} AS DOUBLE)) FILTER (NOT contains(c{i}, '_')), "
        f"count(*) = count(*) FILTER (regexp_full_match(c{i}, '[+-]?[0-9]{{1,18}}'))"
        for i in range(width)
    ]
    found = connection.execute(f"SELECT {', '.join(tests)} FROM raw").fetchall()[0]
    number, whole = found[::2], found[1::2]
    return [("BIGINT" if w else "DOUBLE") if n else "VARCHAR" for n, w in zip(number, whole, strict=True)]


def _load_parquet(connection: Connection, path: Path) -> list[str]:
    import duckdb

    try:
        connection.execute(
            f"CREATE TABLE raw AS SELECT * RENAME (file_row_number AS {_ROW}) "
            "FROM read_parquet(?, file_row_number = true)",
            [str(path)],
        )
    except duckdb.Error as error:
        raise FileError(f"{path}: {first_line(error)}") from error
    described = connection.execute("DESCRIBE raw").fetchall()
    kinds = {str(row[0]): str(row[1]) for row in described if row[0] != _ROW}
    typed = [f"{_quoted(name)}::{_sql_type(kind)} AS {_quoted(name)}" for name, kind in kinds.items()]
    texts = [f"{_quoted(name)}::VARCHAR AS {_quoted(_as_text(name))}" for name in kinds]
    connection.execute(f"CREATE TABLE data AS SELECT {_ROW}, {', '.join([*typed, *texts])} FROM raw ORDER BY {_ROW}")
    return list(kinds)


def _sql_type(kind: str) -> str:
    if kind in _INTEGERS:
        return "BIGINT"
    return "DOUBLE" if kind.startswith(_REALS) else "VARCHAR"


def _derive(connection: Connection, names: list[str], name: str, expression: str) -> None:
    flag = f"--derive {name}={expression}"
    if _taken(name, names):
        raise InputError.at(flag, f"there is a column {name!r} already", "a new name")
    text = _quoted(_as_text(name))
    query = (
        f"SELECT *, {_quoted(name)}::VARCHAR AS {text} FROM (SELECT *, ({expression}\n) AS {_quoted(name)} FROM data)"
    )
    _run(connection, query, flag, names)
    names.append(name)


def _run(connection: Connection, query: str, flag: str, names: list[str]) -> None:
    """Replace `data` by the answer to `query`, which holds SQL of the user's."""
    import duckdb

    known = f"known columns: {', '.join(names)}"
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type.name != "SELECT":
            raise InputError(f"{flag}: not one SQL expression; {known}")
        connection.execute(f"CREATE TABLE next AS {query}")
        connection.execute("DROP TABLE data")
        connection.execute("ALTER TABLE next RENAME TO data")
    except duckdb.Error as error:
        raise InputError(f"{flag}: {first_line(error)}; {known}") from error


def _collect(connection: Connection, names: list[str]) -> Scan:
    kinds = {str(column[0]): str(column[1]) for column in connection.execute("DESCRIBE data").fetchall()}
    arrays: dict[str, Any] = connection.execute(f"SELECT * FROM data ORDER BY {_ROW}").fetchnumpy()
    numbers = {name for name in names if kinds[name].startswith((*_INTEGERS, *_REALS))}
    columns = as_arrays({name: arrays[name] for name in names}, numbers)
    for name in numbers:
        if kinds[name] in _INTEGERS and not np.ma.is_masked(arrays[name]):
            columns[name] = np.asarray(arrays[name], dtype=np.int64)
    text = as_arrays({name: arrays[_as_text(name)] for name in names}, ())
    return Scan(np.asarray(arrays[_ROW], dtype=np.int64), columns, text)


def _unique(header: list[str]) -> list[str]:
    """Names for all columns: a blank one is called by its position, a repeated one numbered."""
    names: list[str] = []
    for position, name in enumerate(header):
        free = name or f"column{position}"
        while _taken(free, names):
            free += "_"
        names.append(free)
    return names


def _taken(name: str, names: list[str]) -> bool:
    return name.lower() in {_ROW, *(other.lower() for other in names)}  # SQL does not tell cases apart


def _as_text(name: str) -> str:
    return f"text of {name}"


def _quoted(name: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
