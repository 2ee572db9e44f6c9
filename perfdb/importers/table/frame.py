"""One file's records on their way from text columns to a batch: the workspace that every step of reading shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from perfdb.batch import BadRow
from perfdb.importers.table.cells import Floats
from perfdb.importers.table.fields import Meaning
from perfdb.importers.table.redact import redact
from perfdb.metrics import Statistic
from perfdb.texts import Bools, TextColumn, printable

Key = tuple[str, Statistic]
_READ, _SHOWN = 2000, 200
"""Characters of a cell that are looked at and shown in a message."""


@dataclass(frozen=True)
class Table:
    """A file as text: `columns[i]` belongs to `header[i]`, `n` cells; `rows` are 1-based."""

    header: tuple[str, ...]
    columns: tuple[TextColumn, ...]
    rows: npt.NDArray[np.int64]
    bad: tuple[BadRow, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """One column with its meaning. `origin` says where its text is from: the file, --set or the path."""

    header: str
    meaning: Meaning
    text: TextColumn
    origin: str = "file"


@dataclass
class Frame:
    """n records in work.

    `numbers` holds context fields, helpers and metrics alike under (name, statistic), `n`, NaN where unknown; `wrong`
    masks their cells that are text but no finite number; `units` what the column's name or a declaration says,
    `decided` (column -> unit and why) what decided where the name does not say it. `texts`, `config` and `extra` are
    columns of text ("" where blank); the latter two end as JSON, `notes` in `extra`. `headers` remembers which column
    fed a field. A row in `bad` is set aside for the first reason found; `flags` (reason -> mask) are on rows that stay.
    """

    rows: npt.NDArray[np.int64]
    columns: tuple[Column, ...]
    numbers: dict[Key, Floats] = field(default_factory=dict)
    wrong: dict[Key, Bools] = field(default_factory=dict)
    units: dict[Key, str] = field(default_factory=dict)
    decided: dict[str, str] = field(default_factory=dict)
    texts: dict[str, TextColumn] = field(default_factory=dict)
    config: dict[str, TextColumn] = field(default_factory=dict)
    extra: dict[str, TextColumn] = field(default_factory=dict)
    notes: dict[str, TextColumn] = field(default_factory=dict)
    headers: dict[Key, str] = field(default_factory=dict)
    flags: dict[str, Bools] = field(default_factory=dict)
    bad: dict[int, BadRow] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def n(self) -> int:
        """How many records are in the workspace, those set aside included."""
        return len(self.rows)

    def number(self, name: str) -> Floats:
        """A numeric field, `n`, NaN where unknown."""
        found = self.numbers.get((name, Statistic.VALUE))
        return np.full(self.n, np.nan) if found is None else found

    def text(self, name: str) -> TextColumn:
        """A text field, `n`, "" where unknown."""
        found = self.texts.get(name)
        return TextColumn.constant("", self.n) if found is None else found

    def note(self, name: str) -> TextColumn:
        """What is noted under a name with each record as JSON, `n`, "" where nothing is."""
        found = self.notes.get(name)
        return TextColumn.constant("", self.n) if found is None else found

    def value(self, metric: str, *statistics: Statistic) -> Floats:
        """A metric, `n`: the first of `statistics` known in each row (unless told: mean, plain value, median)."""
        result = np.full(self.n, np.nan)
        for statistic in statistics or (Statistic.MEAN, Statistic.VALUE, Statistic.MEDIAN):
            found = self.numbers.get((metric, statistic))
            if found is not None:
                result = np.where(np.isnan(result), found, result)
        return result

    def column(self, header: str) -> TextColumn:
        """The cells of the column of this name as in the file, `n`; blank if there is none."""
        found = next((column.text for column in self.columns if column.header == header), None)
        return TextColumn.constant("", self.n) if found is None else found

    def reject(self, mask: Bools, key: Key, reason: str) -> None:
        """Set the rows of `mask` aside, naming the column that fed `key` and the cell as in the file."""
        if not mask.any():
            return
        header = self.headers.get(key, key[0])
        cells = self.column(header)
        for row in map(int, np.flatnonzero(mask)):
            if row not in self.bad:
                value = printable(redact(cells[row][:_READ]))[:_SHOWN]
                self.bad[row] = BadRow(int(self.rows[row]), printable(header), value, reason)

    def flag(self, mask: Bools, reason: str) -> None:
        """Mark the good rows of `mask` as odd for a reason that stays with each of them, and say how many there are."""
        rows = np.flatnonzero(mask & self.good())
        if len(rows):
            self.flags[reason] = mask
            count = f"{len(rows)} row{'s' * (len(rows) != 1)}"
            self.warn(f"{reason} in {count} (first: row {self.rows[rows[0]]}): stored and flagged")

    def warn(self, text: str) -> None:
        """Say something once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def good(self) -> Bools:
        """Mask of the rows that nothing has been found against, `n`."""
        mask = np.ones(self.n, dtype=bool)
        mask[list(self.bad)] = False
        return mask


def listing(counts: Mapping[str, int], most: int = 5) -> str:
    """ "a (3 rows), b (1 row)": the most frequent first, the rest counted."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{name!r} ({count} row{'s' * (count != 1)})" for name, count in ordered[:most]]
    more = len(ordered) - most
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
