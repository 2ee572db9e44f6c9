"""Small writes and look-ups that several tables share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perfdb.errors import StoreError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_ROWS_AT_ONCE = 500


def insert_rows(
    connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], stamped: str = ""
) -> None:
    """Append rows of Python scalars, NaN and infinity as they are; `stamped` names a column for the time of writing."""
    names = ", ".join(f'"{name}"' for name in (*columns, *filter(None, [stamped])))
    one = "(" + ", ".join(["?"] * len(columns)) + (", now()::TIMESTAMP" if stamped else "") + ")"
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        chunk = rows[start : start + _ROWS_AT_ONCE]
        values = [value for row in chunk for value in row]
        connection.execute(f"INSERT INTO {table} ({names}) VALUES {', '.join([one] * len(chunk))}", values)


def must_have_run(connection: Connection, path: Path, run_id: str) -> None:
    """Refuse a run that is not there.

    Raises:
        StoreError: no run has that id.
    """
    if not connection.execute("SELECT 1 FROM runs WHERE run_id = ?", [run_id]).fetchone():
        raise StoreError(f"{path}: no run {run_id!r}; expected one that open_run gave")
