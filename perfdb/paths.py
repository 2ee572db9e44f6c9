"""Asking after paths that others wrote down: one in a folder that is closed to this user is not there for it."""

from __future__ import annotations

import os
from pathlib import Path


def is_there(path: Path) -> bool:
    """Whether there is a file or folder that this user can reach; `Path.exists` raises where a folder is closed."""
    return os.access(path, os.F_OK)


def is_folder(path: Path) -> bool:
    """Whether there is a folder that this user can reach."""
    return is_there(path) and path.is_dir()


def is_file(path: Path) -> bool:
    """Whether there is a regular file that this user can reach."""
    return is_there(path) and path.is_file()


def is_same(one: Path, other: Path) -> bool:
    """Whether both are there and one file."""
    return is_there(one) and is_there(other) and one.samefile(other)
