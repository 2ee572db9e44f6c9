"""One file's records on their way from text columns to a batch: the workspace that every step of reading shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from perfdb.batch import BadRow
from perfdb.importers.table.cells import Bools, Floats, Texts
from perfdb.importers.table.fields import Meaning
from perfdb.importers.table.redact import redact
from perfdb.metrics import Statistic

Key = tuple[str, Statistic]


@dataclass(frozen=True)
class Table:
    """A file as text: `columns[i]` belongs to `header[i]`, an object array of str, `n`; `rows` are 1-based."""

    header: tuple[str, ...]
    columns: tuple[Texts, ...]
    rows: npt.NDArray[np.int64]
    bad: tuple[BadRow, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """One column with its meaning. `origin` says where its text is from: the file, --set or the path."""

    header: str
    meaning: Meaning
    text: Texts
    origin: str = "file"


@dataclass
class Frame:
    """n records in work.

    `numbers` holds context fields, helpers and metrics alike under (name, statistic), `n`, NaN where unknown; `wrong`
    masks their cells that are text but no finite number; `units` what the column's name or a declaration says. `texts`,
    `config` and `extra` are columns of text ("" where blank); the latter two end as JSON, `notes` in `extra`. `headers`
    remembers which column fed a field. A row in `bad` is set aside for the first reason found.
    """

    rows: npt.NDArray[np.int64]
    columns: tuple[Column, ...]
    numbers: dict[Key, Floats] = field(default_factory=dict)
    wrong: dict[Key, Bools] = field(default_factory=dict)
    units: dict[Key, str] = field(default_factory=dict)
    texts: dict[str, Texts] = field(default_factory=dict)
    config: dict[str, Texts] = field(default_factory=dict)
    extra: dict[str, Texts] = field(default_factory=dict)
    notes: dict[str, Texts] = field(default_factory=dict)
    headers: dict[Key, str] = field(default_factory=dict)
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

    def text(self, name: str) -> Texts:
        """A text field, `n`, "" where unknown."""
        found = self.texts.get(name)
        return np.full(self.n, "", dtype=object) if found is None else found

    def value(self, metric: str, *statistics: Statistic) -> Floats:
        """A metric, `n`: the first of `statistics` known in each row (unless told: mean, plain value, median)."""
        result = np.full(self.n, np.nan)
        for statistic in statistics or (Statistic.MEAN, Statistic.VALUE, Statistic.MEDIAN):
            found = self.numbers.get((metric, statistic))
            if found is not None:
                result = np.where(np.isnan(result), found, result)
        return result

    def cell(self, key: Key, row: int) -> tuple[str, str]:
        """(column's name, cell as in the file) of the column that fed `key`, for a message about `row`."""
        header = self.headers.get(key, key[0])
        cell = next((column.text[row] for column in self.columns if column.header == header), "")
        return header, redact(str(cell))[:200]

    def reject(self, mask: Bools, key: Key, reason: str) -> None:
        """Set the rows of `mask` aside, naming the column that fed `key`."""
        for row in np.flatnonzero(mask):
            index = int(row)
            if index not in self.bad:
                header, cell = self.cell(key, index)
                self.bad[index] = BadRow(int(self.rows[index]), header, cell, reason)

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
