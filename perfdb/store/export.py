"""A table or a query as a CSV, Parquet or JSON file, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from perfdb.errors import InputError, UnknownNameError
from perfdb.paths import is_folder, is_there
from perfdb.store.connect import Database
from perfdb.store.engine import close_off, unopened
from perfdb.store.provenance_schema import VIEWS
from perfdb.store.query import refused, single_statement
from perfdb.store.schema import TABLES

_FORMATS = {
    ".csv": "FORMAT csv, HEADER true",
    ".tsv": "FORMAT csv, HEADER true, DELIMITER '\t'",
    ".parquet": "FORMAT parquet",
    ".json": "FORMAT json, ARRAY true",
    ".jsonl": "FORMAT json, ARRAY false",
}


def export(database: Database, table_or_query: str, path: Path, replaces: bool) -> int:
    """Write a file and return its rows; see `Store.export`."""
    import duckdb

    options = _FORMATS.get(path.suffix.lower())
    if options is None:
        raise InputError.at(str(path), f"no format is called {path.suffix!r}", ", ".join(_FORMATS))
    if not is_folder(path.absolute().parent):
        raise InputError.at(str(path), "its folder does not exist", "a path in an existing folder")
    if is_there(path) and not replaces:
        raise InputError.at(str(path), "it exists already", "the name of a new file, or --force")
    draft = path.absolute().with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with database.reading() as connection:
            close_off(connection, draft)
            query = single_statement(connection, _query(table_or_query))
            try:
                # a new line before the bracket: the query may end in a comment
                done = connection.execute(f"COPY ({query}\n) TO ? ({options})", [str(draft)]).fetchall()
            except duckdb.Error as error:
                if why := unopened(error):
                    raise InputError.at(str(path), f"cannot be written ({why})", "a writable path") from error
                raise refused(error) from error
        draft.replace(path)
    except OSError as error:
        raise InputError.at(str(path), f"cannot be written ({error.strerror})", "a writable path") from error
    finally:
        draft.unlink(missing_ok=True)
    return int(done[0][0])


def _query(table_or_query: str) -> str:
    text = table_or_query.strip()
    if text in (*TABLES, *VIEWS):
        return f'SELECT * FROM "{text}"'
    if text.isidentifier():
        raise UnknownNameError.of("table", text, (*TABLES, *VIEWS))
    return text
