"""Measured rows of the database as training data: analytic answers, features and log residuals, row by row.

A *group* is model × platform × engine × number format of the weights; a *context* is model × platform × engine, its
version and the number of devices.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from model.checkpoint.architecture import Architecture, resolve_model
from model.closed_form.serving import serve, without_slot_waits
from model.derived import mean_over_median
from model.knobs import points_of
from model.learning.descriptors import describe, version_number
from model.load import ARRIVALS, Load, at_most_sent, means_drawn, variety
from model.memory import memory
from model.points import Points
from model.prediction import Floats
from model.tables.shelf import NO_TABLES, Shelf
from perfdb.errors import ServecastError, UnknownNameError
from perfdb.facts.engines import EngineFacts, engine
from perfdb.facts.models import canonical_model
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Origin, Outcome

Ints = npt.NDArray[np.int64]
Columns = Mapping[str, npt.NDArray[Any]]
Resolver = Callable[[Grid, Load], Points]
"""From m configs and their loads to points, for one model, platform, engine and number of devices."""

Group = tuple[str, str, str, str]
"""Canonical names of model, platform and engine, and of the weights' number format."""

FAMILIES = ("ttft_s", "tpot_s", "e2e_s")
"""Metrics with a residual of their own; throughput in a closed loop or batch has that of e2e, with the other sign."""

_USABLE_OUTCOMES = {None, "", Outcome.OK.value}
_USABLE_ORIGINS = {None, "", Origin.MEASURED.value, Origin.DERIVED.value}


@dataclass(frozen=True)
class Training:
    """m usable rows: `rows` their places in the database's answer, `group` numbers (`m`), `features` `m x d`,
    `residual[family]` log(measured / analytic), NaN where not measured; `analytic` seconds of the same, and `sequences`
    that decode in a step, NaN where tokens are drafted (`m`); `of_tables` whether any of the platform's kernels were
    measured (`m`); `skipped` reason -> rows left out."""

    rows: Ints
    group: Ints
    groups: tuple[Group, ...]
    features: Floats
    residual: Mapping[str, Floats]
    analytic: Mapping[str, Floats]
    sequences: Floats
    of_tables: npt.NDArray[np.bool_]
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
    lengths = [None if text is None else str(text) for text in column(history, "lengths", n)]
    alike, deviation = np.array([variety(text) for text in lengths]).reshape(-1, 2).T
    isl, osl = np.array(list(map(means_drawn, lengths, isl.tolist(), osl.tolist()))).reshape(-1, 2).T
    safe = [np.where(valid, values, 1.0) for values in (isl, osl, amount)]
    known = np.where(np.isfinite(requests) & (requests > 0), requests, np.inf)
    arrival = np.where(valid, codes, 0)
    amount = at_most_sent(arrival, safe[2], known)
    return Load(safe[0], safe[1], arrival, amount, known, alike, deviation), valid


def measured(history: Columns, name: str, rows: Ints) -> Floats:
    """Measured values of `name` (the mean, or what the median says of it) in the given rows, NaN where not positive."""
    part = {key: history[key][rows] for key in (name, f"{name}_p50") if key in history}
    mean, median = numbers(part, name, len(rows)), numbers(part, f"{name}_p50", len(rows))
    values = np.where(np.isfinite(mean), mean, median * mean_over_median(name))
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def refusals(history: Columns) -> npt.NDArray[Any]:
    """Why a row cannot be used, whatever its model, `n`, None where it can: it is no measurement of a server whose size
    and load are told and that prefills and decodes on the same devices."""
    n = size(history)
    outcome, origin = column(history, "outcome", n), column(history, "origin", n)
    failed = [o not in _USABLE_OUTCOMES or s not in _USABLE_ORIGINS for o, s in zip(outcome, origin, strict=True)]
    split = {text: _is_disaggregated(text) for text in set(column(history, "config", n).tolist())}
    checks: tuple[tuple[str, Any], ...] = (
        ("number of devices unknown", "devices" in history and np.isnan(numbers(history, "devices", n))),
        ("lengths or load unknown", ~loads(history)[1]),
        ("prefill and decode on devices of their own", [split[text] for text in column(history, "config", n).tolist()]),
        ("not a successful measurement", failed),
    )
    reasons = np.full(n, None, object)
    for reason, applies in checks:
        reasons[np.broadcast_to(np.asarray(applies, bool), n)] = reason
    return reasons


def _is_disaggregated(config: object) -> bool:
    return isinstance(config, str) and '"disagg"' in config and json.loads(config).get("mode") == "disagg"


def usable(history: Columns) -> npt.NDArray[np.bool_]:
    """Rows without one of the `refusals`."""
    return np.array([reason is None for reason in refusals(history)], bool)


def training(history: Columns, local: Architecture | None = None, shelf: Shelf = NO_TABLES) -> Training:
    """Everything that residuals can be learned from; rows whose model, platform or load is not known are left out.

    `local` describes a model that is known by its files alone: rows under its name are used too. Analytic answers take
    the operation tables of `shelf`.
    """
    n = size(history)
    load = loads(history)[0]
    reasons = refusals(history)
    skipped = dict(Counter(reason for reason in reasons.tolist() if reason is not None))
    names = [column(history, name, n) for name in ("model", "platform", "engine", "engine_version")]
    names.append(np.nan_to_num(numbers(history, "devices", n), nan=1.0))
    contexts: dict[tuple[Any, ...], list[int]] = {}
    for row in np.flatnonzero(usable(history)):
        contexts.setdefault(tuple(values[row] for values in names), []).append(int(row))
    configs = column(history, "config", n)
    parts = []
    for key, members in contexts.items():
        rows = np.array(members)
        try:
            resolve = _resolver(key, local, shelf)
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


def _resolver(key: tuple[Any, ...], local: Architecture | None, shelf: Shelf) -> Resolver:
    model, place, served_by, version, devices = key
    architecture = local if local is not None and model == local.name else resolve_model(str(model))
    hardware, facts = platform(str(place)), engine_facts(str(served_by)).at(version)
    tables = shelf.of(hardware, facts.name, version)
    return partial(points_of, architecture, hardware, facts, int(devices), tables=tables)


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


def groups_of(points: Points) -> tuple[list[Group], Ints]:
    """The groups of n rows, each under one name however it was spelled, and each row's place among them, `n`."""
    model = points.architecture.name
    names = (canonical_model(model) or model, points.platform.name, points.engine.name)
    return [(*names, number_format) for number_format in points.weight_names], points.weight_row


def _assemble(
    history: Columns, parts: list[tuple[tuple[Any, ...], Ints, Points]], skipped: Mapping[str, int]
) -> Training:
    none, nothing = np.zeros(0), dict.fromkeys(FAMILIES, np.zeros(0))
    if not parts:
        return Training(
            none.astype(int), none.astype(int), (), np.zeros((0, 0)), nothing, nothing, none, none > 0, skipped
        )
    groups: dict[Group, int] = {}
    taught = [_taught_by(history, rows, points, key[3], groups) for key, rows, points in parts]
    names = ("rows", "group", "features", "sequences", "of_tables")
    rows, group, features, sequences, of_tables = (
        np.concatenate([getattr(part, name) for part in taught]) for name in names
    )
    residual, analytic = (
        {family: np.concatenate([getattr(part, name)[family] for part in taught]) for family in FAMILIES}
        for name in ("residual", "analytic")
    )
    return Training(rows, group, tuple(groups), features, residual, analytic, sequences, of_tables, skipped)


def _taught_by(history: Columns, rows: Ints, points: Points, version: object, groups: dict[Group, int]) -> Training:
    """What the given rows of one context teach; groups that are new get the next number."""
    room = memory(points).room
    answer = serve(points, room)
    unqueued = without_slot_waits(points, room)
    served = answer if unqueued is points else serve(unqueued, room)
    names, place = groups_of(points)
    numbers_of = np.array([groups.setdefault(name, len(groups)) for name in names])
    return Training(
        rows,
        numbers_of[place],
        tuple(names),
        describe(unqueued, served, version_number(version)),
        residuals(history, rows, points, answer.metrics),
        {name: answer.metrics[name] for name in FAMILIES},
        np.where(points.draft_tokens > 0, np.nan, answer.active / points.pp),
        np.full(len(rows), points.tables is not None and bool(points.tables.sets)),
        {},
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
