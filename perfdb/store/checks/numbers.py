"""Doubtful numbers of points: contradictions, conflicts of replicates, outliers; and how well replicates agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from perfdb.metrics import Statistic
from perfdb.quality import (
    CENTRAL,
    COMPARED,
    FAR_APART,
    TRENDS,
    Finding,
    Severity,
    central,
    contradictions,
    counted,
    worst_first,
)
from perfdb.store.checks.examples import MOST_EXAMPLES, describe, differing
from perfdb.store.checks.points import CONTEXT, Points
from perfdb.trend import outliers

_IN_FLIGHT = "CASE arrival WHEN 'closed' THEN concurrency WHEN 'batch' THEN batch_size END"


def contradicting(points: Points) -> Iterator[Finding]:
    """Rows whose numbers cannot all be true."""
    loads = {"concurrency": points.number(_IN_FLIGHT), "devices": points.number("devices")}
    count = 0
    examples: list[dict[str, object]] = []
    for reason, broken, (low, high) in contradictions(points.values, loads):
        places = np.flatnonzero(broken)
        count += len(places)
        chosen = places[worst_first(low[places] / high[places], MOST_EXAMPLES - len(examples))]
        facts = describe(points.connection, points.ids[chosen].tolist())
        pairs = zip(low[chosen].tolist(), high[chosen].tolist(), facts, strict=True)
        examples += [{"reason": reason, "value": a, "bound": b, **fact} for a, b, fact in pairs]
    if count:
        text = f"{counted(count, 'time')} the numbers of one row contradict each other"
        yield Finding("contradictions", Severity.PROBLEM, count, text, tuple(examples))


class _Conflict(NamedTuple):
    ratio: float
    metric: str
    statistic: Statistic
    low: float
    high: float
    points: int

    def to_json(self) -> dict[str, object]:
        return {**self._asdict(), "statistic": str(self.statistic)}


def conflicting(points: Points) -> Iterator[Finding]:
    """Keys whose replicates lie farther apart than any noise, each with its worst metric and what else differs."""
    worst: dict[int, _Conflict] = {}
    for metric, statistic in points.values:
        if metric not in COMPARED or statistic not in CENTRAL:
            continue
        found = points.spread(metric, statistic)
        for at in np.flatnonzero(found.ratio > FAR_APART).tolist():
            ends = found.low[at].item(), found.high[at].item(), found.points[at].item()
            conflict = _Conflict(found.ratio[at].item(), metric, statistic, *ends)
            key = found.key[at].item()
            worst[key] = max(worst.get(key, conflict), conflict, key=lambda each: each.ratio)
    if not worst:
        return
    ordered = sorted(worst.items(), key=lambda item: -item[1].ratio)[:MOST_EXAMPLES]
    members = points.members([key for key, _ in ordered])
    facts = describe(points.connection, [rows[0] for rows in members])
    causes = differing(points.connection, members)
    shown = zip(ordered, facts, causes, strict=True)
    examples = tuple({**conflict.to_json(), **fact, **cause} for (_, conflict), fact, cause in shown)
    text = (
        f"{counted(len(worst), 'setting')} with repeats more than {FAR_APART}x apart: "
        "a hidden factor: something that is not recorded differs"
    )
    yield Finding("conflicts", Severity.WARNING, len(worst), text, examples)


def off_trend(points: Points) -> Iterator[Finding]:
    """Values that their neighbours in load and length do not explain."""
    series = points.hashed(CONTEXT)
    rows: list[tuple[float, int, dict[str, object]]] = []
    for metric, waits in TRENDS.items():
        statistic = central(points.values, metric)
        if statistic is None:
            continue
        values = points.values[(metric, statistic)]
        found = outliers(values, points.lines, series, waits)
        columns = (points.ids[found.rows], values[found.rows], found.expected, found.low, found.high)
        for point, value, expected, low, high in zip(*(column.tolist() for column in columns), strict=True):
            seen = {"value": value, "expected": expected, "low": low, "high": high}
            rows.append((abs(np.log(value / expected)), point, {"metric": metric, "statistic": str(statistic), **seen}))
    if rows:
        count, rows = len(rows), sorted(rows, key=lambda row: -row[0])[:MOST_EXAMPLES]
        facts = describe(points.connection, [point for _, point, _ in rows])
        examples = tuple({**seen, **fact} for (_, _, seen), fact in zip(rows, facts, strict=True))
        text = f"{counted(count, 'value')} off the trend of the neighbours in load and length (kept as they are)"
        yield Finding("outliers", Severity.WARNING, count, text, examples)


def replicated(points: Points) -> Iterator[Finding]:
    """How well repeats of one key agree, per metric and statistic."""
    examples = []
    for metric, statistic in points.values:
        found = points.spread(metric, statistic)
        if metric in COMPARED and len(found.key):
            measured = {"metric": metric, "statistic": str(statistic), "keys": len(found.key)}
            medians = {"relative_sd": np.median(found.relative_sd).item(), "ratio": np.median(found.ratio).item()}
            worst = {"worst_ratio": found.ratio.max().item()}
            examples.append({**measured, "points": found.points.sum().item(), **medians, **worst})
    keys = len(np.unique(points.key[points.repeated]))
    if keys:
        text = f"{counted(keys, 'setting')} measured several times ({len(points.repeated):,} points)"
        yield Finding("replicates", Severity.NOTE, keys, text, tuple(examples))
