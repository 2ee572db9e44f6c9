"""The rows of the database that were measured in the very scenario of a question: same model, platform, engine, number
of devices, lengths and arrival process. Config and load may differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from model.derived import BASIS
from model.learning.history import (
    Columns,
    Ints,
    column,
    engine_facts,
    grid_of,
    loads,
    measured,
    numbers,
    size,
    unreadable,
    usable,
)
from model.load import Load, load_of
from model.prediction import Bools, Floats
from model.question import Question
from perfdb.facts.models import canonical_model
from perfdb.facts.platforms import canonical_platform
from perfdb.records import Grid, Outcome

MOST_ROWS = 128
"""A process is fitted to at most so many rows, the latest: its cost grows with their cube."""


FAILED: Mapping[str, str] = {
    Outcome.OOM: "out of memory",
    Outcome.LAUNCH_FAILED: "the server did not start",
    Outcome.CRASHED: "it crashed",
    Outcome.TIMEOUT: "no answer in time",
}
"""How servers fail, in words."""
_Places = dict[tuple[object, ...], dict[float, list[int]]]
"""Model, platform, engine, lengths and arrival -> number of devices -> rows."""


@dataclass(frozen=True)
class ScenarioRows:
    """t measured rows: `rows` their places in the database's answer, `measured[metric]` values (`t`, NaN if absent)."""

    rows: Ints
    grid: Grid
    load: Load
    measured: dict[str, Floats]


@dataclass(frozen=True)
class ScenarioIndex:
    """Where the rows of every scenario are, found once for a database's answer."""

    history: Columns

    @cached_property
    def _places(self) -> _Places:
        return self._placed(usable(self.history))

    @cached_property
    def _failures(self) -> _Places:
        return self._placed(_failures(self.history))

    def _placed(self, wanted: Bools) -> _Places:
        n, load = size(self.history), self.load
        keep = np.flatnonzero(wanted)
        names = [
            _renamed(column(self.history, name, n)[keep], known)
            for name, known in (("model", _model), ("platform", _platform), ("engine", _engine))
        ]
        devices = np.nan_to_num(numbers(self.history, "devices", n)[keep], nan=1.0)
        # by the lengths that are named, whatever is drawn of them
        named = (numbers(self.history, "isl", n), numbers(self.history, "osl", n), load.arrival)
        lengths = [values[keep].tolist() for values in named]
        places: _Places = {}
        for row, count, *key in zip(keep.tolist(), devices.tolist(), *names, *lengths, strict=True):
            places.setdefault(tuple(key), {}).setdefault(count, []).append(row)
        return places

    @cached_property
    def load(self) -> Load:
        """The load of every row of the history."""
        return loads(self.history)[0]

    def places(self, question: Question) -> Mapping[float, Sequence[int]]:
        """Where the rows are of the question's scenario on any number of devices, by that number."""
        return self._of_scenario(self._places, question)

    def failed(self, question: Question) -> Sequence[int]:
        """Where the rows are of what failed in the question's scenario, the latest `MOST_ROWS`; none where earlier
        prompts left something in the cache, of which rows do not tell."""
        if question.reused:
            return ()
        found = self._of_scenario(self._failures, question)
        return found.get(float(question.target.devices or 1), [])[-MOST_ROWS:]

    def told_of(self, question: Question) -> frozenset[float]:
        """On how many devices something of the question's scenario was measured, or failed."""
        return frozenset(self.places(question)) | frozenset(self._of_scenario(self._failures, question))

    @staticmethod
    def _of_scenario(places: _Places, question: Question) -> Mapping[float, list[int]]:
        if not places:
            return {}
        target, asked = question.target, question.workload
        names = (_model(target.model), _platform(target.platform), _engine(target.engine))
        return places.get((*names, asked.isl, asked.osl, load_of(asked, 1).arrival.item()), {})

    def rows(self, question: Question) -> ScenarioRows | None:
        """The rows of the question's scenario that can be read, None where they measured nothing that is predicted."""
        found = self.places(question).get(float(question.target.devices or 1))
        if found is None:
            return None
        rows = np.array(found[-MOST_ROWS:])
        configs = column(self.history, "config", size(self.history))
        rows = np.delete(rows, list(unreadable(question.resolve, configs[rows], self.load.take(rows))))
        load = self.load.take(rows)
        values = _measured(self.history, rows, load)
        if not any(np.isfinite(column).any() for column in values.values()):
            return None
        return ScenarioRows(rows, grid_of(configs[rows]), load, values)


def _failures(history: Columns) -> Bools:
    """Rows of servers that failed, whose size and load are told."""
    n = size(history)
    failed = np.array([outcome in FAILED for outcome in column(history, "outcome", n).tolist()], bool)
    known = np.isfinite(numbers(history, "devices", n)) | ("devices" not in history)
    return np.asarray(failed & known & loads(history)[1], bool)


def _model(text: str) -> str:
    return canonical_model(text) or text


def _platform(text: str) -> str:
    return canonical_platform(text)[0] or text


def _engine(text: str) -> str:
    return engine_facts(text).name


def _renamed(values: npt.NDArray[Any], known: Callable[[str], str]) -> list[str]:
    """Every name as `known` has it, asked once per distinct one."""
    names = {value: known(str(value)) for value in set(values.tolist())}
    return [names[value] for value in values.tolist()]


def _measured(history: Columns, rows: Ints, load: Load) -> dict[str, Floats]:
    """The basis metrics, each also from those that imply it exactly."""
    found = {name: measured(history, name, rows) for name in BASIS}
    for name, other in (("tpot_s", "itl_s"), ("itl_s", "tpot_s")):
        found[name] = np.where(np.isfinite(found[name]), found[name], found[other])
    output = found["output_tps"]
    for name, share in (("total_tps", load.osl / (load.isl + load.osl)), ("request_tps", load.osl)):
        output = np.where(np.isfinite(output), output, measured(history, name, rows) * share)
    return found | {"output_tps": output}
