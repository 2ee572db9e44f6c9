"""A table of operations as a Parquet file, whole or not at all: what the `collected` importer reads back as it is."""

from __future__ import annotations

import os
from pathlib import Path

from perfdb.errors import FileError
from perfdb.operations import COLUMNS, TEXTS, OperationTable
from perfdb.store.engine import engine, first_line
from perfdb.store.op_stage import KINDS


def write_operations(table: OperationTable, path: Path) -> None:
    """Write the columns that the table has, numbers that are NaN as nothing; `measured_at` is in Unix seconds.

    Raises:
        FileError: it cannot be written there.
    """
    import duckdb

    names = [name for name in COLUMNS if name in table.columns]
    selected = ", ".join(f"{_sql(name)} AS {name}" for name in names)
    draft = path.absolute().with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with engine() as connection:
            connection.register("given", {name: table[name] for name in names})
            connection.execute(
                f"COPY (SELECT {selected} FROM given) TO ? (FORMAT parquet, COMPRESSION zstd)", [str(draft)]
            )
        draft.replace(path)
    except (duckdb.Error, OSError) as error:
        raise FileError(f"{path}: cannot be written ({first_line(error)}); expected a writable folder") from error
    finally:
        draft.unlink(missing_ok=True)


def _sql(name: str) -> str:
    if name in TEXTS:
        return name
    number = f"CASE WHEN isfinite({name}) THEN {name} END"
    return f"make_timestamp(({number} * 1e6)::BIGINT)" if name == "measured_at" else f"({number})::{KINDS[name]}"
