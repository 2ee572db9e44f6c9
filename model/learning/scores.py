"""How far off predictions are: the figures of one set of errors, and tables of them by group and over all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model.learning.held_out import SCORED, MeasuredPoints, Predicted
from model.learning.history import measured
from model.prediction import Z90, Bools, Floats


@dataclass(frozen=True, slots=True)
class Score:
    """Figures of n points, fractions all.

    `mape`, `median` and `p90` are of |predicted/measured − 1|, `bias` is the mean of predicted/measured − 1.
    `log_median` and `log_p90` are of |log(predicted/measured)|, where twice and half as much are equally wrong;
    `spearman` is the rank correlation (NaN for fewer than 3 points), `coverage90` the share of points inside their 90 %
    interval.
    """

    n: int
    mape: float
    median: float
    p90: float
    log_median: float
    log_p90: float
    bias: float
    spearman: float
    coverage90: float


def score(values: Floats, error: Floats, sd: Floats) -> Score:
    """Figures of m measured `values` from log(predicted / measured) `error` and its predicted `sd`, all `m`, m > 0."""
    relative, size = np.expm1(error), np.abs(error)
    return Score(
        n=len(error),
        mape=float(np.abs(relative).mean()),
        median=float(np.median(np.abs(relative))),
        p90=float(np.quantile(np.abs(relative), 0.9)),
        log_median=float(np.median(size)),
        log_p90=float(np.quantile(size, 0.9)),
        bias=float(relative.mean()),
        spearman=_rank_correlation(np.log(values), np.log(values) + error),
        coverage90=float((size <= Z90 * sd).mean()),
    )


def _rank_correlation(first: Floats, second: Floats) -> float:
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks of n values, equal ones sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2.0)[place]
    return ranks


@dataclass(frozen=True)
class Tables:
    """Lists of objects with "metric", "shots" and the fields of `Score`.

    `rows` has one for each "group", `overall` is over all their points, `apart` over the points whose repeats disagree,
    which the others leave out; `compared` is `overall` without shots on the groups that are large enough for shots. The
    last three count their "groups".
    """

    rows: list[dict[str, Any]]
    overall: list[dict[str, Any]]
    compared: list[dict[str, Any]]
    apart: list[dict[str, Any]]


def tables(points: MeasuredPoints, predicted: Mapping[int, Predicted], least: int) -> Tables:
    """Score predictions for each number of shots; a group is large from `least` points on."""
    names, place, counts = np.unique(points.group.astype(str), return_inverse=True, return_counts=True)
    every = np.arange(len(points))
    large = (counts >= least)[place]
    found = Tables([], [], [], [])
    for metric in SCORED:
        values = measured(points.columns, metric, every)
        for shots, answer in predicted.items():
            known = np.isfinite(answer.error[metric]) & np.isfinite(values)
            parts = (metric, shots, values, answer)
            agreed = known & ~points.apart
            for number, name in enumerate(names):
                _add(found.rows, {"group": name}, parts, agreed & (place == number))
            subsets = [(found.overall, agreed), (found.apart, known & points.apart)]
            subsets += [(found.compared, agreed & large)] if shots == 0 else []
            for table, rows in subsets:
                _add(table, {"groups": len(np.unique(place[rows]))}, parts, rows)
    return found


def _add(
    table: list[dict[str, Any]], who: Mapping[str, Any], parts: tuple[str, int, Floats, Predicted], rows: Bools
) -> None:
    metric, shots, values, answer = parts
    if rows.any():
        figures = score(values[rows], answer.error[metric][rows], answer.sd[metric][rows])
        table.append({**who, "metric": metric, "shots": shots, **asdict(figures)})
