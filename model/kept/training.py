"""Training data kept on disk: with operation tables the analytic answers of a long history take seconds to work out."""

from __future__ import annotations

import hashlib
from importlib import import_module

from model.checkpoint.architecture import Architecture
from model.learning.history import FAMILIES, Columns, Training, size, training
from model.tables.said import listening
from model.tables.shelf import Shelf
from perfdb.facts.own import own_facts
from perfdb.kept import Arrays, as_text, from_text, is_kept, kept, name_of

_PLAIN = ("rows", "group", "features", "sequences", "of_tables")
_KINDS = ("residual", "analytic")
_MANY = 200
"""Rows whose steps take longer than the compiler does to load: loops find it there from the first one on."""


def kept_training(history: Columns, local: Architecture | None, shelf: Shelf) -> Training:
    """`model.learning.history.training`, worked out once for the same rows, operation tables, facts and code.

    Without tables it is quick, and a model known by its files alone is nobody else's: these are not kept. What tables
    say of the rows is not said of the question that is learned for.
    """
    with listening():
        if shelf.identity is None or local is not None:
            return training(history, local, shelf)
        return kept(_name(history, shelf), lambda: _worked_out(history, shelf), _arrays, _training)


def takes_long(history: Columns, shelf: Shelf) -> bool:
    """Whether `kept_training` has many rows to work out."""
    return size(history) >= _MANY and not is_kept(_name(history, shelf))


def _name(history: Columns, shelf: Shelf) -> str:
    return name_of("training", shelf.identity, own_facts(), _digest(history))


def _worked_out(history: Columns, shelf: Shelf) -> Training:
    if size(history) >= _MANY:
        import_module("model.compiled")
    return training(history, None, shelf)


def _digest(history: Columns) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(history):
        values = history[name]
        digest.update(name.encode())
        digest.update(repr(values.tolist()).encode() if values.dtype == object else values.tobytes())
    return digest.digest()


def _arrays(found: Training) -> Arrays:
    words = as_text({"groups": found.groups, "skipped": found.skipped})
    plain = {name: getattr(found, name) for name in _PLAIN}
    families = {f"{kind}.{name}": getattr(found, kind)[name] for kind in _KINDS for name in FAMILIES}
    return {**plain, **families, "words": words}


def _training(arrays: Arrays) -> Training:
    words = from_text(arrays["words"])
    rows, group, features, sequences, of_tables = (arrays[name] for name in _PLAIN)
    residual, analytic = ({name: arrays[f"{kind}.{name}"] for name in FAMILIES} for kind in _KINDS)
    groups = tuple(tuple(group) for group in words["groups"])
    return Training(rows, group, groups, features, residual, analytic, sequences, of_tables, words["skipped"])
