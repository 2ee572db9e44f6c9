"""A DuckDB that belongs to one call, and transactions on it."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@contextmanager
def engine() -> Iterator[Connection]:
    """A private in-memory DuckDB in UTC that fetches no extensions and takes object arrays as the text they hold.

    Raises:
        KeyboardInterrupt: Ctrl-C, during a query, too.
    """
    import duckdb

    spill = Path(tempfile.gettempdir()) / f"servecast-duckdb-{os.getpid()}"
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        # 0: by default the first 1,000 values decide a column's type, and a later text breaks the scan
        "pandas_analyze_sample": 0,
        "temp_directory": str(spill),
    }
    connection = duckdb.connect(":memory:", config=config)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    except RuntimeError as error:
        if str(error) == "Query interrupted":  # what DuckDB makes of Ctrl-C
            raise KeyboardInterrupt from error
        raise
    finally:
        connection.close()


_own = threading.local()


@contextmanager
def kept_engine() -> Iterator[Connection]:
    """An `engine` that its thread keeps for the next block, unless the block raises: to open one takes 30 ms of CPU.

    Blocks within each other, and those of a forked process, get one of their own.
    """
    kept: tuple[int, ExitStack, Connection] | None = _own.__dict__.pop("kept", None)
    if kept is None or kept[0] != os.getpid():
        stack = ExitStack()
        kept = os.getpid(), stack, stack.enter_context(engine())
    _, stack, connection = kept
    with ExitStack() as closing:
        closing.push(stack)
        yield connection
        closing.pop_all()
    if "kept" in _own.__dict__:
        stack.close()
    else:
        _own.kept = kept


def close_off(connection: Connection, *paths: Path) -> None:
    """From here on no statement reaches the file system but for `paths`, nor loads anything, nor can undo this."""
    connection.execute("SET allowed_paths = ?", [[str(path) for path in paths]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def first_line(error: Exception) -> str:
    """DuckDB's message without its kind and without the excerpt of the query."""
    return re.sub(r"^[\w ]+ Error: ", "", str(error).strip().split("\n")[0]).strip()


def unopened(error: Exception) -> str:
    """Why DuckDB could not open a file, such as "Permission denied"; "" if that is not what went wrong."""
    found = re.search(r'Cannot open file "[^"]*": ([^\n]+)', str(error))
    return found[1].strip() if found else ""


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit what the block did, all of it or, where it raised, nothing."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
