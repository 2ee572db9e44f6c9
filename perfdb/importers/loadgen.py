"""What load generators tell alike: spreads of a metric, rates that are counts over a window, lengths that vary."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perfdb.errors import FileError
from perfdb.importers.content import HEAD_BYTES, whole_text

_WORDS = {
    "mean": "mean", "avg": "mean", "median": "median", "p50": "median", "p75": "p75", "p90": "p90", "p95": "p95",
    "p99": "p99", "min": "min", "max": "max", "std": "std", "stddev": "std", "std_dev": "std",
}  # fmt: skip
_LARGEST = 1e15
_CLOSE = 0.02
"""How far a tool's rate may be off the count over the window: its clocks start and stop at other events."""


def spread(name: str, unit: str, values: Any) -> dict[str, Any]:
    """Columns "p99 NAME (UNIT)" from {statistic: value}; statistics that are not ours (p25, variance) are left out."""
    if not isinstance(values, Mapping):
        return {}
    unit = f" ({unit})" if unit else ""
    return {f"{word} {name}{unit}": values[key] for key, word in _WORDS.items() if values.get(key) is not None}


def figure(value: Any) -> float | None:
    """A number that can be reckoned with, None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < _LARGEST else None


def rate(metric: str, name: str, told: Any, count: float | None, seconds: float | None) -> dict[str, Any]:
    """A rate of the whole deployment, as columns.

    What a tool calls a rate may be a mean over instants, or leave the prefill out of the time. It is `metric` only if
    it is the `count` over the `seconds` of the window; else that quotient is, and what the tool told stands in extra
    under its own `name`. Where the file does not tell both, the tool's number is believed.
    """
    counted = count / seconds if count is not None and seconds else None
    known = figure(told)
    if counted is None or (known is not None and math.isclose(known, counted, rel_tol=_CLOSE)):
        return {metric: told}
    return {metric: counted, f"extra.{name}": told}


def normal_lengths(isl: Any, isl_deviation: Any, osl: Any, osl_deviation: Any) -> str | None:
    """The notation of lengths with these means and standard deviations, None where a mean is not told."""
    means = figure(isl), figure(osl)
    if means[0] is None or means[1] is None or min(means[0], means[1]) < 1:
        return None
    deviations = figure(isl_deviation) or 0.0, figure(osl_deviation) or 0.0
    if deviations == (0.0, 0.0):
        return f"D({means[0]:.12g},{means[1]:.12g})"
    return f"N({means[0]:.12g},{deviations[0]:.12g})/({means[1]:.12g},{deviations[1]:.12g})"


def csv_rows(path: Path) -> list[list[str]]:
    """The rows of a small CSV in which several tables, or several header lines, stand; blank lines are left out.

    Raises:
        FileError: it cannot be read, is no UTF-8, or has a quote that does not close.
    """
    reader = csv.reader(io.StringIO(whole_text(path), newline=""), strict=True)
    try:
        return [row for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise FileError(f"{path}: line {reader.line_num}: {error}; expected every quote closed") from error


def refuse_twin(path: Path, sniff: Callable[[bytes, Path], float]) -> None:
    """A CSV is a second, shorter account of a run whose JSON lies beside it: it must not count twice.

    Raises:
        FileError: a JSON of the same name and format lies beside the file.
    """
    twin = path.with_suffix(".json")
    if not twin.is_file():
        return
    with twin.open("rb") as file:
        if sniff(file.read(HEAD_BYTES), twin):
            raise FileError(f"{path}: the same runs as in {twin.name} beside it, which tells more; that is read")
