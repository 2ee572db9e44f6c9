"""What would happen: the model's answer for configs that nobody ran, from everything that the database holds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.architecture import resolve_model
from model.prediction import Estimate, GridPrediction
from model.question import Question
from model.surrogate import Surrogate
from perfdb.errors import InputError
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Target, Workload
from perfdb.store import Store
from search.space import ConfigSpace, Parameter
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
    return Surrogate.fit(history)


@dataclass(frozen=True)
class WhatIf:
    """One question of a user: names as typed, and per parameter the values whose product is asked for."""

    model: str
    platform: str
    engine: str
    workload: Workload
    sets: Mapping[str, tuple[Scalar, ...]]
    devices: int | None = None

    def grid(self) -> Grid:
        """The product of the values, n configs.

        Raises:
            UnknownNameError: the engine has no such parameter. InputError: there are too many combinations.
        """
        known = engine(self.engine).parameters
        sets = {engine(self.engine).parameter(name).name: values for name, values in self.sets.items()}
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
        needed = devices_of(grid, engine(self.engine))
        if self.devices and needed.max() > self.devices:
            what = f"a config takes {needed.max()} devices (tp x pp x dp)"
            raise InputError.at(f"--devices {self.devices}", what, "as many devices as the largest config takes")
        devices = np.full(len(grid), self.devices) if self.devices else needed
        for count in np.unique(devices):
            rows = np.flatnonzero(devices == count)
            target = Target(architecture.name, hardware.name, engine(self.engine).name, int(count))
            yield rows, Question(target, architecture, hardware, self.workload, grid.take(rows))


def whatif(asked: WhatIf, store: Store) -> dict[str, Any]:
    """Predict the product of the given values; returns the document of the command.

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
    return {"rows": rows, "configs": len(rows), "cpu_s": time.process_time() - started}


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


def _interval_text(interval: Mapping[str, float]) -> str:
    return f"{cell_text(interval['mean'])} [{cell_text(interval['lo'])}, {cell_text(interval['hi'])}]"
