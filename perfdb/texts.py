"""A column of text as its distinct texts and, for each row, which of them: Python runs once per text, not per row."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]

# C0 and C1 controls, what turns the direction of the text around it, and bytes of a file's name that are no UTF-8
_UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text on one line and without control over a terminal: an escape character becomes the text "\\x1b"."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


@dataclass(frozen=True, eq=False)
class TextColumn:
    """n texts: `known[codes]`. A blank cell is "".

    `codes` are `n` places in `known`, an array of k str; `known` may hold a text twice, or one that no row has.
    """

    codes: npt.NDArray[np.int32]
    known: npt.NDArray[np.object_]

    @classmethod
    def of(cls, cells: Sequence[str]) -> TextColumn:
        """A column from its cells, `n`; one in which hardly any text comes twice stays as it is."""
        places = {text: place for place, text in enumerate(dict.fromkeys(cells))}
        if 2 * len(places) > len(cells):
            return cls(np.arange(len(cells), dtype=np.int32), _objects(cells))
        codes = np.fromiter(map(places.__getitem__, cells), dtype=np.int32, count=len(cells))
        return cls(codes, _objects(list(places)))

    @classmethod
    def constant(cls, text: str, rows: int) -> TextColumn:
        """A column that says the same in each of `rows` rows."""
        return cls(np.zeros(rows, dtype=np.int32), _objects([text]))

    @classmethod
    def joined(cls, parts: Sequence[TextColumn]) -> TextColumn:
        """The rows of all parts, one after the other."""
        starts = np.cumsum([0, *(len(part.known) for part in parts)])[:-1].astype(np.int32)
        codes = [part.codes + start for part, start in zip(parts, starts, strict=True)]
        known = [part.known for part in parts]
        column = cls(np.concatenate(codes), np.concatenate(known)) if parts else cls.of([])
        return column if 2 * len(column.known) > len(column) else column.distinct()

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.array())

    def __getitem__(self, row: int) -> str:
        return str(self.known[self.codes[row]])

    def take(self, rows: npt.NDArray[Any]) -> TextColumn:
        """The rows of a mask, or of an array of places."""
        return TextColumn(self.codes[rows], self.known)

    def array(self) -> npt.NDArray[np.object_]:
        """The cells, `n`."""
        return np.asarray(self.known[self.codes], dtype=object)

    def tolist(self) -> list[str]:
        """The cells as a list of n."""
        return [str(text) for text in self.array()]

    def distinct(self) -> TextColumn:
        """The same column with each text once in `known`, so that equal texts have equal codes."""
        codes, known = self.codes, self.known
        if len(known) > len(codes):
            # a few rows of a large column
            used, places_used = np.unique(codes, return_inverse=True)
            codes, known = places_used.astype(np.int32), known[used]
        places: dict[str, int] = {}
        place = np.array([places.setdefault(text, len(places)) for text in known], dtype=np.int32)
        return TextColumn(place[codes] if len(place) else self.codes, _objects(list(places)))

    def map(self, function: Callable[[str], str]) -> TextColumn:
        """`function` of each cell."""
        return TextColumn(self.codes, _objects([function(text) for text in self.known]))

    def numbers(self, function: Callable[[str], float | None]) -> npt.NDArray[np.float64]:
        """`function` of each cell, `n`; NaN where it answers None."""
        found = [np.nan if (value := function(text)) is None else value for text in self.known]
        return np.array(found, dtype=np.float64)[self.codes] if found else np.empty(0)

    def mask(self, test: Callable[[str], object]) -> Bools:
        """The rows whose text passes `test`, `n`."""
        return np.array([bool(test(text)) for text in self.known], dtype=bool)[self.codes]

    def said(self) -> Bools:
        """The rows that are not blank, `n`."""
        return np.asarray(self.known != "", dtype=bool)[self.codes]

    def is_in(self, texts: Collection[str]) -> Bools:
        """The rows whose text is one of these, `n`."""
        return self.mask(texts.__contains__)

    def differs(self, other: TextColumn) -> Bools:
        """The rows in which two columns say different things, a blank said by neither, `n`."""
        if len(self.known) == len(other.known) == 1:
            unlike = np.full(len(self), self.known[0] != other.known[0], dtype=bool)
        else:
            unlike = np.asarray(self.array() != other.array(), dtype=bool)
        return unlike & self.said() & other.said()

    def where(self, rows: Bools, other: TextColumn) -> TextColumn:
        """These cells in `rows`, those of `other` elsewhere."""
        if rows.all():
            return self
        codes = np.where(rows, self.codes, other.codes + np.int32(len(self.known)))
        return TextColumn(codes, np.concatenate([self.known, other.known]))

    def put(self, rows: Bools, cells: TextColumn) -> TextColumn:
        """These cells, but in `rows` the `cells` in their order."""
        codes = self.codes.copy()
        codes[rows] = cells.codes + np.int32(len(self.known))
        return TextColumn(codes, np.concatenate([self.known, cells.known]))

    def or_else(self, other: TextColumn) -> TextColumn:
        """These cells, those of `other` where these are blank."""
        return self.where(self.said(), other)

    def blank(self, rows: Bools) -> TextColumn:
        """These cells, blank in `rows`."""
        return self.where(~rows, TextColumn.constant("", len(self)))

    def pairs(self, other: TextColumn, function: Callable[[str, str], str]) -> TextColumn:
        """`function` of the cells of two columns, row by row."""
        both = self.codes.astype(np.int64) * len(other.known) + other.codes
        found, codes = np.unique(both, return_inverse=True)
        lefts, rights = self.known[found // len(other.known)], other.known[found % len(other.known)]
        made = [function(left, right) for left, right in zip(lefts, rights, strict=True)]
        return TextColumn(codes.astype(np.int32), _objects(made))


def _objects(cells: Sequence[str]) -> npt.NDArray[np.object_]:
    column = np.empty(len(cells), dtype=object)
    column[:] = cells
    return column
