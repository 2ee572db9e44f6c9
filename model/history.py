"""Measured rows of the database as training data: analytic answers, features and log residuals, row by row.

A *group* is model × platform × engine; a *scenario* is a group with its number of devices, lengths and arrival process:
what differs within a scenario is the config and the load.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from model.architecture import Architecture, resolve_model
from model.derived import mean_over_median
from model.descriptors import describe
from model.knobs import Points, points_of
from model.load import ARRIVALS, Load
from model.memory import memory
from model.prediction import Floats
from model.serving import serve
from perfdb.errors import ServecastError, UnknownNameError
from perfdb.facts.engines import EngineFacts, engine
from perfdb.facts.models import canonical_model
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Origin, Outcome

Ints = npt.NDArray[np.int64]
Columns = Mapping[str, npt.NDArray[Any]]
Resolver = Callable[[Grid, Load], Points]
"""From m configs and their loads to points, for one model, platform, engine and number of devices."""

FAMILIES = ("ttft_s", "tpot_s", "e2e_s")
"""Metrics with a residual of their own; throughput in a closed loop or batch has that of e2e, with the other sign."""

_USABLE_OUTCOMES = {None, "", Outcome.OK.value}
_USABLE_ORIGINS = {None, "", Origin.MEASURED.value, Origin.DERIVED.value}


@dataclass(frozen=True)
class Training:
    """m usable rows: `rows` their places in the database's answer, `group` and `scenario` numbers (`m`), `features`
    `m x d`, `residual[family]` log(measured / analytic), NaN where not measured; `skipped` reason -> rows left out."""

    rows: Ints
    group: Ints
    scenario: Ints
    groups: tuple[tuple[str, str, str], ...]
    features: Floats
    residual: Mapping[str, Floats]
    skipped: Mapping[str, int]


def engine_facts(name: str) -> EngineFacts:
    """The facts of an engine; one that is not known has no parameters and takes the model's defaults."""
    try:
        return engine(name)
    except UnknownNameError:
        return EngineFacts(name, {}, launches=False, source="unknown engine")


def column(history: Columns, name: str, n: int) -> npt.NDArray[Any]:
    """A column of the database's answer, None throughout where it has none."""
    found = history.get(name)
    return np.full(n, None, object) if found is None else found


def numbers(history: Columns, name: str, n: int) -> Floats:
    """A column as float64, NaN where unknown."""
    return np.asarray(column(history, name, n), dtype=object).astype(np.float64)


def size(history: Columns) -> int:
    """Rows of the database's answer."""
    return len(next(iter(history.values()))) if history else 0


def loads(history: Columns) -> tuple[Load, npt.NDArray[np.bool_]]:
    """The load of every row, and which rows state lengths and load; the others hold placeholders of 1."""
    n = size(history)
    wanted = column(history, "arrival", n).astype(object)
    rate = numbers(history, "request_rate", n)
    amounts = {
        Arrival.CLOSED: numbers(history, "concurrency", n),
        Arrival.BATCH: numbers(history, "batch_size", n),
        Arrival.POISSON: np.where(np.isfinite(rate), rate, np.nan),
        Arrival.CONSTANT: np.where(np.isfinite(rate), rate, np.nan),
    }
    codes, amount = np.full(n, -1), np.full(n, np.nan)
    silent = np.array([name is None or name == "" for name in wanted], bool) | np.isinf(rate)
    for code, way in enumerate(ARRIVALS):
        takes = (codes < 0) & np.isfinite(amounts[way]) & (silent | (wanted == way.value))
        codes[takes], amount[takes] = code, amounts[way][takes]
    isl, osl = numbers(history, "isl", n), numbers(history, "osl", n)
    valid = (codes >= 0) & (isl > 0) & (osl > 0) & (amount > 0)
    requests = numbers(history, "requests", n)
    lengths = column(history, "lengths", n)
    alike = np.array([0.5 if text is None else float(str(text).startswith("D")) for text in lengths])
    safe = [np.where(valid, values, 1.0) for values in (isl, osl, amount)]
    known = np.where(np.isfinite(requests) & (requests > 0), requests, np.inf)
    return Load(safe[0], safe[1], np.where(valid, codes, 0), safe[2], known, alike), valid


def measured(history: Columns, name: str, rows: Ints) -> Floats:
    """Measured values of `name` (the mean, or what the median says of it) in the given rows, NaN where not positive."""
    part = {key: history[key][rows] for key in (name, f"{name}_p50") if key in history}
    mean, median = numbers(part, name, len(rows)), numbers(part, f"{name}_p50", len(rows))
    values = np.where(np.isfinite(mean), mean, median * mean_over_median(name))
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def usable(history: Columns) -> npt.NDArray[np.bool_]:
    """Rows of successful measurements (nothing simulated or predicted)."""
    n = size(history)
    outcome, origin = column(history, "outcome", n), column(history, "origin", n)
    return np.array(
        [o in _USABLE_OUTCOMES and s in _USABLE_ORIGINS for o, s in zip(outcome, origin, strict=True)], bool
    )


def training(history: Columns, local: Architecture | None = None) -> Training:
    """Everything that residuals can be learned from; rows whose model, platform or load is not known are left out.

    `local` describes a model that is known by its files alone: rows under its name are used too.
    """
    n = size(history)
    load, valid = loads(history)
    skipped: dict[str, int] = {}
    _count(skipped, "not a successful measurement", ~usable(history))
    _count(skipped, "lengths or load unknown", usable(history) & ~valid)
    keep = usable(history) & valid
    names = [column(history, name, n) for name in ("model", "platform", "engine")]
    names.append(np.nan_to_num(numbers(history, "devices", n), nan=1.0))
    contexts: dict[tuple[Any, ...], list[int]] = {}
    for row in np.flatnonzero(keep):
        contexts.setdefault(tuple(values[row] for values in names), []).append(int(row))
    configs = column(history, "config", n)
    parts = []
    for key, members in contexts.items():
        rows = np.array(members)
        try:
            resolve = _resolver(key, local)
        except ServecastError as error:
            _skip(skipped, error, len(rows))
            continue
        wrong = unreadable(resolve, configs[rows], load.take(rows))
        for refused in wrong.values():
            _skip(skipped, refused, 1)
        rows = np.delete(rows, list(wrong))
        if len(rows):
            parts.append((key, rows, resolve(grid_of(configs[rows]), load.take(rows))))
    return _assemble(history, parts, skipped)


def _skip(skipped: dict[str, int], error: ServecastError, rows: int) -> None:
    reason = str(error).split(";")[0]
    skipped[reason] = skipped.get(reason, 0) + rows


def _count(skipped: dict[str, int], reason: str, mask: npt.NDArray[np.bool_]) -> None:
    if mask.any():
        skipped[reason] = int(mask.sum())


def _resolver(key: tuple[Any, ...], local: Architecture | None) -> Resolver:
    model, place, served_by, devices = key
    architecture = local if local is not None and model == local.name else resolve_model(str(model))
    return partial(points_of, architecture, platform(str(place)), engine_facts(str(served_by)), int(devices))


def unreadable(resolve: Resolver, configs: npt.NDArray[Any], load: Load) -> dict[int, ServecastError]:
    """Which of m rows have a config (JSON text) that cannot be read, and why: one such row must not cost the others."""
    try:
        resolve(grid_of(configs), load)
    except ServecastError:
        errors = {text: _error_of(resolve, text, load) for text in set(configs.tolist())}
        found = ((row, errors[text]) for row, text in enumerate(configs.tolist()))
        return {row: error for row, error in found if error is not None}
    return {}


def _error_of(resolve: Resolver, text: object, load: Load) -> ServecastError | None:
    try:
        resolve(grid_of(np.array([text], object)), load.take(np.zeros(1, np.int64)))
    except ServecastError as error:
        return error
    return None


def grid_of(configs: npt.NDArray[Any]) -> Grid:
    """Configs given as JSON text, as a grid; equal texts are read once."""
    read = {text: json.loads(text) if text else {} for text in set(configs.tolist())}
    return Grid.of([read[text] for text in configs.tolist()])


def group_of(points: Points) -> tuple[str, str, str]:
    """One name for each model, platform and engine, however it was spelled."""
    model = points.architecture.name
    return (canonical_model(model) or model, points.platform.name, points.engine.name)


def _assemble(
    history: Columns, parts: list[tuple[tuple[Any, ...], Ints, Points]], skipped: Mapping[str, int]
) -> Training:
    groups: dict[tuple[str, str, str], int] = {}
    scenarios: dict[tuple[Any, ...], int] = {}
    rows, group, scenario, features = [], [], [], []
    residual: dict[str, list[Floats]] = {name: [] for name in FAMILIES}
    for key, members, points in parts:
        answer = serve(points, memory(points).sequences)
        number = groups.setdefault(group_of(points), len(groups))
        load = points.load
        places = zip(load.isl, load.osl, load.arrival, strict=True)
        scenario.append(np.array([scenarios.setdefault((number, key[3], *place), len(scenarios)) for place in places]))
        rows.append(members)
        group.append(np.full(len(members), number))
        features.append(describe(points, answer))
        found = residuals(history, members, points, answer.metrics)
        for name in FAMILIES:
            residual[name].append(found[name])
    if not rows:
        empty = np.zeros(0, np.int64)
        return Training(empty, empty, empty, (), np.zeros((0, 0)), {name: np.zeros(0) for name in FAMILIES}, skipped)
    return Training(
        np.concatenate(rows),
        np.concatenate(group),
        np.concatenate(scenario),
        tuple(groups),
        np.concatenate(features),
        {name: np.concatenate(values) for name, values in residual.items()},
        skipped,
    )


def residuals(history: Columns, rows: Ints, points: Points, analytic: Mapping[str, Floats]) -> dict[str, Floats]:
    """log(measured / analytic) of each family for the given rows. What one metric implies for another is used: itl for
    tpot, and throughput for e2e where the load is a closed loop or a batch (Little's law)."""
    load = points.load

    def ratio(name: str) -> Floats:
        return np.log(measured(history, name, rows) / analytic[name])

    tpot = ratio("tpot_s")
    e2e = ratio("e2e_s")
    throughput = ratio("output_tps")
    for name in ("total_tps", "request_tps"):
        throughput = np.where(np.isfinite(throughput), throughput, ratio(name))
    implied = np.where(load.is_open, np.nan, -throughput)
    return {
        "ttft_s": ratio("ttft_s"),
        "tpot_s": np.where(np.isfinite(tpot), tpot, ratio("itl_s")),
        "e2e_s": np.where(np.isfinite(e2e), e2e, implied),
    }
