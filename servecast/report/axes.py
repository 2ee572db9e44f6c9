"""What pages with plots have in common: colours, axes on a log scale, and how a page is written."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from perfdb.errors import FileError
from perfdb.paths import is_folder
from servecast.output import cell_text

BLUE, GREY, ORANGE, RED = "#2563eb", "#c3c9d4", "#ea580c", "#dc2626"


def log_ticks(figure: Any, axis: str) -> dict[str, list[Any]]:
    """Ticks at 1, 2 and 5 of each decade that is shown, all nine in a narrow range: full numbers, never lone digits."""
    drawn = (trace for trace in figure.data if trace.visible != "legendonly")
    shown = [value for trace in drawn for value in trace[axis] if value]
    if not shown:
        return {}
    low, high = min(shown), max(shown)
    steps = (1, 2, 5) if high > 8 * low else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    values = [step * 10.0**decade for decade in decades for step in steps]
    return {"tickvals": values, "ticktext": [cell_text(value) for value in values]}


def check_writable(path: Path) -> None:
    """Find out before hours of work whether there is a place for a page.

    Raises:
        FileError: the path names no file, or one that cannot be written.
    """
    if not path.name:
        raise FileError(f"{path}: no file; expected the name of a page to write")
    if is_folder(path) or not is_folder(path.parent) or not os.access(path.parent, os.W_OK):
        reason = "it is a folder" if is_folder(path) else "there is no such folder that can be written to"
        raise FileError(f"{path}: the page cannot be written ({reason}); expected a file in a folder there is")


def write_whole(html: str, path: Path) -> None:
    """Write a page, whole or not at all.

    Raises:
        FileError: the file cannot be written.
    """
    check_writable(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(html, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise FileError(f"{path}: the page cannot be written ({error.strerror})") from None
