"""The history that the model learns from: one row per operating point, one column per metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perfdb.batch import CONTEXT
from perfdb.kept import Arrays, as_text, from_text
from perfdb.metrics import METRICS, Statistic
from perfdb.store.arrays import as_arrays
from perfdb.store.connect import Database
from perfdb.store.staging import REAL, WHOLE
from perfdb.store.unchanged import kept_with

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_NUMBERS = (*WHOLE, *REAL, "measured_at", "source_row")
_PLACES, _TEXTS = ".places", ".texts"
_PLAIN = (Statistic.VALUE, Statistic.MEAN)


def results(database: Database) -> dict[str, npt.NDArray[Any]]:
    """Every operating point as columns of length n; see `Store.results`."""
    return kept_with(database.path, "results", lambda: _read(database), _encoded, _decoded)


def _read(database: Database) -> dict[str, npt.NDArray[Any]]:
    context = [f"p.{name}" for name in CONTEXT if name != "measured_at"]
    with database.reading(is_kept=True) as connection:
        found = connection.execute(
            f"""SELECT {", ".join(context)}, epoch(p.measured_at) AS measured_at,
                       p.experiment_id, e.run_id, s.path AS source, p.source_row, p.point_id
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


def _encoded(columns: dict[str, npt.NDArray[Any]]) -> Arrays:
    """Texts as places among those that occur: few do."""
    arrays: dict[str, npt.NDArray[Any]] = {"order": as_text(list(columns))}
    for name, values in columns.items():
        if values.dtype != object:
            arrays[name] = values
            continue
        place: dict[object, int] = {}
        arrays[f"{name}{_PLACES}"] = np.array([place.setdefault(v, len(place)) for v in values.tolist()], np.int32)
        arrays[f"{name}{_TEXTS}"] = as_text(list(place))
    return arrays


def _decoded(arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    return {
        name: arrays[name] if name in arrays else _objects(from_text(arrays[name + _TEXTS]))[arrays[name + _PLACES]]
        for name in from_text(arrays["order"])
    }


def _objects(values: list[object]) -> npt.NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _values(connection: Connection, ids: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
    """Column name -> values of the points `ids` (ascending, n), each n, NaN where absent."""
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for (metric, statistic), values in values_by_statistic(connection, ids).items():
        # of a mean and a plain value the mean, which comes last, stays
        known = columns.get(_column(metric, statistic), values)
        columns[_column(metric, statistic)] = np.where(np.isfinite(values), values, known)
    return columns


def values_by_statistic(
    connection: Connection, ids: npt.NDArray[np.int64]
) -> dict[tuple[str, Statistic], npt.NDArray[np.float64]]:
    """(metric, statistic) -> values of the points `ids` (ascending, n), each n, NaN where absent.

    Plain values come first and means last.
    """
    keys = connection.execute(
        """SELECT DISTINCT metric, statistic FROM measurements
           ORDER BY statistic <> 'value', statistic = 'mean', metric, statistic"""
    ).fetchall()
    columns = {}
    for metric, statistic in keys:
        found = connection.execute(
            "SELECT point_id, value FROM measurements WHERE metric = ? AND statistic = ?", [metric, statistic]
        ).fetchnumpy()
        points = np.asarray(found["point_id"], dtype=np.int64)
        places = np.minimum(np.searchsorted(ids, points), max(len(ids) - 1, 0))
        wanted = ids[places] == points if len(ids) else np.zeros(len(points), dtype=bool)
        column = columns[(str(metric), Statistic(statistic))] = np.full(len(ids), np.nan)
        column[places[wanted]] = np.asarray(found["value"], dtype=np.float64)[wanted]
    return columns


def _column(metric: str, statistic: str) -> str:
    return metric if statistic in _PLAIN else f"{metric}_{statistic}"
