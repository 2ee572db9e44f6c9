"""Where operations are measured, as a heat map of blocks: sizes in powers of two to the right and upwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perfdb.store.coverage import Coverage

WIDTH = 100
"""No line is wider."""
_SHADES = "░▒▓█"
_MARGIN = 8
_LABEL_EVERY = 4


def picture(coverage: Coverage) -> list[str]:
    """The lines of one table: a title, the map with its axes, and what the shades mean."""
    table = coverage.table
    names = " · ".join(str(table[name] or "unknown") for name in ("op", "platform", "engine", "engine_version"))
    title = f"{names}: {coverage.rows:,} rows"
    if not coverage.counts:
        return [f"{title}, none of them with {coverage.x} and {coverage.y}"]
    columns = _range([a for a, _ in coverage.counts])
    cell = 2 if len(columns) * 2 + _MARGIN + 2 <= WIDTH else 1
    steps = _steps(max(coverage.counts.values()))
    lines = [title, f"{coverage.y:>{_MARGIN}}"]
    for b in reversed(_range([b for _, b in coverage.counts])):
        cells = "".join(_shade(coverage.counts.get((a, b), 0), steps) * cell for a in columns)
        lines.append(f"{_size(b):>{_MARGIN}} │{cells}".rstrip())
    lines.append(" " * _MARGIN + " └" + "─" * (len(columns) * cell))
    lines.append(" " * (_MARGIN + 2) + _labels(columns, cell) + f" {coverage.x}")
    legend = "  ".join(f"{shade} {least:,}+" for shade, least in steps.items())
    lines.append(" " * (_MARGIN + 2) + f"rows: {legend}")
    return [line[:WIDTH] for line in lines]


def _range(places: Sequence[int]) -> list[int]:
    return list(range(min(places), max(places) + 1))


def _steps(most: int) -> dict[str, int]:
    """Shade -> its least count, evenly spaced in the logarithm; few counts need few shades, the dark ones."""
    least = sorted({max(1, round(most ** (place / len(_SHADES)))) for place in range(len(_SHADES))})
    return dict(zip(_SHADES[-len(least) :], least, strict=True))


def _shade(count: int, steps: Mapping[str, int]) -> str:
    return next((shade for shade, least in reversed(list(steps.items())) if count >= least), " ")


def _size(power: int) -> str:
    """2^power as 1, 512, 4Ki, 2Mi …"""
    units = ("", "Ki", "Mi", "Gi", "Ti", "Pi")
    unit = min(power // 10, len(units) - 1)
    return f"{2 ** (power - 10 * unit)}{units[unit]}"


def _labels(columns: Sequence[int], cell: int) -> str:
    step = _LABEL_EVERY if cell == 2 else 2 * _LABEL_EVERY
    width = step * cell
    return "".join(f"{_size(power):<{width}}" for power in columns[::step]).rstrip()
