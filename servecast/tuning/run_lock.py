"""One `tune` per run at a time: two would spend the budget twice and measure each other's servers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from perfdb.errors import StoreBusyError


@contextmanager
def alone(db: Path, run_id: str) -> Iterator[None]:
    """Hold the run while the block lasts; the system lets go of it however this process ends.

    Raises:
        StoreBusyError: another process tunes this run; names it.
    """
    path = db.absolute().with_name(f".{db.name}.{run_id}.lock")
    file = _locked(path, run_id)
    try:
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
    finally:
        # Removed while it is still held: whoever opened it before sees below that its file is gone, and opens anew.
        path.unlink(missing_ok=True)
        file.close()


def _locked(path: Path, run_id: str) -> IO[str]:
    while True:
        file = path.open("a+", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another one"
            file.close()
            raise StoreBusyError(
                f"run {run_id} is being tuned by process {holder} right now; expected one tune per run at a time"
            ) from None
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
        file.close()
