"""A recorded grid as an executor: a CSV file whose columns are parameters and metrics answers instead of a server."""

from __future__ import annotations

import numpy as np

from perfdb.errors import InputError, UnknownNameError
from perfdb.metrics import Statistic
from perfdb.records import Grid, Outcome
from perfdb.store.scan import Scan, scan
from runner.replay import ReplayExecutor
from servecast.spec import split_statistic
from servecast.tuning import Tuning

DISTRIBUTIONS = {"ttft_s", "tpot_s", "itl_s", "e2e_s"}


def replay_executor(tuning: Tuning) -> ReplayExecutor:
    """Read the grid that `replay` names in the task: one column per parameter, others named after metrics.

    `outcome` says how an experiment ended, `wall_s` how long it took (charged to the budget), both if there.

    Raises:
        FileError: the file cannot be read. InputError: a parameter has no column, or no column is a metric.
    """
    assert tuning.task.replay is not None
    path = tuning.context.folder / tuning.task.replay
    rows = scan(path)
    for name in tuning.grid.columns:
        if name not in rows.columns:
            raise UnknownNameError.of(f"column in {path.name}", name, rows.columns)
    grid = Grid({name: rows.columns[name] for name in tuning.grid.columns})
    values = {key: rows.columns[name].astype(np.float64) for name in rows.columns if (key := _metric(rows, name))}
    if not values:
        raise InputError.at(str(path), "no column is a metric", "columns such as output_tps, ttft_s, tpot_s")
    wall_s = rows.columns["wall_s"].astype(np.float64) if "wall_s" in rows.columns else None
    return ReplayExecutor.from_grid(grid, values, wall_s, _outcomes(rows))


def _metric(rows: Scan, name: str) -> tuple[str, Statistic] | None:
    """(metric, statistic) of a numeric column; None for any other."""
    if rows.columns[name].dtype.kind not in "if":
        return None
    try:
        metric, statistic = split_statistic(name)
    except ValueError:
        return None
    return metric, statistic or (Statistic.MEAN if metric in DISTRIBUTIONS else Statistic.VALUE)


def _outcomes(rows: Scan) -> list[Outcome] | None:
    if "outcome" not in rows.text:
        return None
    texts = ["ok" if text is None else str(text).strip().lower() for text in rows.text["outcome"]]
    for row, text in zip(rows.rows, texts, strict=True):
        if text not in set(Outcome):
            raise UnknownNameError.of(f"outcome in data row {row + 1}", text, set(Outcome))
    return [Outcome(text) for text in texts]
