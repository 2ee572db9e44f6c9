"""Runs that stand in several places under different labels: the same numbers, to the last digit, of another model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt

from perfdb.batch import Batch

_LABEL = (
    "model",
    "platform",
    "devices",
    "engine",
    "config",
    "isl",
    "osl",
    "arrival",
    "concurrency",
    "request_rate",
    "batch_size",
)
_NOT_TELLING = frozenset({"success_rate", "input_tokens", "output_tokens", "duration_s", "load_avg", "memory_bytes"})
_LEAST_METRICS = 3
_CHANCE = 1e-5
"""Share of the rows that may be alike by chance: a million rows of rounded numbers hold such pairs."""
_MOST_ROWS = 100_000
"""A larger batch is compared with itself alone: what is remembered of it would fill the memory."""


@dataclass(frozen=True, slots=True)
class _Met:
    file: str
    label: tuple[str, ...]


@dataclass
class Copies:
    """What one import has met so far: a hash of the measured numbers -> where, and under which label."""

    _met: dict[int, _Met] = field(default_factory=dict)

    def add(self, path: Path, batch: Batch) -> Iterator[str]:
        """Remember the rows of a batch; a warning per file that has rows with the same numbers under another label."""
        prints, telling = _prints(batch)
        rows = np.flatnonzero(telling)
        if len(rows) > _MOST_ROWS:
            _, first, counts = np.unique(prints[rows], return_index=True, return_counts=True)
            rows = rows[np.isin(prints[rows], prints[rows][first[counts > 1]])]
        met = self._met if len(rows) <= _MOST_ROWS else {}
        found: dict[str, tuple[int, set[str]]] = {}
        for row in map(int, rows):
            here = _Met(str(path), tuple(_text(batch, name, row) for name in _LABEL))
            known = met.setdefault(int(prints[row]), here)
            if known.label != here.label:
                differ = {name for name, a, b in zip(_LABEL, known.label, here.label, strict=True) if a != b}
                count, names = found.get(known.file, (0, set()))
                found[known.file] = (count + 1, names | differ)
        for file, (count, names) in found.items():
            if count <= _CHANCE * len(prints):
                continue
            where = "this file" if file == str(path) else file
            yield (
                f"{count} row{'s' * (count != 1)} with the same numbers, to the last digit, as rows of {where} that "
                f"differ in {', '.join(sorted(names))}: copies under another label"
            )


def _text(batch: Batch, name: str, row: int) -> str:
    return str(batch.context[name][row]) if name in batch.context else ""


def _prints(batch: Batch) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """(a hash of each row's measured numbers, mask of the rows with enough of them to tell a copy from chance)."""
    prints = np.zeros(len(batch.rows), dtype=np.uint64)
    metrics = {
        metric: np.zeros(len(batch.rows), dtype=bool) for metric, _ in batch.values if metric not in _NOT_TELLING
    }
    for (metric, statistic), values in sorted(batch.values.items()):
        if metric in metrics:
            known = np.isfinite(values)
            metrics[metric] |= known
            bits = np.where(known, values, 0.0).view(np.uint64) + np.uint64(crc32(f"{metric}:{statistic}".encode()))
            mixed = (prints ^ bits) * np.uint64(0x9E3779B97F4A7C15)
            prints = np.where(known, mixed ^ (mixed >> np.uint64(29)), prints)
    enough = np.sum([np.zeros(len(prints), dtype=int), *metrics.values()], axis=0) >= _LEAST_METRICS
    return prints, enough
