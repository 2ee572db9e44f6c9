"""What is wrong or odd in stored measurements: the findings, and the arithmetic behind those about points.

Notation: n operating points; a *key* is everything recorded of what was run (model to client); points of one key are
*replicates*. A `Values` maps (metric, statistic) to float64 `n` in the metric's unit, NaN where not measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from perfdb.metrics import METRICS, Direction, Statistic

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Values = Mapping[tuple[str, Statistic], Floats]

FAR_APART = 1.5
"""Replicates whose largest value is more than so many times the smallest are in conflict."""
SLACK = 1.005
"""Files are rounded: a number contradicts another only beyond this factor."""
CENTRAL = (Statistic.MEAN, Statistic.VALUE, Statistic.MEDIAN)
"""Statistics that stand for a distribution as a whole, best first."""
ORDER = (
    Statistic.MIN,
    Statistic.MEDIAN,
    Statistic.P75,
    Statistic.P90,
    Statistic.P95,
    Statistic.P99,
    Statistic.MAX,
)
"""Statistics of one distribution, least first."""
_NOT_COMPARED = {"success_rate", "server_cpu_s", "quality_loss", "cost_per_mtok"}
COMPARED = tuple(m.name for m in METRICS.values() if m.better is not Direction.NONE and m.name not in _NOT_COMPARED)
"""Metrics that a repeat under the same key must reproduce; the others follow from how long or where it ran."""


TRENDS = {"ttft_s": True, "tpot_s": False, "itl_s": False, "e2e_s": True, "output_tps": False, "total_tps": False}
"""Metrics that follow a trend over load and lengths, and whether they hold the time for which requests wait."""


class Severity(StrEnum):
    """How much a finding matters."""

    PROBLEM = "problem"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One kind of finding: how often it occurs (`count`), in words, and its examples, worst first."""

    kind: str
    severity: Severity
    count: int
    text: str
    examples: tuple[Mapping[str, object], ...] = ()

    def to_json(self) -> dict[str, object]:
        """The finding as a JSON object."""
        return {
            "kind": self.kind,
            "severity": str(self.severity),
            "count": self.count,
            "text": self.text,
            "examples": [dict(example) for example in self.examples],
        }


@dataclass(frozen=True)
class Spread:
    """How far the replicates of k keys lie apart in one metric. `key` are key numbers, all arrays are `k`."""

    key: Ints
    points: Ints
    low: Floats
    high: Floats
    relative_sd: Floats

    @property
    def ratio(self) -> Floats:
        """Largest over smallest value."""
        return self.high / self.low


def spread(key: Ints, values: Floats) -> Spread:
    """The spread of every key that has two positive values or more.

    Args:
        key: number of each point's key, `n`.
        values: one metric, `n`, NaN where not measured.
    """
    rows = np.flatnonzero(np.isfinite(values) & (values > 0))
    rows = rows[np.argsort(key[rows], kind="stable")]
    sorted_keys, sorted_values = key[rows], values[rows]
    starts = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]]) if len(rows) else np.zeros(0, np.int64)
    points = np.diff(np.r_[starts, len(rows)])
    repeated = points > 1
    if not repeated.any():
        none = np.zeros(0)
        return Spread(np.zeros(0, np.int64), np.zeros(0, np.int64), none, none, none)
    low = np.minimum.reduceat(sorted_values, starts)
    high = np.maximum.reduceat(sorted_values, starts)
    mean = np.add.reduceat(sorted_values, starts) / points
    squares = np.add.reduceat((sorted_values - np.repeat(mean, points)) ** 2, starts)
    sd = np.sqrt(squares / np.maximum(points - 1, 1)) / mean
    return Spread(*(column[repeated] for column in (sorted_keys[starts], points, low, high, sd)))


def central(values: Values, metric: str) -> Statistic | None:
    """The best statistic of `CENTRAL` in which a metric is known at all."""
    return next((statistic for statistic in CENTRAL if (metric, statistic) in values), None)


def contradictions(values: Values, load: Mapping[str, Floats]) -> Iterator[tuple[str, Bools, tuple[Floats, Floats]]]:
    """Rules that no true measurement breaks: (reason, which points break it, `n`, the two numbers compared, `n` each).

    Args:
        values: all metrics.
        load: `concurrency` (requests in flight, NaN where the arrival is not closed-loop) and `devices`, `n` each.
    """
    with np.errstate(all="ignore"):
        for reason, low, high, slack in _rules(values, load):
            yield reason, np.asarray(low > high * slack, dtype=bool), (low, high)


def _rules(values: Values, load: Mapping[str, Floats]) -> Iterator[tuple[str, Floats, Floats, float]]:
    """(reason, number that must be the smaller, the larger one, slack)."""
    nothing = np.full(len(next(iter(load.values()))), np.nan)

    def of(metric: str, *statistics: Statistic) -> Floats:
        found = nothing
        for statistic in statistics or CENTRAL:
            found = np.where(np.isnan(found), values.get((metric, statistic), nothing), found)
        return found

    for statistic in dict.fromkeys((*CENTRAL, *ORDER)):
        if ("ttft_s", statistic) in values and ("e2e_s", statistic) in values:
            pair = values[("ttft_s", statistic)], values[("e2e_s", statistic)]
            yield "TTFT above end-to-end latency", *pair, SLACK
    yield "output throughput above total throughput", of("output_tps"), of("total_tps"), SLACK
    yield "input throughput above total throughput", of("input_tps"), of("total_tps"), SLACK
    most = load["concurrency"] / of("tpot_s")
    yield "output throughput above concurrency / TPOT", of("output_tps"), most, FAR_APART
    per_device = of("output_tps_per_gpu") * load["devices"]
    yield "output throughput per device times devices above output throughput", per_device, of("output_tps"), 1.05
    yield "end-to-end latency above the duration of the run", of("e2e_s"), of("duration_s"), SLACK
    yield "more than all requests succeeded", of("success_rate"), np.ones_like(nothing), SLACK
    yield from _percentile_rules(values)


def _percentile_rules(values: Values) -> Iterator[tuple[str, Floats, Floats, float]]:
    for metric in dict.fromkeys(metric for metric, _ in values):
        known = [statistic for statistic in ORDER if (metric, statistic) in values]
        pairs = [*pairwise(known)]
        if (metric, Statistic.MEAN) in values:
            pairs += [(Statistic.MIN, Statistic.MEAN)] if Statistic.MIN in known else []
            pairs += [(Statistic.MEAN, Statistic.MAX)] if Statistic.MAX in known else []
        for low, high in pairs:
            yield f"{metric}: {low} above {high}", values[(metric, low)], values[(metric, high)], SLACK


def counted(count: int, noun: str) -> str:
    """ "1 row", "2,000 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def worst_first(score: npt.NDArray[Any], most: int) -> Ints:
    """Places of the `most` largest scores, largest first; equal ones in their order."""
    return np.argsort(-score, kind="stable")[:most].astype(np.int64)
