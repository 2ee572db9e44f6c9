"""What experiments were promised, against what they measured: by task, by day, and as a task's experiments went on."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from model.learning.scores import score
from model.prediction import Z90
from perfdb.errors import InputError, UnknownNameError
from perfdb.records import Experiment, Interval, PointResult
from perfdb.store import Store
from servecast.output import print_table

_SHOWN = ("n", "median", "p90", "bias", "coverage90")
_TENS = 10
_SERVED = ("model", "platform", "engine")
"""Fields of a task that say who serves whom."""
_Point = Callable[[Experiment], PointResult | None]


def promises(store: Store, by: str) -> dict[str, Any]:
    """Score what each experiment was promised before it ran; returns the document of the command.

    Args:
        store: whose tunings are scored.
        by: one of `GROUPINGS`; rows have "task", "metric", what they are grouped by, and the fields of a `Score`.

    Raises:
        UnknownNameError: nothing can be grouped so. InputError: no experiment was promised anything that it measured.
    """
    if by not in GROUPINGS:
        raise UnknownNameError.of("grouping", by, GROUPINGS)
    runs = _runs(store)
    names = _told_apart([(name, json.loads(task)) for _, name, task in runs])
    tasks = {run: (name, _operating_point(task)) for (run, _, task), name in zip(runs, names, strict=True)}
    pairs: dict[tuple[Any, ...], list[tuple[Interval, float]]] = defaultdict(list)
    for experiment in store.experiments():
        name, point_of = tasks.get(experiment.run_id, ("", _first))
        point = point_of(experiment) if experiment.outcome.usable else None
        for metric, promised in experiment.predicted.items():
            value = _value(point, metric)
            if all(0.0 < number < math.inf for number in (value, promised.mean, promised.lo, promised.hi)):
                pairs[(name, metric, *GROUPINGS[by](experiment))].append((promised, value))
    if not pairs:
        raise InputError.at(str(store.path), "no experiment was promised what it measured", "a tuning's database")
    columns = ("task", "metric", *([] if by == "task" else [by]))
    rows = [{**dict(zip(columns, key, strict=True)), **_scored(found)} for key, found in pairs.items()]
    return {"rows": rows, "by": by}


GROUPINGS: Mapping[str, Callable[[Experiment], tuple[str, ...]]] = {
    "task": lambda _: (),
    "day": lambda experiment: (datetime.fromtimestamp(experiment.started_at, UTC).date().isoformat(),),
    "experiments": lambda experiment: (_ten(experiment.index),),
}
"""What rows are told apart by, beside task and metric: nothing, the day in UTC, or tens of a task's experiments."""


def _ten(index: int) -> str:
    first = index // _TENS * _TENS
    return f"{first + 1}-{first + _TENS}"


def _runs(store: Store) -> list[list[Any]]:
    return store.sql("SELECT run_id, name, task FROM runs").rows


def _told_apart(tasks: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """The names of tasks; where several on different models, platforms or engines have one name, with these."""
    whom = [tuple(str(task[field]) for field in _SERVED if task.get(field)) for _, task in tasks]
    served: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for (name, _), own in zip(tasks, whom, strict=True):
        served[name].add(own)
    return [
        f"{name} ({', '.join(own)})" if len(served[name]) > 1 else name
        for (name, _), own in zip(tasks, whom, strict=True)
    ]


def _operating_point(task: str) -> _Point:
    """How to find the point that a task's promises are about; the first where a task of another version cannot be
    read."""
    from pydantic import ValidationError

    from servecast.tuning.spec import TaskSpec

    try:
        known = TaskSpec.model_validate_json(task)
    except ValidationError:
        return _first
    wanted = known.load.workloads()[known.at]
    return lambda experiment: experiment.point_under(wanted)


def _first(experiment: Experiment) -> PointResult | None:
    return experiment.points[0] if experiment.points else None


def _value(point: PointResult | None, name: str) -> float:
    """The measured value of a metric, or of a statistic of one ("e2e_s_p90"); NaN without one."""
    if point is None:
        return math.nan
    from servecast.tuning.spec import split_statistic

    value = point.value(*split_statistic(name))
    return math.nan if value is None else value


def _scored(found: Sequence[tuple[Interval, float]]) -> dict[str, Any]:
    mean, low, high, value = np.array([(p.mean, p.lo, p.hi, value) for p, value in found]).T
    figures = score(value, np.log(mean / value), np.log(high / low) / (2.0 * Z90))
    held = float(((low <= value) & (value <= high)).mean())  # a promised interval need not lie around its mean
    return asdict(replace(figures, coverage90=held))


def say_promises(answer: Mapping[str, Any]) -> None:
    """One table: tasks and their metrics, in the order of their experiments."""
    rows = answer["rows"]
    columns = [name for name in ("task", answer["by"], "metric", *_SHOWN) if name in rows[0]]
    print_table(list(dict.fromkeys(columns)), [[row[name] for name in dict.fromkeys(columns)] for row in rows])
