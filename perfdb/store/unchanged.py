"""Telling whether a database is still the one that was read."""

from __future__ import annotations

from pathlib import Path

Identity = tuple[object, ...]


def identity_of(path: Path) -> Identity:
    """What changes whenever the database does: its file, and the journal of a process that was killed."""
    found: list[object] = [path.resolve()]
    for file in (path, path.with_name(f"{path.name}.wal")):
        try:
            stat = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)
