"""Waiting for the database: how long, how often, and who hears of it."""

from __future__ import annotations

import fcntl
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from perfdb.errors import StoreBusyError, StoreError

FIRST_PAUSE_S = 0.002
LONGEST_PAUSE_S = 0.25
TELL_AFTER_S = 1.0

_locks: dict[Path, threading.Lock] = {}
_locks_guard = threading.Lock()


class Waiter:
    """One wait of at most `wait_s` seconds for one access to `path`; `on_wait` hears one sentence after a second."""

    def __init__(self, path: Path, wait_s: float, on_wait: Callable[[str], None] | None) -> None:
        self._path = path
        self._wait_s = wait_s
        self._on_wait = on_wait
        self._start = time.monotonic()
        self._pause_s = FIRST_PAUSE_S

    def pause(self, holder: str) -> None:
        """Sleep a little longer than last time (jittered, so that waiting processes do not march in step).

        Raises:
            StoreBusyError: `wait_s` is over. `holder` is named in the sentence.
        """
        waited = time.monotonic() - self._start
        if waited >= self._wait_s:
            raise StoreBusyError(
                f"{self._path}: {holder} held the database for {waited:.1f} s; expected it free, or a longer --wait"
            )
        if self._on_wait is not None and waited >= TELL_AFTER_S:
            self._on_wait(f"{self._path}: {holder} holds the database; waiting up to {self._wait_s:g} s")
            self._on_wait = None
        time.sleep(min(self._pause_s * random.uniform(0.5, 1.5), self._wait_s - waited))
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)


@contextmanager
def one_thread(path: Path, waiter: Waiter) -> Iterator[None]:
    """Let one thread of this process at a time to `path`: DuckDB's own file lock only tells processes apart."""
    with _locks_guard:
        lock = _locks.setdefault(path.resolve(), threading.Lock())
    while not lock.acquire(blocking=False):
        waiter.pause("another thread of this process")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def gate(path: Path, waiter: Waiter, exclusive: bool) -> Iterator[None]:
    """Queue fairly: a writer shuts the gate while it waits and writes, a reader only passes through an open one.

    DuckDB's lock alone lets readers that overlap each other keep a writer out for ever. The gate is a BSD lock on the
    database file, which on Linux is independent of DuckDB's POSIX lock; elsewhere there is no gate. The file must be
    closed before DuckDB opens it or after DuckDB closed it: closing any descriptor drops a process's POSIX locks.
    """
    if sys.platform != "linux":
        yield
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened ({error.strerror})") from error
    try:
        _lock(descriptor, waiter, exclusive)
        if exclusive:
            yield
    finally:
        os.close(descriptor)
    if not exclusive:
        yield


def _lock(descriptor: int, waiter: Waiter, exclusive: bool) -> None:
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            waiter.pause("another process")
        except OSError:
            return  # a file system without such locks: DuckDB's own lock still keeps everyone safe
        else:
            return
