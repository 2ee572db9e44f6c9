"""Text cells to numbers and names, a column at a time: Python runs once per distinct text, not once per row.

Shapes: a column is an object array of str, `n`; a blank cell is "".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Texts = npt.NDArray[np.object_]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_BLANKS = frozenset({"", "-", "--", "—", "na", "n/a", "null", "none", "nil", "?", "<na>", "#n/a"})
_THOUSANDS = re.compile(r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$")
_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$", re.IGNORECASE)
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


def factorize(column: Texts) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Codes `n` and the distinct texts, in order of appearance."""
    import pandas as pd

    codes, uniques = pd.factorize(column)
    return codes.astype(np.int64), [str(text) for text in uniques]


def per_text(column: Texts, function: Callable[[str], Any]) -> npt.NDArray[np.object_]:
    """`function` of each cell, called once per distinct text, `n`."""
    codes, uniques = factorize(column)
    answers = np.empty(len(uniques), dtype=object)
    answers[:] = [function(text) for text in uniques]
    return np.asarray(answers[codes], dtype=object)


def to_numbers(column: Texts) -> tuple[Floats, Bools]:
    """(values `n`, NaN where blank; mask `n` of the cells that are text but no finite number)."""
    blank = np.asarray(column == "", dtype=bool)
    # Python reads 1_000 as a number; in a benchmark file that is a name
    if any("_" in cell for cell in column):
        return _slow_numbers(column)
    try:
        values = np.where(blank, "nan", column).astype(np.float64)
    except ValueError:
        return _slow_numbers(column)
    return values, ~np.isfinite(values) & ~blank


def _slow_numbers(column: Texts) -> tuple[Floats, Bools]:
    codes, uniques = factorize(column)
    parsed = [number(text) for text in uniques]
    values = np.array([np.nan if value is None else value for value in parsed], dtype=np.float64)
    blank = np.array([is_blank(text) for text in uniques], dtype=bool)
    return values[codes], (~np.isfinite(values) & ~blank)[codes]


def said(column: Texts) -> Bools:
    """Mask of the cells that are not blank, `n`."""
    return np.asarray(column != "", dtype=bool)


def none_where_blank(column: Texts) -> Texts:
    """The column with None in place of "", `n`."""
    result = column.copy()
    result[~said(column)] = None
    return result


def constant(text: str, rows: int) -> Texts:
    """A column that says the same in each of `rows` rows."""
    return np.full(rows, text, dtype=object)
