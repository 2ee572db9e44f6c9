"""The history that the model learns from: one row per operating point, one column per metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perfdb.batch import CONTEXT
from perfdb.metrics import METRICS, Statistic
from perfdb.store.arrays import as_arrays
from perfdb.store.connect import Database
from perfdb.store.staging import REAL, WHOLE

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_NUMBERS = (*WHOLE, *REAL, "measured_at")
_PLAIN = (Statistic.VALUE, Statistic.MEAN)


def results(database: Database) -> dict[str, npt.NDArray[Any]]:
    """Every operating point as columns of length n; see `Store.results`."""
    context = [f"p.{name}" for name in CONTEXT if name != "measured_at"]
    with database.reading() as connection:
        found = connection.execute(
            f"""SELECT {", ".join(context)}, epoch(p.measured_at) AS measured_at,
                       p.experiment_id, e.run_id, s.path AS source, p.point_id
                FROM operating_points p
                LEFT JOIN experiments e USING (experiment_id) LEFT JOIN sources s USING (source_id)
                ORDER BY p.point_id"""
        ).fetchnumpy()
        ids = np.asarray(found.pop("point_id"), dtype=np.int64)
        values = _values(connection, ids)
    columns = as_arrays(found, _NUMBERS)
    for name in METRICS:
        columns[name] = values.pop(name, np.full(len(ids), np.nan))
    return {**columns, **values}


def _values(connection: Connection, ids: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
    """Column name -> values of the points `ids` (ascending, n), each n, NaN where absent."""
    # plain values first and means last, so that of both the mean stays
    keys = connection.execute(
        """SELECT DISTINCT metric, statistic FROM measurements
           ORDER BY statistic <> 'value', statistic = 'mean', metric, statistic"""
    ).fetchall()
    columns = {_column(metric, statistic): np.full(len(ids), np.nan) for metric, statistic in keys}
    for metric, statistic in keys:
        found = connection.execute(
            "SELECT point_id, value FROM measurements WHERE metric = ? AND statistic = ?", [metric, statistic]
        ).fetchnumpy()
        places = np.searchsorted(ids, np.asarray(found["point_id"], dtype=np.int64))
        columns[_column(metric, statistic)][places] = np.asarray(found["value"], dtype=np.float64)
    return columns


def _column(metric: str, statistic: str) -> str:
    return metric if statistic in _PLAIN else f"{metric}_{statistic}"
