"""The files under a path, in a fixed order, without going round in circles."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perfdb.errors import FileError
from perfdb.paths import is_folder


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or what cannot be one (`problem` says why). `is_named`: the user named it itself."""

    path: Path
    is_named: bool = False
    problem: str = ""


def walk(path: Path) -> Iterator[Found]:
    """Every file under `path`, sorted by name; symbolic links are followed, hidden folders are not entered.

    Raises:
        FileError: `path` does not exist.
    """
    if not os.path.lexists(path):
        raise FileError(f"{path}: no such file or folder that this user can reach")
    if is_folder(path):
        yield from _folder(path, ())
    else:
        yield Found(path, is_named=True, problem=_problem_of(path))


def _folder(folder: Path, above: tuple[str, ...]) -> Iterator[Found]:
    real = os.path.realpath(folder)
    if real in above:
        yield Found(folder, problem="a folder that contains itself (a link in a circle)")
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        yield Found(folder, problem=f"cannot be read ({error.strerror or error})")
        return
    for entry in entries:
        if is_folder(entry):
            if not entry.name.startswith("."):
                yield from _folder(entry, (*above, real))
        else:
            yield Found(entry, problem=_problem_of(entry))


def _problem_of(path: Path) -> str:
    if not _is_unicode(str(path)):
        return "its path is no UTF-8 text; expected one that can be stored and shown"
    try:
        path.stat()
    except FileNotFoundError:
        return "a link to nothing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return ""


def _is_unicode(text: str) -> bool:
    """Whether every byte of a path was text: the others became halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
