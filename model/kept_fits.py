"""Fitted trees kept on disk under a name that changes with the data and with the code that fits them.

A process that asks the same database again needs no fit, and so no learning library. Files are named after what they
were fitted to: none is ever out of date, the least used ones are removed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.trees import Trees

_MOST_FILES = 64
_SOURCES = ("trees.py", "crossfit.py", "intervals.py")


def kept(data: Sequence[npt.NDArray[np.generic]], fit: Callable[[], list[Trees]]) -> list[Trees]:
    """What `fit` answers for `data`, from disk where it was asked before.

    Nothing is kept where nothing can be written, and a file that cannot be read is as good as none.
    """
    folder = _folder()
    file = folder / f"{_digest(data)}.npz"
    with suppress(OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        found = _read(file)
        file.touch()
        return found
    trees = fit()
    with suppress(OSError):
        _write(folder, file, trees)
    return trees


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "servecast" / "fits"


@cache
def _code() -> bytes:
    folder = Path(__file__).parent
    return b"".join((folder / name).read_bytes() for name in _SOURCES)


def _digest(data: Sequence[npt.NDArray[np.generic]]) -> str:
    digest = hashlib.sha256(_code())
    for values in data:
        digest.update(f"{values.dtype}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:32]


def _read(file: Path) -> list[Trees]:
    with file.open("rb") as stream, np.load(stream) as found:
        base = found["base"].tolist()
        sizes = {field.name: np.cumsum(found[f"{field.name}_sizes"])[:-1] for field in fields(Trees)[1:]}
        parts = {name: np.split(found[name], ends) for name, ends in sizes.items()}
    return [Trees(base[i], **{name: values[i] for name, values in parts.items()}) for i in range(len(base))]


def _write(folder: Path, file: Path, trees: Sequence[Trees]) -> None:
    """Whole or not at all: another process may read or write the same."""
    columns = {"base": np.array([one.base for one in trees])}
    for field in fields(Trees)[1:]:
        values = [getattr(one, field.name) for one in trees]
        columns |= {field.name: np.concatenate(values), f"{field.name}_sizes": np.array([len(v) for v in values])}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as part:
        np.savez(part, allow_pickle=False, **columns)
    Path(part.name).replace(file)
    for old in sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)[:-_MOST_FILES]:
        old.unlink(missing_ok=True)
