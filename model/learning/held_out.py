"""Predictions of what a database holds, made without it: folds that keep groups whole, and a few rows given back.

A *point* is what was measured under one set of inputs; a *group* is model × platform × engine × precision.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.checkpoint.architecture import resolve_model
from model.dtypes import dtype
from model.learning.history import Columns, column, engine_facts, grid_of, loads, measured, numbers, size, training
from model.learning.intervals import folds
from model.load import ARRIVALS, Load
from model.missing import is_missing
from model.prediction import Bools, Floats
from model.question import Question
from model.surrogate import Surrogate
from model.tables.shelf import NO_TABLES, Shelf
from perfdb.errors import UnknownNameError
from perfdb.facts.models import canonical_model
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Target, Workload

Ints = npt.NDArray[np.int64]

FOLD_KINDS = ("group", "random", "none")
"""Whole groups are held out; rows are, whatever their group (which leaks); nothing measured is known at all."""
FOLDS = 10
APART = 1.5
"""Repeats further apart than this factor are told apart from the others: something unsaid differs between them."""
SCORED = ("ttft_s", "tpot_s", "itl_s", "e2e_s", "output_tps", "total_tps", "request_tps")
_INPUTS = (
    *("model", "platform", "devices", "engine", "engine_version", "config", "isl", "osl", "arrival", "concurrency"),
    *("request_rate", "batch_size", "lengths", "requests", "warmup_requests", "client"),
)
_SCENARIO = ("model", "platform", "engine", "engine_version", "devices", "isl", "osl")


@dataclass(frozen=True)
class MeasuredPoints:
    """n points that can be predicted, as columns like the database's; `group` their names and `apart` whether repeats
    disagree, `n`; `refused` reason -> points that cannot be predicted."""

    columns: Columns
    group: npt.NDArray[Any]
    apart: Bools
    refused: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.group)

    def take(self, rows: Ints | Bools) -> Columns:
        """Some of the points, as columns."""
        return {name: values[rows] for name, values in self.columns.items()}


@dataclass(frozen=True)
class Predicted:
    """Of each of `SCORED` log(predicted / measured) and the predicted sd of that log, `n`, NaN where not predicted."""

    error: Mapping[str, Floats]
    sd: Mapping[str, Floats]


def measured_points(history: Columns) -> MeasuredPoints:
    """Rows that are equal in all inputs become one point with their median; what cannot be predicted is refused."""
    found = training(history)
    rows = np.sort(found.rows)
    usable = {name: values[rows] for name, values in history.items()}
    names = [name for name in _INPUTS if name in usable]
    keys = zip(*(_comparable(usable[name]) for name in names), strict=True)
    places: dict[tuple[object, ...], list[int]] = {}
    for row, key in enumerate(keys):
        places.setdefault(key, []).append(row)
    first = np.array([members[0] for members in places.values()], np.int64)
    columns = {name: values[first].copy() for name, values in usable.items()}
    apart = np.zeros(len(first), bool)
    for point, members in enumerate(places.values()):
        if len(members) > 1:
            apart[point] = _merge(usable, columns, point, members)
    return MeasuredPoints(columns, _groups(columns), apart, found.skipped)


def _comparable(values: npt.NDArray[Any]) -> list[object]:
    return [None if is_missing(value) else value for value in values.tolist()]


def _merge(rows: Columns, columns: Columns, point: int, members: Sequence[int]) -> bool:
    """Put the medians of all metrics into the columns; whether what is scored differs too much."""
    apart = False
    for name, values in rows.items():
        if name in _INPUTS or values.dtype.kind != "f":
            continue
        known = values[members][np.isfinite(values[members])]
        columns[name][point] = np.median(known) if len(known) else np.nan
        apart |= name in SCORED and len(known) > 1 and bool(known.max() > APART * known.min())
    return apart


def _groups(columns: Columns) -> npt.NDArray[Any]:
    n = size(columns)
    texts = [column(columns, name, n).tolist() for name in ("model", "platform", "engine", "config")]
    labels: dict[tuple[Any, ...], str] = {key: _group(*key) for key in set(zip(*texts, strict=True))}
    return np.array([labels[key] for key in zip(*texts, strict=True)], object)


def _group(model: str, place: str, served_by: str, config: str | None) -> str:
    facts = engine_facts(served_by)
    values = json.loads(config) if config else {}
    names = ["precision", *(p.name for p in facts.parameters.values() if p.role == "weight_dtype")]
    told = next((str(values[name]) for name in names if values.get(name)), "unknown")
    with suppress(UnknownNameError):
        told = dtype(told).name
    return " × ".join((canonical_model(model) or model, platform(place).name, facts.name, told))


def held_out_folds(points: MeasuredPoints, kind: str, seed: int = 0) -> Iterator[tuple[Bools, Columns]]:
    """Masks of held-out points, `n`, and the history that is known when they are predicted."""
    if kind == "none":
        yield np.ones(len(points), bool), {}
        return
    labels = np.unique(points.group, return_inverse=True)[1]
    if kind == "random":
        labels = np.random.default_rng(seed).permutation(len(points))
    for held in folds(labels, FOLDS):
        yield held, points.take(~held)


def predict_held_out(
    points: MeasuredPoints,
    kind: str,
    shots: Sequence[int],
    least: int,
    seed: int = 0,
    shelf: Shelf = NO_TABLES,
) -> dict[int, Predicted]:
    """Predict every point without its fold, for each number of shots.

    Args:
        points: what to predict, and what to know.
        kind: one of `FOLD_KINDS`.
        shots: how many held-out points of a group, drawn at random, are known all the same; only the others of it are
            predicted then, and only in groups of at least `least` points.
        least: see `shots`.
        seed: of the draws.
        shelf: the operation tables that steps are made of.
    """
    answers = {count: _nothing(len(points)) for count in shots}
    order = np.random.default_rng(seed).random(len(points))
    for held, known in held_out_folds(points, kind, seed):
        base = Surrogate.fit(known, shelf)
        for count in shots:
            if count == 0:
                _predict(base, points, np.flatnonzero(held), answers[0])
                continue
            for name in np.unique(points.group[held].astype(str)):
                members = np.flatnonzero(held & (points.group == name))
                members = members[np.argsort(order[members])]
                if (points.group == name).sum() >= least and len(members) > count:
                    told = base.taught(points.take(members[:count]))
                    _predict(told, points, np.sort(members[count:]), answers[count])
    return answers


def _nothing(n: int) -> Predicted:
    return Predicted(*({name: np.full(n, np.nan) for name in SCORED} for _ in range(2)))


def _predict(surrogate: Surrogate, points: MeasuredPoints, rows: Ints, answer: Predicted) -> None:
    """Predict some points, one call for all that differ in config and load alone, and note the errors."""
    load = loads(points.columns)[0]
    lengths = column(points.columns, "lengths", len(points))
    names = [points.columns[name].tolist() if name in points.columns else [None] * len(points) for name in _SCENARIO]
    scenarios: dict[tuple[object, ...], list[int]] = {}
    for row in rows.tolist():
        key = (*(values[row] for values in names), int(load.arrival[row]), lengths[row])
        scenarios.setdefault(tuple(None if is_missing(part) else part for part in key), []).append(row)
    for members in scenarios.values():
        places = np.array(members)
        question = _question(points, places, load)
        values = {name: measured(points.columns, name, places) for name in SCORED}
        asked = [name for name, found in values.items() if np.isfinite(found).any()]
        estimates = surrogate.predict(question, asked, load.take(places)).metrics
        for name in asked:
            answer.error[name][places] = estimates[name].log_mean - np.log(values[name])
            answer.sd[name][places] = estimates[name].log_sd


def _question(points: MeasuredPoints, places: Ints, load: Load) -> Question:
    row = int(places[0])
    model, place, served_by, version = (
        column(points.columns, name, len(points))[row] for name in ("model", "platform", "engine", "engine_version")
    )
    devices = np.nan_to_num(numbers(points.columns, "devices", len(points)), nan=1.0)[row]
    arrival, amount = ARRIVALS[load.arrival[row]], float(load.amount[row])
    workload = Workload(
        isl=float(numbers(points.columns, "isl", len(points))[row]),
        osl=float(numbers(points.columns, "osl", len(points))[row]),
        arrival=arrival,
        concurrency=int(amount) if arrival is Arrival.CLOSED else None,
        request_rate=amount if arrival in {Arrival.POISSON, Arrival.CONSTANT} else None,
        batch_size=int(amount) if arrival is Arrival.BATCH else None,
        lengths=column(points.columns, "lengths", len(points))[row],
    )
    target = Target(str(model), platform(place).name, engine_facts(served_by).name, int(devices), version)
    grid = grid_of(column(points.columns, "config", len(points))[places])
    return Question(target, resolve_model(str(model)), platform(place), workload, grid)
