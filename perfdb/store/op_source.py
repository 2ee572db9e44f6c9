"""A file of operations as a relation in SQL: its columns under names that no file can choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfdb.batch import BadRow, Number
from perfdb.errors import FileError
from perfdb.store.engine import first_line

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
_REAL = ("FLOAT", "DOUBLE", "DECIMAL")
_GLOB = "*?["
_PARQUET = b"PAR1"


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Relation:
    """n records: `sql` is a relation with the columns "row" (from 1) and those of `names`, as the file calls them.

    `kinds` are the SQL types of the latter. `bad` are lines that are no records.
    """

    sql: str
    names: Mapping[str, str]
    kinds: Mapping[str, str]
    bad: tuple[BadRow, ...] = ()

    def first(self, columns: tuple[str, ...]) -> str | None:
        """The first of these columns that the file has, None where it has none."""
        return next((name for name in columns if name in self.names), None)

    def text(self, column: str) -> str:
        """SQL of a cell as text, NULL where it is blank."""
        name = self.names[column]
        return name if self.kinds[column] == "VARCHAR" else f"{name}::VARCHAR"

    def is_whole(self, column: str) -> bool:
        """Whether the file says that a column holds whole numbers."""
        return self.kinds[column] in _WHOLE

    def is_number(self, column: str) -> bool:
        """Whether the file says that a column holds numbers."""
        return self.kinds[column].startswith((*_WHOLE, *_REAL))

    def number(self, number: Number) -> str | None:
        """SQL of a number, NULL where a cell is blank or no number; None where the file has none of its columns."""
        there = [column for column in number.columns if column in self.names]
        if not there:
            return None
        terms = [self._cell(column) for column in there]
        value = " + ".join(terms) if len(terms) == 1 else f"({' + '.join(terms)})"
        value = value if number.per == 1 else f"{value} / {number.per!r}"
        return value if number.plus == 0 else f"{value} + {number.plus:g}"

    def _cell(self, column: str) -> str:
        name, kind = self.names[column], self.kinds[column]
        return name if kind.startswith((*_WHOLE, "DOUBLE", "FLOAT")) else f"TRY_CAST({name} AS DOUBLE)"

    def json(self, column: str) -> str:
        """SQL of a cell as JSON: whole numbers without a point, what is no finite number as text, NULL where blank."""
        name = self.names[column]
        if self.kinds[column] == "BOOLEAN" or self.kinds[column].startswith(_WHOLE):
            return f"to_json({name})"
        value = f"TRY_CAST({name} AS DOUBLE)"
        whole = f"isfinite({value}) AND {value} = trunc({value}) AND abs({value}) < 1e15"
        number = f"WHEN {whole} THEN to_json({value}::BIGINT) WHEN isfinite({value}) THEN to_json({value})"
        truth = "" if self.is_number(column) else f"WHEN {name} IN ('True', 'False') THEN to_json({name} = 'True')"
        return f"CASE {number} {truth} ELSE to_json({name}::VARCHAR) END"


def open_relation(connection: Connection, path: Path) -> Relation:
    """The relation of a Parquet file, or of a delimited text, which is copied to `memory.given`.

    Raises:
        FileError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            is_parquet = file.read(len(_PARQUET)) == _PARQUET
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    return _parquet(connection, path) if is_parquet else _text(connection, path)


def _parquet(connection: Connection, path: Path) -> Relation:
    import duckdb

    if any(sign in str(path) for sign in _GLOB):
        raise FileError.at(str(path), "its name holds *, ? or [", "a name without them")
    # the folder's names may look like partitions (tp=8/): what they say is not the file's
    scan = f"read_parquet({quoted(str(path))}, hive_partitioning = false, file_row_number = true)"
    try:
        described = connection.execute(f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {scan}").fetchall()
    except duckdb.Error as error:
        raise FileError(f"{path}: no readable Parquet file ({first_line(error)})") from error
    names = {str(row[0]): f"c{place}" for place, row in enumerate(described)}
    columns = [f'"{name.replace(chr(34), chr(34) * 2)}" AS {ours}' for name, ours in names.items()]
    sql = f'(SELECT file_row_number + 1 AS "row", {", ".join(columns)} FROM {scan})'
    return Relation(sql, names, {str(row[0]): str(row[1]) for row in described})


def _text(connection: Connection, path: Path) -> Relation:
    from perfdb.store.text import scan_text

    table = scan_text(path)
    names: dict[str, str] = {}
    for place, name in enumerate(table.header):
        names.setdefault(name, f"c{place}")
    given = {f"c{place}": column.array() for place, column in enumerate(table.columns)}
    connection.register("cells", {"row": table.rows, **given})
    blank = [f"nullif(trim({column}), '') AS {column}" for column in names.values()]
    connection.execute(f'CREATE OR REPLACE TABLE memory.given AS SELECT "row", {", ".join(blank)} FROM cells')
    connection.unregister("cells")
    return Relation("memory.given", names, dict.fromkeys(names, "VARCHAR"), tuple(table.bad))
