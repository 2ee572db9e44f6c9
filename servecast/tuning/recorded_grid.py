"""A recorded grid as an executor: a CSV file whose columns are parameters and metrics answers instead of a server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from perfdb.errors import InputError, UnknownNameError
from perfdb.metrics import Statistic
from perfdb.records import Grid, Outcome, Scalar, as_column
from perfdb.store.scan import Scan, scan
from runner.replay import ReplayExecutor
from servecast.tuning.spec import plain_statistic, split_statistic
from servecast.tuning.tuning import Tuning


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
    grid = Grid({name: _as_in_task(rows.text[name], column) for name, column in tuning.grid.columns.items()})
    values = {key: rows.columns[name].astype(np.float64) for name in rows.columns if (key := _metric(rows, name))}
    if not values:
        raise InputError.at(str(path), "no column is a metric", "columns such as output_tps, ttft_s, tpot_s")
    wall_s = rows.columns["wall_s"].astype(np.float64) if "wall_s" in rows.columns else None
    return ReplayExecutor.from_grid(grid, values, wall_s, _outcomes(rows))


def _as_in_task(texts: Iterable[object], column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Cells as the task's own values where they spell one (`True`, `1.0`, `f16`), else as text, which matches none."""
    spelled: dict[str, Scalar] = {}
    for value in column.tolist():
        for spelling in {str(value), str(value).lower(), *([str(float(value))] if isinstance(value, int) else [])}:
            spelled.setdefault(spelling, value)
    return as_column([spelled.get(str(text), str(text)) for text in texts])


def _metric(rows: Scan, name: str) -> tuple[str, Statistic] | None:
    """(metric, statistic) of a numeric column; None for any other."""
    if rows.columns[name].dtype.kind not in "if":
        return None
    try:
        metric, statistic = split_statistic(name)
    except ValueError:
        return None
    return metric, statistic or plain_statistic(metric)


def _outcomes(rows: Scan) -> list[Outcome] | None:
    if "outcome" not in rows.text:
        return None
    texts = ["ok" if text is None else str(text).strip().lower() for text in rows.text["outcome"]]
    for row, text in zip(rows.rows, texts, strict=True):
        if text not in set(Outcome):
            raise UnknownNameError.of(f"outcome in data row {row + 1}", text, set(Outcome))
    return [Outcome(text) for text in texts]
