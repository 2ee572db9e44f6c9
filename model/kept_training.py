"""Training data kept on disk: with operation tables the analytic answers of a long history take seconds to work out."""

from __future__ import annotations

import hashlib
import json
import pickle
from functools import cache
from pathlib import Path

import numpy as np

from model.architecture import Architecture
from model.history import Columns, Training, training
from model.kept_files import Arrays, kept_arrays
from model.tables.shelf import Shelf
from perfdb.facts.own import own_facts

_ROOMS = ("model", "perfdb/facts")


def kept_training(history: Columns, local: Architecture | None, shelf: Shelf | None) -> Training:
    """`model.history.training`, worked out once for the same rows, operation tables, facts and code.

    Without tables it is quick, and a model known by its files alone is nobody else's: these are not kept.
    """
    if shelf is None or shelf.identity is None or local is not None:
        return training(history, local, shelf)
    name = _name(history, shelf.identity)
    return _training(kept_arrays(name, lambda: _arrays(training(history, None, shelf)), _is_whole))


def _name(history: Columns, identity: str) -> str:
    digest = hashlib.sha256(_code())
    digest.update(f"{identity}{own_facts()!r}".encode())
    for name in sorted(history):
        values = history[name]
        digest.update(name.encode())
        # the elements by themselves: equal objects that are one object would be pickled as a reference
        text = values.tolist() if values.dtype == object else None
        digest.update(values.tobytes() if text is None else pickle.dumps([str(value) for value in text]))
    return f"training-{digest.hexdigest()[:32]}"


@cache
def _code() -> bytes:
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((root / room).rglob("*")):
            if path.suffix in {".py", ".csv", ".json"}:
                digest.update(path.read_bytes())
    return digest.digest()


def _is_whole(arrays: Arrays) -> bool:
    return {"rows", "group", "features", "words"} <= set(arrays)


def _arrays(found: Training) -> Arrays:
    words = json.dumps({"groups": found.groups, "skipped": found.skipped})
    residual = {f"residual.{name}": values for name, values in found.residual.items()}
    return {"rows": found.rows, "group": found.group, "features": found.features, "words": np.array(words), **residual}


def _training(arrays: Arrays) -> Training:
    words = json.loads(arrays["words"].item())
    residual = {name.partition(".")[2]: values for name, values in arrays.items() if name.startswith("residual.")}
    groups = tuple(tuple(group) for group in words["groups"])
    return Training(arrays["rows"], arrays["group"], groups, arrays["features"], residual, words["skipped"])
