"""Recorded experiments: written in one transaction each, restored exactly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import astuple, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from perfdb.metrics import Statistic
from perfdb.records import (
    Arrival,
    Experiment,
    Measurement,
    Origin,
    Outcome,
    PointResult,
    Target,
    Workload,
    canonical_json,
)
from perfdb.store.codec import dump, dump_intervals, load_config, load_intervals
from perfdb.store.connect import Database
from perfdb.store.engine import engine, transaction
from perfdb.store.rows import insert_rows, must_have_run
from perfdb.store.schema import HEADLINES, headline_of_prediction
from perfdb.store.sources import next_id

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_TARGET = tuple(field.name for field in fields(Target))
_WORKLOAD = tuple(field.name for field in fields(Workload))
_PLAIN = (
    "experiment_id",
    "run_id",
    "index",
    "selection_reason",
    "detail",
    "error",
    "command",
    "log_path",
    "executor",
    "started_at",
    "wall_s",
    "gpu_hours",
    "cost_usd",
    "is_on_predicted_frontier",
    "is_on_actual_frontier",
)
"""Fields of `Experiment` that are stored under their own names, as they are."""

_Points = Mapping[str, list[PointResult]]


def record(database: Database, experiment: Experiment) -> bool:
    """Write one experiment with its points and measurements; see `Store.record`."""
    with engine() as connection, database.writing(connection), transaction(connection):
        must_have_run(connection, database.path, experiment.run_id)
        same = "SELECT 1 FROM experiments WHERE experiment_id = ?"
        if connection.execute(same, [experiment.experiment_id]).fetchone():
            return False
        row = _row(experiment)
        insert_rows(connection, "experiments", list(row), [list(row.values())], stamped="recorded_at")
        _insert_points(connection, experiment)
        return True


def _row(experiment: Experiment) -> dict[str, object]:
    return {
        **{name: getattr(experiment, name) for name in _PLAIN},
        **{name: getattr(experiment.target, name) for name in _TARGET},
        "config_key": experiment.config.key,
        "config": dump(experiment.config),
        "outcome": str(experiment.outcome),
        "predicted": dump_intervals(experiment.predicted),
        **_headlines(experiment),
    }


def _headlines(experiment: Experiment) -> dict[str, float | None]:
    """The eight `predicted_*` and `actual_*` columns; the actual ones are of the first operating point."""
    row: dict[str, float | None] = {}
    for name, (metric, statistic) in HEADLINES.items():
        interval = experiment.predicted.get(headline_of_prediction(name))
        row[f"predicted_{name}"] = interval.mean if interval else None
        asked = None if statistic == "mean" else Statistic(statistic)
        row[f"actual_{name}"] = experiment.points[0].value(metric, asked) if experiment.points else None
    return row


def _insert_points(connection: Connection, experiment: Experiment) -> None:
    first = next_id(connection, "operating_points", "point_id")
    shared = {
        "experiment_id": experiment.experiment_id,
        "config_key": experiment.config.key,
        "config": canonical_json(experiment.config),
        "origin": str(Origin.MEASURED),
        "measured_at": _moment(experiment.started_at),
        **{name: getattr(experiment.target, name) for name in _TARGET},
    }
    columns = ("point_id", "point_index", "outcome", *shared, *_WORKLOAD)
    rows = [
        (first + i, i, str(point.outcome), *shared.values(), *astuple(point.workload))
        for i, point in enumerate(experiment.points)
    ]
    insert_rows(connection, "operating_points", columns, rows)
    measured = [
        (first + i, m.metric, str(m.statistic), float(m.value))
        for i, point in enumerate(experiment.points)
        for m in point.measurements
    ]
    insert_rows(connection, "measurements", ("point_id", "metric", "statistic", "value"), measured)


def _moment(unix_s: float) -> datetime | None:
    return datetime.fromtimestamp(unix_s, UTC).replace(tzinfo=None) if unix_s else None


def mark_frontiers(database: Database, run_id: str, predicted: Collection[str], actual: Collection[str]) -> None:
    """Set both frontier flags of every experiment of a run; see `Store.mark_frontiers`."""
    with engine() as connection, database.writing(connection), transaction(connection):
        must_have_run(connection, database.path, run_id)
        connection.execute(
            """UPDATE experiments SET
                 is_on_predicted_frontier = list_contains(?::VARCHAR[], experiment_id),
                 is_on_actual_frontier = list_contains(?::VARCHAR[], experiment_id)
               WHERE run_id = ?""",
            [sorted(predicted), sorted(actual), run_id],
        )


def experiments(database: Database, run_id: str | None) -> list[Experiment]:
    """What was recorded, in index order; see `Store.experiments`."""
    chosen = "true" if run_id is None else "e.run_id = ?"
    given = [] if run_id is None else [run_id]
    with database.reading(is_kept=True) as connection:
        rows = _dicts(
            connection,
            f"""SELECT {", ".join(f'e."{name}"' for name in (*_PLAIN, *_TARGET))}, e.config, e.outcome, e.predicted
                FROM experiments e LEFT JOIN runs r USING (run_id)
                WHERE {chosen} ORDER BY r.opened_at, e.run_id, e."index", e.rowid""",
            given,
        )
        points = _points(connection, chosen, given)
    return [_experiment(row, points) for row in rows]


def _points(connection: Connection, chosen: str, given: list[str]) -> _Points:
    measured: dict[int, list[Measurement]] = defaultdict(list)
    for point_id, metric, statistic, value in connection.execute(
        f"""SELECT m.point_id, m.metric, m.statistic, m.value
            FROM measurements m JOIN operating_points p USING (point_id) JOIN experiments e USING (experiment_id)
            WHERE {chosen} ORDER BY m.rowid""",
        given,
    ).fetchall():
        measured[point_id].append(Measurement(metric, Statistic(statistic), value))
    points: dict[str, list[PointResult]] = defaultdict(list)
    for row in _dicts(
        connection,
        f"""SELECT p.experiment_id, p.point_id, p.outcome, {", ".join(f"p.{name}" for name in _WORKLOAD)}
            FROM operating_points p JOIN experiments e USING (experiment_id)
            WHERE {chosen} ORDER BY p.point_id""",
        given,
    ):
        arrival = Arrival(row["arrival"]) if row["arrival"] else None
        workload = Workload(**{**{name: row[name] for name in _WORKLOAD}, "arrival": arrival})
        result = PointResult(workload, tuple(measured[row["point_id"]]), Outcome(row["outcome"]))
        points[row["experiment_id"]].append(result)
    return points


def _experiment(row: Mapping[str, Any], points: _Points) -> Experiment:
    return Experiment(
        **{name: row[name] for name in _PLAIN},
        config=load_config(row["config"]),
        target=Target(**{name: row[name] for name in _TARGET}),
        outcome=Outcome(row["outcome"]),
        points=tuple(points.get(row["experiment_id"], ())),
        predicted=load_intervals(row["predicted"]),
    )


def _dicts(connection: Connection, query: str, given: list[str]) -> list[dict[str, Any]]:
    cursor = connection.execute(query, given)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
