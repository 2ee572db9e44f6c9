"""Arrays kept on disk in the user's cache, under names that change with whatever they were made from.

No file is ever out of date; the least used ones are removed. Nothing is kept where nothing can be written, and a file
that cannot be read is as good as none.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]

_MOST_FILES = 64


def kept_arrays(name: str, make: Callable[[], Arrays], is_whole: Callable[[Arrays], bool]) -> Arrays:
    """What `make` answers, from disk where something of this name is kept and `is_whole`."""
    folder = _folder()
    file = folder / f"{name}.npz"
    with suppress(OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        with file.open("rb") as stream, np.load(stream) as found:
            arrays = {key: found[key] for key in found.files}
        if is_whole(arrays):
            file.touch()
            return arrays
    arrays = dict(make())
    with suppress(OSError):
        _write(folder, file, arrays)
    return arrays


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "servecast" / "fits"


def _write(folder: Path, file: Path, arrays: Arrays) -> None:
    """Whole or not at all: another process may read or write the same."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as part:
        np.savez(part, allow_pickle=False, **arrays)
    Path(part.name).replace(file)
    for old in sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)[:-_MOST_FILES]:
        old.unlink(missing_ok=True)
