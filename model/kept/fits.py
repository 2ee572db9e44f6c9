"""Fitted trees kept on disk under a name that changes with the data and with the code that fits them.

A process that asks the same database again needs no fit, and so no learning library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.learning.trees import Trees
from model.prediction import Floats
from perfdb.kept import Arrays
from perfdb.kept import kept as kept_on_disk

_SOURCES = ("trees.py", "crossfit.py", "intervals.py")


Fitted = tuple[list[Trees], Floats]
"""Trees, and the errors that they leave."""


def kept(data: Sequence[npt.NDArray[np.generic]], fit: Callable[[], Fitted]) -> Fitted:
    """What `fit` answers for `data`, from disk where it was asked before."""
    return kept_on_disk(f"trees-{_digest(data)}", fit, _arrays, _trees)


@cache
def _code() -> bytes:
    folder = Path(__file__).resolve().parents[1] / "learning"
    return b"".join((folder / name).read_bytes() for name in _SOURCES)


def _digest(data: Sequence[npt.NDArray[np.generic]]) -> str:
    digest = hashlib.sha256(_code())
    for values in data:
        digest.update(f"{values.dtype}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:32]


_FIELDS = tuple(field.name for field in fields(Trees)[1:])


def _trees(found: Arrays) -> Fitted:
    parts = {name: np.split(found[name], np.cumsum(found[f"{name}_sizes"])[:-1]) for name in _FIELDS}
    base = found["base"].tolist()
    trees = [Trees(base[i], **{name: values[i] for name, values in parts.items()}) for i in range(len(base))]
    return trees, found["errors"]


def _arrays(fitted: Fitted) -> Arrays:
    trees, errors = fitted
    columns = {"base": np.array([one.base for one in trees]), "errors": errors}
    for name in _FIELDS:
        values = [getattr(one, name) for one in trees]
        columns |= {name: np.concatenate(values), f"{name}_sizes": np.array([len(v) for v in values])}
    return columns
