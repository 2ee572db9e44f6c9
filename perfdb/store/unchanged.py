"""Telling whether a database is still the one that was read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from perfdb.kept import Arrays, kept, name_of

Identity = tuple[object, ...]
Made = TypeVar("Made")


def identity_of(path: Path) -> Identity:
    """What changes whenever the database does: its file, and the journal of a process that was killed."""
    # whatever link leads to it, the inode tells which file it is
    found: list[object] = [path.absolute()]
    for file in (path, path.with_name(f"{path.name}.wal")):
        try:
            stat = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def kept_with(
    path: Path, what: str, read: Callable[[], Made], encode: Callable[[Made], Arrays], decode: Callable[[Arrays], Made]
) -> Made:
    """What `read` answers of a database, from disk while that is unchanged; see `perfdb.kept.kept`."""
    if not path.exists():
        return read()
    # asked before it is read: what another process writes meanwhile is not taken for what was there
    state = identity_of(path)
    return kept(name_of("database", path.resolve(), what), read, encode, decode, state)
