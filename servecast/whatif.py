"""What would happen: the model's answer for configs that nobody ran, from everything that the database holds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.architecture import resolve_model
from model.prediction import Estimate, GridPrediction
from model.question import Question, analyse
from model.surrogate import Surrogate
from perfdb.errors import InputError
from perfdb.facts.engines import EngineFacts, engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Target, Workload
from perfdb.store import Store
from search.space import ConfigSpace, Parameter
from servecast.kernel_tables import shelf_of
from servecast.output import cell_text, note, print_table
from servecast.space import devices_of

MOST_TOKENS = 1e9
SHOWN = ("ttft_s", "tpot_s", "output_tps", "e2e_s", "itl_s", "request_tps", "output_tps_per_gpu")


def surrogate(store: Store, without_run: str | None = None) -> Surrogate:
    """The fitted model for the database as it is on disk now; fitted once per state of the file and process."""
    return _fitted(store, file_identity(store.path), without_run)


def file_identity(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does: inode, size and time of change; None where there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=4)
def _fitted(store: Store, _identity: object, without_run: str | None) -> Surrogate:
    history = store.results()
    if without_run is not None and len(history["run_id"]):
        keep = np.array([run != without_run for run in history["run_id"]], dtype=bool)
        history = {name: column[keep] for name, column in history.items()}
    return Surrogate.fit(history, shelf_of(store))


@dataclass(frozen=True)
class WhatIf:
    """One question of a user: names as typed, and per parameter the values whose product is asked for."""

    model: str
    platform: str
    engine: str
    workload: Workload
    sets: Mapping[str, tuple[Scalar, ...]]
    devices: int | None = None

    @property
    def version(self) -> str | None:
        """The engine's version, if one was given."""
        return self.engine.partition(":")[2] or None

    @property
    def facts(self) -> EngineFacts:
        """The engine, named "engine" or "engine:version".

        Raises:
            UnknownNameError: it is not known.
        """
        return engine(self.engine.partition(":")[0])

    def grid(self) -> Grid:
        """The product of the values, n configs.

        Raises:
            UnknownNameError: the engine has no such parameter. InputError: there are too many combinations.
        """
        known = self.facts.parameters
        sets = {self.facts.parameter(name).name: values for name, values in self.sets.items()}
        # A grid needs a column to have a row: without --set the engine's first parameter is left to the engine.
        chosen = sets or {next(iter(known)): (None,)}
        return ConfigSpace(
            tuple(Parameter(name, values, known[name].applied) for name, values in chosen.items())
        ).grid()

    def questions(self, grid: Grid) -> Iterator[tuple[npt.NDArray[np.int64], Question]]:
        """Rows of the grid and the question about them, one for each number of devices that configs take.

        Raises:
            UnknownNameError: the model, platform or engine is not known. ModelError, FileError: the model's files.
        """
        architecture, hardware = resolve_model(self.model), platform(self.platform)
        needed = devices_of(grid, self.facts)
        if self.devices and needed.max() > self.devices:
            what = f"a config takes {needed.max()} devices (tp x pp x dp)"
            raise InputError.at(f"--devices {self.devices}", what, "as many devices as the largest config takes")
        devices = np.full(len(grid), self.devices) if self.devices else needed
        for count in np.unique(devices):
            rows = np.flatnonzero(devices == count)
            target = Target(architecture.name, hardware.name, self.facts.name, int(count), self.version)
            yield rows, Question(target, architecture, hardware, self.workload, grid.take(rows))


def whatif(asked: WhatIf, store: Store, explained: bool = False) -> dict[str, Any]:
    """Predict the product of the given values; returns the document of the command.

    With `explained`, "explain" holds the config of the best throughput and where the time of its steps goes.

    Raises:
        See `WhatIf.grid`, `WhatIf.questions` and `model.surrogate.Surrogate.predict`.
    """
    started = time.process_time()
    grid, model = asked.grid(), surrogate(store)
    rows: list[dict[str, Any]] = [{}] * len(grid)
    for places, question in asked.questions(grid):
        answer = model.predict(question, SHOWN)
        for place, row in zip(places.tolist(), _rows(answer, question.grid if asked.sets else None), strict=True):
            rows[place] = row
    document = {"rows": rows, "configs": len(rows), "warnings": _warnings(asked, model)}
    if explained:
        document["explain"] = _explained(asked, grid, model, rows)
    return {**document, "cpu_s": time.process_time() - started}


def _warnings(asked: WhatIf, model: Surrogate) -> list[str]:
    """What stands in for operations that were not measured."""
    tables = model.shelf.of(platform(asked.platform), asked.facts.name, asked.version) if model.shelf else None
    return sorted(tables.warnings.values()) if tables is not None else []


def _explained(asked: WhatIf, grid: Grid, model: Surrogate, rows: list[dict[str, Any]]) -> dict[str, Any]:
    from model.steps.explain import explain
    from servecast.kernel_tables import tables_of

    best = max(range(len(rows)), key=lambda at: (rows[at]["feasible"], rows[at]["output_tps"]["mean"]))
    _, question = next(asked.questions(grid.take(np.array([best]))))
    found = analyse(replace(question, shelf=model.shelf))
    hardware = question.platform
    tables = found.points.tables or tables_of(hardware, asked.facts.name, asked.version, None)
    parts = explain(found.points, 0, found.serving.active.item(), tables)
    steps = {step: [asdict(share) for share in shares] for step, shares in parts.items()}
    return {"config": rows[best].get("config", {}), "active": found.serving.active.item(), **steps}


def _rows(answer: GridPrediction, grid: Grid | None) -> list[dict[str, Any]]:
    """One object per config; whole columns are turned at once, for a grid may have 100,000 rows."""
    n = len(answer.feasible)
    names = [] if grid is None else list(grid.columns)
    cells = zip(*(grid.columns[name].tolist() for name in names), strict=True) if grid is not None else repeat((), n)
    parts: dict[str, Iterable[Any]] = {
        "config": (dict(zip(names, row, strict=True)) for row in cells),
        "feasible": answer.feasible.tolist(),
        "reason": map(answer.reasons.get, range(n)),
        **{name: _intervals(answer.metrics[name]) for name in SHOWN if name in answer.metrics},
        "provenance": answer.provenance.tolist(),
    }
    return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]


def _intervals(estimate: Estimate) -> list[dict[str, float]]:
    ends = zip(estimate.mean.tolist(), estimate.lo.tolist(), estimate.hi.tolist(), strict=True)
    return [{"mean": mean, "lo": lo, "hi": hi} for mean, lo, hi in ends]


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


def say_whatif(answer: Mapping[str, Any], most: int = 50) -> None:
    """A table of the answer, best throughput first; at most `most` rows of it."""
    rows = sorted(answer["rows"], key=lambda row: (not row["feasible"], -row["output_tps"]["mean"]))
    shown = [name for name in SHOWN[:3] if rows and name in rows[0]]
    columns = [*(f"{name} [90 %]" for name in shown), "fits", "from", "config"]
    table = [
        [*(_interval_text(row[name]) for name in shown), row["reason"] or True, row["provenance"], row["config"]]
        for row in rows[:most]
    ]
    print_table(columns, table)
    if len(rows) > most:
        note(f"{len(rows) - most} more; --json prints all")
    for warning in answer["warnings"]:
        note(warning)
    if "explain" in answer:
        _say_explained(answer["explain"])


def _say_explained(found: Mapping[str, Any]) -> None:
    for step in ("prefill", "decode"):
        of = "one prompt's chunk" if step == "prefill" else f"{found['active']:.0f} sequences"
        total = sum(share["seconds"] for share in found[step])
        table = [
            [share["name"], f"{share['seconds'] * 1e3:.3f} ms", f"{share['share']:.1%}", share["provenance"]]
            for share in found[step]
        ]
        title = f"\n{step} step of {of}: {total * 1e3:.2f} ms"
        print_table([step, "time", "share", "from"], table, title)


def _interval_text(interval: Mapping[str, float]) -> str:
    return f"{cell_text(interval['mean'])} [{cell_text(interval['lo'])}, {cell_text(interval['hi'])}]"
