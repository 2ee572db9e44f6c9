"""What a cell of text says: a number, out of memory, nothing."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from perfdb.texts import Bools, TextColumn

Floats = npt.NDArray[np.float64]

_BLANKS = frozenset({"", "-", "--", "—", "na", "n/a", "null", "none", "nil", "?", "<na>", "#n/a"})
_THOUSANDS = re.compile(r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$")
_NUMBER = re.compile(r"^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$", re.IGNORECASE)
_NOT_FINITE = frozenset({"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity", "-nan"})
_OOM = re.compile(r"\b(oom|out[ _]of[ _]memory|outofmemory\w*|cuda_error_out_of_memory)\b", re.IGNORECASE)


def is_blank(text: str) -> bool:
    """Whether a cell says nothing: empty, a dash, or one of the words for "not available"."""
    return text.strip().lower() in _BLANKS


def says_oom(text: str) -> bool:
    """Whether a text tells of memory that ran out."""
    return bool(_OOM.search(text))


def number(text: str) -> float | None:
    """A finite or infinite decimal number, thousands commas allowed; None if the text is no number."""
    plain = text.strip()
    if plain.lower() in _NOT_FINITE:
        return float(plain)
    if _THOUSANDS.match(plain):
        plain = plain.replace(",", "")
    return float(plain) if _NUMBER.match(plain) else None


def to_numbers(column: TextColumn) -> tuple[Floats, Bools]:
    """(values `n`, NaN where blank; mask `n` of the cells that are text but no finite number)."""
    known = column.known
    blank = np.asarray(known == "", dtype=bool)
    # Python reads 1_000 as a number; in a benchmark file that is a name
    if "_" in "".join(known):
        return _slow_numbers(column)
    try:
        values = np.where(blank, "nan", known).astype(np.float64)
    except ValueError:
        return _slow_numbers(column)
    wrong = ~np.isfinite(values) & ~blank
    return values[column.codes], wrong[column.codes]


def _slow_numbers(column: TextColumn) -> tuple[Floats, Bools]:
    values = column.numbers(number)
    return values, ~np.isfinite(values) & ~column.mask(is_blank)
