"""What would happen: the model's answer for configs that nobody ran, from everything that the database holds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from itertools import repeat
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from model.architecture import resolve_model
from model.knobs import ROLES
from model.prediction import Estimate, GridPrediction
from model.question import Question, analyse
from model.scenario import ScenarioIndex
from model.surrogate import Surrogate
from model.tables.said import listening
from perfdb.errors import InputError
from perfdb.facts.engine_names import name_and_version
from perfdb.facts.engines import EngineFacts, engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Target, Workload
from perfdb.store import State, Store
from search.space import ConfigSpace, Parameter
from servecast.first_learning import say_learning
from servecast.kernel_tables import shelf_of
from servecast.output import cell_text, note, print_table
from servecast.space import devices_of
from servecast.whatif_notes import notes_of

Answered = tuple[npt.NDArray[np.int64], Question, GridPrediction]
"""Rows of a grid, the question about them and its answer."""
MOST_TOKENS = 1e9
_AT_ONCE = 4096
"""Configs of several numbers of devices that are asked for at once: more take their memory in parts."""
MOST_LINES, MOST_ROWS = 50, 10_000
"""Configs that a person is shown, and that a document of a larger grid holds: a million rows are a gigabyte."""
SHOWN = ("ttft_s", "tpot_s", "output_tps", "e2e_s", "itl_s", "request_tps", "output_tps_per_gpu")


def surrogate(store: Store, without_run: str | None = None) -> Surrogate:
    """The fitted model for the database as it is on disk now; fitted once per state of the file and process."""
    return _fitted(store.state, without_run)


@lru_cache(maxsize=4)
def _fitted(state: State, without_run: str | None) -> Surrogate:
    history = state.store.results()
    if without_run is not None and len(history["run_id"]):
        keep = np.array([run != without_run for run in history["run_id"]], dtype=bool)
        history = {name: column[keep] for name, column in history.items()}
    shelf = shelf_of(state.store)
    say_learning(history, shelf)
    return Surrogate.fit(history, shelf)


@dataclass(frozen=True)
class WhatIf:
    """One question of a user: names as typed, and per parameter the values whose product is asked for.

    Earlier prompts brought `reused` tokens of each prompt.
    """

    model: str
    platform: str
    engine: str
    workload: Workload
    sets: Mapping[str, tuple[Scalar, ...]]
    devices: int | None = None
    reused: float = 0.0

    @cached_property
    def version(self) -> str | None:
        """The engine's version, if one was given."""
        return name_and_version(self.engine)[1]

    @cached_property
    def facts(self) -> EngineFacts:
        """The engine, named "engine" or "engine:version".

        Raises:
            UnknownNameError: it is not known.
        """
        return engine(name_and_version(self.engine)[0])

    def grid(self) -> Grid:
        """The product of the values, n configs.

        Raises:
            UnknownNameError: the engine has no such parameter. InputError: two names mean one parameter, or there are
                too many combinations.
        """
        known = self.facts.parameters
        sets = own_names(self.facts, self.sets)
        # A grid needs a column to have a row: without --set the engine's first parameter is left to the engine.
        chosen = sets or {next(iter(known)): (None,)}
        return ConfigSpace(
            tuple(Parameter(name, values, known[name].applied) for name, values in chosen.items())
        ).grid()

    def questions(
        self, grid: Grid, scenarios: ScenarioIndex | None = None
    ) -> Iterator[tuple[npt.NDArray[np.int64], Question]]:
        """Rows of the grid and the question about them, one for each number of devices that configs take.

        With `scenarios`, and unless the grid is large, one for all those on which nothing was measured: there, answers
        do not depend on what else is asked. Its target has the fewest of them.

        Raises:
            UnknownNameError: the model, platform or engine is not known. ModelError, FileError: the model's files.
        """
        architecture, hardware = resolve_model(self.model), platform(self.platform)
        needed = devices_of(grid, self.facts)
        if self.devices and needed.max() > self.devices:
            what = f"a config takes {needed.max()} devices (tp x pp x dp)"
            raise InputError.at(f"--devices {self.devices}", what, "as many devices as the largest config takes")
        devices = np.full(len(grid), self.devices) if self.devices else needed
        target = Target(architecture.name, hardware.name, self.facts.name, int(devices.min()), self.version)
        whole = Question(target, architecture, hardware, self.workload, grid, reused=self.reused)
        apart = devices
        if scenarios is not None and len(grid) <= _AT_ONCE:
            apart = np.where(np.isin(devices, list(scenarios.places(whole))), devices, 0)
        for number in sorted(set(apart.tolist())):
            rows = np.flatnonzero(apart == number)
            if len(rows) == len(grid):
                yield rows, whole
            else:
                here = replace(target, devices=int(devices[rows].min()))
                yield rows, replace(whole, target=here, grid=grid.take(rows))


def own_names(facts: EngineFacts, sets: Mapping[str, tuple[Scalar, ...]]) -> dict[str, tuple[Scalar, ...]]:
    """Parameters by the engine's own names.

    Raises:
        UnknownNameError: the engine has no such parameter. InputError: two names mean the same one.
    """
    found: dict[str, tuple[Scalar, ...]] = {}
    for text, values in sets.items():
        name = facts.parameter(text).name
        if name in found:
            raise InputError.at(f"--set {text}", f"{name} stands twice", "each parameter once")
        found[name] = values
    return found


def unseen_parameters(facts: EngineFacts, sets: Mapping[str, tuple[Scalar, ...]]) -> list[str]:
    """A sentence where some of the given parameters change nothing that the closed form knows of."""
    own = [facts.parameters[name] for name in own_names(facts, sets)]
    names = [parameter.name for parameter in own if parameter.role not in ROLES]
    what = "the closed form, which only measured configs can tell apart by it"
    return [f"{', '.join(names)}: not seen by {what}"] if names else []


def whatif(asked: WhatIf, store: Store, explained: bool = False, most: int | None = None) -> dict[str, Any]:
    """Predict the product of the given values; returns the document of the command.

    Args:
        asked: the question.
        store: what is known.
        explained: "explain" holds the config of the best throughput and where the time of its steps goes.
        most: "rows" holds only so many configs, those that fit and have the best throughput first; else all, in order.

    Raises:
        See `WhatIf.grid`, `WhatIf.questions` and `model.surrogate.Surrogate.predict`.
    """
    started = time.process_time()
    grid, model = asked.grid(), surrogate(store)
    with listening() as said:
        answers = [
            (places, question, model.predict(question, SHOWN))
            for places, question in asked.questions(grid, model.scenarios)
        ]
    shown = _best(answers, len(grid), most)
    rows: dict[int, dict[str, Any]] = {}
    for places, question, answer in answers:
        at = np.flatnonzero(np.isin(places, shown)) if most is not None else np.arange(len(places))
        described = rows_of_grid(answer, question.grid if asked.sets else None, at)
        rows.update(zip(places[at].tolist(), described, strict=True))
    document: dict[str, Any] = {"mode": "agg", "rows": [rows[place] for place in shown.tolist()], "configs": len(grid)}
    document["warnings"] = [*sorted(said), *unseen_parameters(asked.facts, asked.sets)]
    if explained:
        best = int(_best(answers, len(grid), 1)[0])
        document["explain"] = _explained(asked, grid.take(np.array([best])), model)
    return {**document, "cpu_s": time.process_time() - started}


def _best(answers: Sequence[Answered], n: int, most: int | None) -> npt.NDArray[np.int64]:
    """The rows of the grid to show: all of them, or so many, the best first."""
    if most is None:
        return np.arange(n)
    rank = np.empty(n)
    for places, _, answer in answers:
        rank[places] = np.where(answer.feasible, -answer.metrics["output_tps"].mean, np.inf)
    return np.argsort(rank, kind="stable")[:most]


def best_rows(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Rows of a document: all in order, or where there are more only so many, the best throughput that fits first."""
    if len(rows) <= most:
        return list(rows)
    return sorted(rows, key=lambda row: (not row["feasible"], -row["output_tps"]["mean"]))[:most]


def _explained(asked: WhatIf, grid: Grid, model: Surrogate) -> dict[str, Any]:
    """Where the time of the one config of `grid` goes."""
    from model.steps.explain import explain

    _, question = next(asked.questions(grid))
    found = analyse(replace(question, shelf=model.shelf))
    parts = explain(found.points, 0, found.serving.active.item())
    steps = {step: [asdict(share) for share in shares] for step, shares in parts.items()}
    config = {name: column.tolist()[0] for name, column in grid.columns.items()} if asked.sets else {}
    return {"config": config, "active": found.serving.active.item(), **steps}


def rows_of_grid(answer: GridPrediction, grid: Grid | None, at: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """One object for each config `at` its place; columns are turned whole, for a grid may have 100,000 rows."""
    names = [] if grid is None else list(grid.columns)
    columns = [] if grid is None else [grid.columns[name][at].tolist() for name in names]
    cells = zip(*columns, strict=True) if columns else repeat((), len(at))
    parts: dict[str, Iterable[Any]] = {
        "config": (dict(zip(names, row, strict=True)) for row in cells),
        "feasible": answer.feasible[at].tolist(),
        "reason": map(answer.reasons.get, at.tolist()),
        **{name: intervals(answer.metrics[name], at) for name in SHOWN if name in answer.metrics},
        "provenance": answer.provenance[at].tolist(),
    }
    return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]


def intervals(estimate: Estimate, at: npt.NDArray[np.int64]) -> list[dict[str, float] | None]:
    """The estimates of the rows `at` their places, as objects; None where there is nothing to estimate."""
    part = Estimate(estimate.log_mean[at], estimate.log_sd[at])
    ends = zip(part.mean.tolist(), part.lo.tolist(), part.hi.tolist(), strict=True)
    return [None if isnan(mean) else {"mean": mean, "lo": lo, "hi": hi} for mean, lo, hi in ends]


def workload_of(isl: float, osl: float, concurrency: int | None, rate: float | None, batch: int | None) -> Workload:
    """The operating point of a question; exactly one load must be given.

    Raises:
        InputError: none or several of concurrency, rate and batch.
    """
    loads = {"--concurrency": concurrency, "--rate": rate, "--batch": batch}
    given = [flag for flag, value in loads.items() if value is not None]
    if len(given) != 1:
        raise InputError.at("load", f"{' and '.join(given) or 'none'} given", f"exactly one of {', '.join(loads)}")
    arrival = {"--concurrency": Arrival.CLOSED, "--rate": Arrival.POISSON, "--batch": Arrival.BATCH}[given[0]]
    for flag, value in (("--isl", isl), ("--osl", osl), (given[0], loads[given[0]])):
        if value is None or not 0 < value <= MOST_TOKENS:
            raise InputError.at(flag, f"{value} is out of range", f"a number above 0 and up to {MOST_TOKENS:.0e}")
    return Workload(isl=isl, osl=osl, arrival=arrival, concurrency=concurrency, request_rate=rate, batch_size=batch)


def say_whatif(answer: Mapping[str, Any]) -> None:
    """A table of the answer, best throughput first."""
    rows = sorted(answer["rows"], key=lambda row: (not row["feasible"], -row["output_tps"]["mean"]))
    shown = [name for name in SHOWN[:3] if rows and name in rows[0]]
    columns = [*(f"{name} [90 %]" for name in shown), "fits", "from", "config"]
    table = [
        [*(interval_text(row[name]) for name in shown), row["reason"] or True, row["provenance"], row["config"]]
        for row in rows
    ]
    print_table(columns, table)
    if len(rows) < answer["configs"]:
        note(f"{answer['configs'] - len(rows)} more; --top shows others, --json prints all")
    for text in notes_of(answer):
        note(text)
    if "explain" in answer:
        _say_explained(answer["explain"])


def _say_explained(found: Mapping[str, Any]) -> None:
    for step in ("prefill", "decode"):
        say_kernels(step, found[step], found["active"])


def say_kernels(step: str, shares: Sequence[Mapping[str, Any]], active: float) -> None:
    """A table of the kernels of a "prefill" step, or a "decode" step of `active` sequences."""
    of = "one prompt's chunk" if step == "prefill" else f"{active:.0f} sequences"
    total = sum(share["seconds"] for share in shares)
    table = [
        [share["name"], f"{share['seconds'] * 1e3:.3f} ms", f"{share['share']:.1%}", share["provenance"]]
        for share in shares
    ]
    print_table([step, "time", "share", "from"], table, f"\n{step} step of {of}: {total * 1e3:.2f} ms")


def interval_text(interval: Mapping[str, float] | None) -> str:
    """The mean and its 90 % interval."""
    if interval is None:
        return cell_text(None)
    return f"{cell_text(interval['mean'])} [{cell_text(interval['lo'])}, {cell_text(interval['hi'])}]"
