"""Fitted trees kept on disk under a name that changes with the data and with the code that fits them.

A process that asks the same database again needs no fit, and so no learning library. Files are named after what they
were fitted to: none is ever out of date, the least used ones are removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.kept_files import Arrays, kept_arrays
from model.trees import Trees

_SOURCES = ("trees.py", "crossfit.py", "intervals.py")


def kept(data: Sequence[npt.NDArray[np.generic]], fit: Callable[[], list[Trees]]) -> list[Trees]:
    """What `fit` answers for `data`, from disk where it was asked before."""
    return _trees(kept_arrays(_digest(data), lambda: _arrays(fit()), _is_whole))


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


_FIELDS = tuple(field.name for field in fields(Trees)[1:])


def _is_whole(found: Arrays) -> bool:
    return {"base", *_FIELDS, *(f"{name}_sizes" for name in _FIELDS)} <= set(found)


def _trees(found: Arrays) -> list[Trees]:
    parts = {name: np.split(found[name], np.cumsum(found[f"{name}_sizes"])[:-1]) for name in _FIELDS}
    base = found["base"].tolist()
    return [Trees(base[i], **{name: values[i] for name, values in parts.items()}) for i in range(len(base))]


def _arrays(trees: Sequence[Trees]) -> Arrays:
    columns = {"base": np.array([one.base for one in trees])}
    for name in _FIELDS:
        values = [getattr(one, name) for one in trees]
        columns |= {name: np.concatenate(values), f"{name}_sizes": np.array([len(v) for v in values])}
    return columns
