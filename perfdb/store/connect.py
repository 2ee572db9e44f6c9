"""Short opens of the database file: read-only where it can be, retried while another process holds it."""

from __future__ import annotations

import glob
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from perfdb.errors import FileError, InputError, StoreError
from perfdb.paths import is_folder
from perfdb.store import schema
from perfdb.store.engine import engine, first_line, kept_engine, unopened
from perfdb.store.waiting import Waiter, gate, one_thread

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_LOCKED = "Could not set lock on file"


class Database:
    """One database file. Nobody holds it between two blocks of `reading` or `writing`.

    Within a block the file is attached as `db` and is the default catalog. Both raise InputError where the file's
    folder is missing, StoreBusyError where it stays locked, StoreError where it is not a database of ours.
    """

    def __init__(self, path: Path, wait_s: float, on_wait: Callable[[str], None] | None) -> None:
        self.path = path
        self._wait_s = wait_s
        self._on_wait = on_wait

    @contextmanager
    def reading(self, is_kept: bool = False) -> Iterator[Connection]:
        """A read-only connection, in the newest schema; on a missing file, an empty database in memory.

        With `is_kept` the connection, not the file, stays open for the thread's next block of the kind, which finds the
        temporary tables that this one made.
        """
        self._check_path()
        with self._translated(), kept_engine() if is_kept else engine() as connection:
            if not self.path.exists():
                connection.execute("ATTACH ':memory:' AS db")
                connection.execute("USE db")
                schema.migrate(connection, self.path)
                yield connection
                connection.execute("USE memory")
                connection.execute("DETACH db")
                return
            while True:
                with self._attached(connection, read_only=True):
                    if schema.is_current(connection, self.path):
                        yield connection
                        return
                with self._attached(connection, read_only=False):
                    schema.migrate(connection, self.path)

    @contextmanager
    def writing(self, connection: Connection) -> Iterator[None]:
        """Attach the file to `connection` of `engine`, alone and in the newest schema; make it where it is missing."""
        self._check_path()
        with self._translated():
            if not self.path.exists():
                self._create()
            elif self.path.stat().st_nlink > 1:  # who made it was killed before its draft was unlinked
                self._clear_drafts()
            with self._attached(connection, read_only=False):
                schema.migrate(connection, self.path)
                yield

    @contextmanager
    def beside(self, connection: Connection, name: str) -> Iterator[None]:
        """Attach the file to `connection` under `name` to be read, in the newest schema; it is never changed.

        Of a database of an older version a copy is brought to the newest one, and attached in its stead.
        """
        self._check_path()
        with self._translated(), TemporaryDirectory() as folder:
            path = self.path
            with engine() as own, self._attached(own, read_only=True):
                if not schema.is_current(own, self.path):
                    path = Path(folder) / "copy.duckdb"
                    shutil.copyfile(self.path, path)
                    journal = self.path.with_name(f"{self.path.name}.wal")
                    if journal.exists():
                        shutil.copyfile(journal, path.with_name(f"{path.name}.wal"))
            if path is not self.path:
                with Database(path, self._wait_s, None).reading():
                    pass
            waiter = Waiter(self.path, self._wait_s, self._on_wait)
            with one_thread(path, waiter), gate(path, waiter, exclusive=False):
                self._attach(connection, path, True, waiter, name)
                try:
                    yield
                finally:
                    connection.execute(f"DETACH {name}")

    def _check_path(self) -> None:
        if not is_folder(self.path.absolute().parent):
            raise InputError.at(str(self.path), "its folder does not exist", "a path in an existing folder")
        if is_folder(self.path):
            raise InputError.at(str(self.path), "it is a folder", "a database file")
        self._check_header()
        journal = self.path.with_name(f"{self.path.name}.wal")
        # a database is there before its journal is, so in this order a journal alone is a leftover
        if journal.exists() and not self.path.exists():
            raise StoreError(f"{journal}: the journal of a database that is gone; expected it removed, too")

    def _check_header(self) -> None:
        """DuckDB would take a .csv or .parquet for something to query; bytes 8 to 11 of its own files are DUCK."""
        try:
            with self.path.open("rb") as file:
                head = file.read(12)
        except FileNotFoundError:
            return
        except OSError as error:
            raise FileError(f"{self.path}: cannot be read ({error.strerror}); expected a DuckDB database") from error
        if head[8:] != b"DUCK":
            raise FileError(f"{self.path}: not a DuckDB database; expected one, or a name not in use")

    def _create(self) -> None:
        """Make the file under another name first: whoever is killed half-way leaves no half database behind."""
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}-{threading.get_ident()}.new")
        try:
            self._clear_drafts()
            with engine() as connection:
                connection.execute("ATTACH ? AS db", [str(draft)])
                connection.execute("USE db")
                schema.migrate(connection, draft)
                connection.execute("USE memory")
                connection.execute("DETACH db")
            # a link, not a rename: it fails where another process was faster, and that one's file stays
            with suppress(FileExistsError):
                os.link(draft, self.path)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be made ({error.strerror})") from error
        finally:
            # a file system that is read-only refuses to unlink even what is not there; who writes next clears a draft
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def _clear_drafts(self) -> None:
        """Remove what processes left that were killed while they made this file."""
        for draft in self.path.absolute().parent.glob(f".{glob.escape(self.path.name)}.*-*.new*"):
            process = draft.name.removeprefix(f".{self.path.name}.").partition("-")[0]
            if process.isdigit() and not _runs(int(process)):
                draft.unlink(missing_ok=True)

    @contextmanager
    def _attached(self, connection: Connection, read_only: bool) -> Iterator[None]:
        waiter = Waiter(self.path, self._wait_s, self._on_wait)
        with one_thread(self.path, waiter), gate(self.path, waiter, exclusive=not read_only):
            self._attach(connection, self.path, read_only, waiter)
            try:
                connection.execute("USE db")
                yield
            finally:
                connection.execute("USE memory")
                connection.execute("DETACH db")

    def _attach(self, connection: Connection, path: Path, read_only: bool, waiter: Waiter, name: str = "db") -> None:
        import duckdb

        statement = f"ATTACH ? AS {name}{' (READ_ONLY)' if read_only else ''}"
        while True:
            try:
                connection.execute(statement, [str(path)])
            except duckdb.IOException as error:
                if _LOCKED not in str(error):
                    raise
                process = re.search(r"\(PID (\d+)\)", str(error))
                waiter.pause(f"process {process[1]}" if process else "another process")
            else:
                return

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            if "not a valid DuckDB database" in str(error):
                raise StoreError(f"{self.path}: not a DuckDB database; expected one, or a name not in use") from error
            if why := unopened(error):
                right = "expected its file and its folder open for writing"
                raise StoreError(f"{self.path}: cannot be written ({why}); {right}") from error
            raise StoreError(f"{self.path}: {first_line(error)}") from error


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True
