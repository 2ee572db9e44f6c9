"""What goes where: documents to stdout, everything a person watches to stderr."""

from __future__ import annotations

import codecs
import json
import math
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perfdb.texts import printable

if TYPE_CHECKING:
    from perfdb.records import Interval


_FOLDED_CELLS = 2000
"""Folding a larger table takes minutes, and nobody could read it."""


def emit_json(document: object) -> None:
    """Print one JSON document to stdout; numbers that JSON cannot hold become null. Only UTF-8 takes every letter of
    it, else it is written in ASCII."""
    is_ascii = codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8"
    sys.stdout.write(json.dumps(_plain(document), ensure_ascii=is_ascii, allow_nan=False) + "\n")
    sys.stdout.flush()


def interval_json(interval: Interval) -> dict[str, float]:
    """An interval as a JSON object."""
    return {"mean": interval.mean, "lo": interval.lo, "hi": interval.hi}


def note(text: str) -> None:
    """Tell the person at the terminal; stdout stays untouched."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print a table to stdout; numbers stand right, at their natural precision.

    A row is one line, however long; only a short table on a terminal that is too narrow is folded into it.
    """
    if title:
        print(title)
    texts = [[printable(cell_text(cell)) for cell in row] for row in rows]
    right = [all(_is_number(row[i]) for row in texts) for i in range(len(columns))]
    names = [printable(name) for name in columns]
    widths = [max(map(len, column)) for column in zip(names, *texts, strict=True)]
    is_narrow = sys.stdout.isatty() and sum(widths) + 2 * len(widths) > shutil.get_terminal_size().columns
    if is_narrow and len(texts) * len(names) <= _FOLDED_CELLS:
        _print_folded(names, texts, right)
        return
    for row in [names, *texts]:
        cells = zip(row, widths, right, strict=True)
        print("  ".join(text.rjust(width) if is_right else text.ljust(width) for text, width, is_right in cells))


def _print_folded(names: Sequence[str], texts: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False)
    columns = list(zip(names, *texts, strict=True))
    widths = folded_widths(columns, console.width - 2 * (len(columns) - 1))
    table = Table(box=None, pad_edge=False)
    for name, is_right, width in zip(names, right, widths, strict=True):
        table.add_column(name, justify="right" if is_right else "left", overflow="fold", width=width)
    for row in texts:
        table.add_row(*row)
    console.print(table)


def folded_widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Characters of each column, `room` in all: only the widest are folded, and at blanks as far as that goes."""
    whole = [max(1, *map(len, column)) for column in columns]
    words = [max(len(word) for text in column for word in (text.split() or [""])) for column in columns]
    for least in (words, [1] * len(words)):
        for most in range(max(whole), 0, -1):
            widths = [min(full, max(most, word)) for full, word in zip(whole, least, strict=True)]
            if sum(widths) <= room:
                return widths
    return [1] * len(columns)


def cell_text(cell: object) -> str:
    """One table cell: floats to three significant digits, missing values as a dash."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:,.0f}"
    if isinstance(cell, Mapping):
        return config_text(cell)
    return str(cell)


def _is_number(text: str) -> bool:
    return text == "-" or re.fullmatch(r"-?[0-9][0-9.,]*(e[-+]?[0-9]+)?", text) is not None


def config_text(config: Mapping[str, object]) -> str:
    """A config on one line: name=value, in its own order; one that sets nothing is "defaults"."""
    return " ".join(f"{name}={_value_text(value)}" for name, value in config.items()) or "defaults"


def _value_text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "auto" if value is None else str(value)


def seconds_text(seconds: float) -> str:
    """A duration for people: "4.2 s", "12 min", "3.4 h"."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
