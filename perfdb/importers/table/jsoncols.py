"""Columns of text to one column of canonical JSON objects, `n`: built from one fragment per distinct text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from perfdb.importers.table.cells import Texts, constant, number, per_text, said
from perfdb.importers.table.redact import redact
from perfdb.records import Scalar, canonical_json

_LARGEST_EXACT = 2**53


def scalar(text: str) -> Scalar:
    """A cell as the plain value that it spells: a bool, a number, or the text itself without secrets."""
    value = number(text)
    if value is None:
        lower = text.lower()
        return lower == "true" if lower in {"true", "false"} else redact(text)
    if not math.isfinite(value):
        return text
    return int(value) if value.is_integer() and abs(value) < _LARGEST_EXACT else value


def _text_as_json(text: str) -> str:
    return canonical_json(redact(text))


def as_json(text: str) -> str:
    """A cell's value as canonical JSON."""
    value = scalar(text)
    # repr is what json writes for numbers; a column of a million distinct ones makes the short way worth it
    return repr(value) if type(value) in (int, float) else canonical_json(value)


def json_objects(columns: Mapping[str, Texts], rows: int, ready: Mapping[str, Texts] | None = None) -> Texts:
    """One canonical JSON object per row, `n`; a blank cell leaves its name out, a row without any is "".

    The cells of `ready` are JSON already.
    """
    every: dict[str, tuple[Texts, Callable[[str], str]]] = {
        # version 12.10 is not 12.1
        name: (text, _text_as_json if "version" in name.lower() else as_json)
        for name, text in columns.items()
    }
    every |= {name: (text, str) for name, text in (ready or {}).items()}
    total = constant("", rows)
    for name in sorted(every):
        text, render = every[name]
        total = _joined(total, _fragments(canonical_json(redact(name)), text, render))
    return np.asarray(np.where(said(total), "{" + total + "}", total), dtype=object)


def _fragments(name: str, text: Texts, render: Callable[[str], str]) -> Texts:
    return per_text(text, lambda cell: f"{name}:{render(cell)}" if cell else "")


def _joined(left: Texts, right: Texts) -> Texts:
    comma = np.where(said(left) & said(right), ",", "").astype(object)
    return np.asarray(left + comma + right, dtype=object)
