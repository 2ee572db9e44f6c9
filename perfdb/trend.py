"""Values that leave the trend of their neighbours: along a line of points that differ in one number only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Names = npt.NDArray[np.uint64]

FACTOR = 3.0
"""An outlier is more than so many times larger or smaller than its neighbours say."""
SIGMAS = 6.0
"""It is also so many robust standard deviations of its series away."""
_LEAST_SD = 0.05  # of the log: a series from a formula has no noise, and rounding must not pass for an outlier
_TO_SD = 3.4  # standard deviation over the median of the least distance of normal errors, by simulation
_EVEN = 1.05
_INNER = ((-1, 1), (-2, 1), (-1, 2), (-2, 2), (-2, -1), (1, 2))
_ENDS = ((1, 2), (1, 1), (-2, -1), (-1, -1))


@dataclass(frozen=True)
class Line:
    """Points along one axis: those of equal `line` differ only in `x` (positive, NaN where unknown), `n` each."""

    line: Names
    x: Floats
    is_load: bool

    @cached_property
    def order(self) -> Ints:
        """The rows with a place on the axis, line after line."""
        known = np.flatnonzero(self.x > 0)
        return known[np.lexsort((self.x[known], self.line[known]))].astype(np.int64)


@dataclass(frozen=True)
class Outliers:
    """m points off their trend: `rows` among the n, the value that was `expected` and its plausible range, `m` each."""

    rows: Ints
    expected: Floats
    low: Floats
    high: Floats


def outliers(values: Floats, lines: Sequence[Line], series: Names, waits: bool) -> Outliers:
    """The values that their neighbours do not explain, on any line that they are on.

    A point between two others is off where it lies outside of both, and by more than `FACTOR` from what every pair of
    the two points on its left and the two on its right says (linear in log-log), so that one bad neighbour accuses
    nobody. The first and the last point of a line are judged by the two next to them where the step to them is no
    longer than the one between those, but neither along a load nor where values hold waiting times: where a server
    saturates, these leave every trend. The noise of a series is taken from the median distance of its
    points along the axis on which it is smoothest.

    Args:
        values: one metric, `n`, NaN where not measured.
        lines: the axes along which points are compared.
        series: which points share one noise, `n`.
        waits: whether the metric holds the time that requests wait.
    """
    y = np.log(np.where(values > 0, values, np.nan))
    off = np.full(len(y), np.inf)  # signed distance from the trend, on the line that explains the point best
    axes = [_Along.of(line, y) for line in lines]
    for line, along in zip(lines, axes, strict=True):
        for places, distance in (along.inner(), _NOTHING if waits or line.is_load else along.ends()):
            _keep_least(off, along.rows[places], distance)
    candidates = np.flatnonzero(np.isfinite(off) & (np.abs(off) > np.log(FACTOR)))
    sd = _sd(axes, series, candidates)
    sure = np.abs(off[candidates]) > SIGMAS * sd
    rows, sd = candidates[sure].astype(np.int64), sd[sure]
    expected = np.exp(y[rows] - off[rows])
    wide = np.maximum(FACTOR, np.exp(SIGMAS * sd))
    return Outliers(rows, expected, expected / wide, expected * wide)


def _keep_least(known: Floats, rows: Ints, found: Floats) -> None:
    nearer = np.abs(found) < np.abs(known[rows])
    known[rows[nearer]] = found[nearer]


_NOTHING = (np.zeros(0, dtype=np.int64), np.zeros(0))


@dataclass(frozen=True)
class _Along:
    """The m measured points of one axis in order: row, line, log of place and of height, `m` each."""

    rows: Ints
    names: Names
    at: Floats
    height: Floats

    @classmethod
    def of(cls, line: Line, y: Floats) -> _Along:
        rows = line.order[np.isfinite(y[line.order])]
        return cls(rows, line.line[rows], np.log(line.x[rows]), y[rows])

    @cached_property
    def between(self) -> Ints:
        """Places with a neighbour on both sides."""
        return np.flatnonzero(self.names[2:] == self.names[:-2]).astype(np.int64) + 1

    def inner(self) -> tuple[Ints, Floats]:
        """Places between two others, and how far off they are; 0 where a value lies between those of its neighbours."""
        below, above = self.height[self.between - 1], self.height[self.between + 1]
        own = self.height[self.between]
        outside = (own < np.minimum(below, above)) | (own > np.maximum(below, above))
        return self.between, np.where(outside, self.least(self.between, _INNER, np.log(FACTOR)), 0.0)

    def ends(self) -> tuple[Ints, Floats]:
        """First and last places of lines that go on as evenly as they began, and how far off they are."""
        sides = []
        for step in (1, -1):
            end = self.between - step
            far = np.clip(end - step, 0, len(self.names) - 1)
            is_end = (far != end - step) | (self.names[far] != self.names[end])
            near, beyond = self.at[self.between], self.at[self.between + step]
            is_even = np.abs(near - self.at[end]) <= np.abs(beyond - near) * _EVEN
            sides.append(end[is_end & is_even])
        places = np.concatenate(sides)
        return places, self.least(places, _ENDS, np.log(FACTOR))

    def least(self, places: Ints, pairs: Sequence[tuple[int, int]], enough: float = 0.0) -> Floats:
        """Of the distances from the lines through several pairs of neighbours the least, or one below `enough`."""
        distance = np.full(len(places), np.inf)
        for left, right in pairs:
            still = np.flatnonzero(np.abs(distance) > enough)
            _keep_least(distance, still, self._distance(places[still], left, right))
        return distance

    def _distance(self, places: Ints, left: int, right: int) -> Floats:
        """How far points lie above the line through their neighbours at two offsets, NaN where it has no such ones."""
        last = len(self.names) - 1
        a, b = np.clip(places + left, 0, last), np.clip(places + right, 0, last)
        there = (places + left >= 0) & (places + right <= last)
        there &= (self.names[a] == self.names[places]) & (self.names[b] == self.names[places])
        width = self.at[b] - self.at[a]
        # at one place they say their mean
        share = np.divide(self.at[places] - self.at[a], width, out=np.full(len(places), 0.5), where=width > 0)
        said = self.height[a] + share * (self.height[b] - self.height[a])
        return np.where(there, self.height[places] - said, np.nan)


def _sd(axes: Sequence[_Along], series: Names, rows: npt.NDArray[np.intp]) -> Floats:
    """Standard deviation of the series of some rows, `len(rows)`, along the axis on which each is smoothest."""
    names, place = np.unique(series[rows], return_inverse=True)
    found = np.full(len(names), np.inf)
    for along in axes:
        places = along.between[np.isin(series[along.rows[along.between]], names)]
        noise, of = np.abs(along.least(places, _INNER)), series[along.rows[places]]
        order = np.lexsort((noise, of))
        starts = np.searchsorted(of[order], names)
        sizes = np.searchsorted(of[order], names, side="right") - starts
        there = np.flatnonzero(sizes)
        middle = noise[order[starts[there] + sizes[there] // 2]]
        found[there] = np.fmin(found[there], np.maximum(_TO_SD * middle, _LEAST_SD))
    return found[place]
