"""By which character a text falls into columns."""

from __future__ import annotations

import csv
from collections.abc import Sequence

DELIMITERS = (",", "\t", ";", "|")


def delimiter_of(lines: Sequence[str]) -> str | None:
    """The delimiter by which the most of the first lines fall into as many cells as the first, None if none does.

    Of two that do equally well it is the one that makes more cells. Blank lines do not count.
    """

    def score(delimiter: str) -> tuple[float, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        if not widths or widths[0] < 2:
            return 0.0, 0
        return sum(width == widths[0] for width in widths) / len(widths), widths[0]

    best = max(DELIMITERS, key=score)
    return best if score(best) > (0, 0) else None
