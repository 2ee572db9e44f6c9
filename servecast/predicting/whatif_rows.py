"""The rows of a document of `whatif`: what they hold of a prediction, and in which order they stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from model.prediction import Bools, Estimate, GridPrediction
from perfdb.facts.platforms import PlatformFacts
from perfdb.records import Grid
from servecast.slo import Slo, met

PRICE = "cost_per_mtok"
_PLAIN = ("ttft_s", "tpot_s", "output_tps", "e2e_s", "itl_s", "request_tps", "total_tps")
_WORTH = ("output_tps_per_gpu", "output_tps_per_user", PRICE)
_PERCENTILES = ("ttft_s_p50", "ttft_s_p90", "ttft_s_p99", "tpot_s_p90", "tpot_s_p99", "e2e_s_p90")
SHOWN = (*_PLAIN, *_WORTH, *_PERCENTILES)
"""Metrics of a row, as far as they are predicted of it."""


def shown_of(facts: PlatformFacts) -> tuple[str, ...]:
    """What is predicted of servers on a platform: no price, no cost."""
    return tuple(name for name in SHOWN if name != PRICE or facts.usd_per_hour)


def rows_of_grid(answer: GridPrediction, grid: Grid, at: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """One object for each config `at` its place; columns are turned whole, for a grid may have 100,000 rows."""
    names, columns = list(grid.columns), [column[at].tolist() for column in grid.columns.values()]
    cells = zip(*columns, strict=True) if columns else repeat((), len(at))
    parts: dict[str, Iterable[Any]] = {
        "config": (dict(zip(names, row, strict=True)) for row in cells),
        "feasible": answer.feasible[at].tolist(),
        "reason": map(answer.reasons.get, at.tolist()),
        **{name: intervals(answer.metrics[name], at) for name in answer.metrics},
        "provenance": answer.provenance[at].tolist(),
    }
    if not np.isnan(answer.utilisation).all():
        parts["utilisation"] = answer.utilisation[at].tolist()
    return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]


def intervals(estimate: Estimate, at: npt.NDArray[np.int64]) -> list[dict[str, float] | None]:
    """The estimates of the rows `at` their places, as objects; None where there is nothing to estimate."""
    part = estimate.take(at)
    ends = zip(part.mean.tolist(), part.lo.tolist(), part.hi.tolist(), strict=True)
    return [None if isnan(mean) else {"mean": mean, "lo": lo, "hi": hi} for mean, lo, hi in ends]


def ranked_by(slos: tuple[Slo, ...]) -> tuple[str, ...]:
    """What the best configs of a large grid are chosen by: the other metrics are then predicted of these alone."""
    return tuple(dict.fromkeys(["output_tps", *(slo.name for slo in slos)]))


def kept(answer: GridPrediction, slos: tuple[Slo, ...]) -> Bools:
    """Which configs keep all bounds by central values, `n`; all, where there are none."""
    if not slos:
        return np.ones(len(answer.feasible), dtype=bool)
    return met(slos, {slo.name: answer.metrics[slo.name].mean for slo in slos})


def best_places(
    answers: Iterable[tuple[npt.NDArray[np.int64], GridPrediction]], slos: tuple[Slo, ...], n: int
) -> npt.NDArray[np.int64]:
    """The n rows of a grid, whose `answers` are of these rows: those that fit and keep the bounds first, of these those
    of the best throughput."""
    rank, is_worse = np.empty(n), np.zeros(n, dtype=bool)
    for places, answer in answers:
        rank[places] = np.where(answer.feasible, -answer.metrics["output_tps"].mean, np.inf)
        is_worse[places] = ~(answer.feasible & kept(answer, slos))
    return np.lexsort((rank, is_worse))


def best_rows(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Rows of a document: all in order, or where there are more only so many, the best first."""
    return list(rows) if len(rows) <= most else sorted(rows, key=rank_of)[:most]


def rank_of(row: Mapping[str, Any]) -> tuple[bool, bool, float]:
    """Rows that fit come before others, of these those that break no bound, of these those of the best throughput."""
    return not row["feasible"], row.get("meets_slo") is False, -row["output_tps"]["mean"]
