"""What would happen: the model's answer for configs that nobody ran, from everything that the database holds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model.checkpoint.architecture import resolve_model
from model.closed_form.prefix_cache import SharedPrefixes
from model.learning.scenario import ScenarioIndex
from model.load import Load, load_of
from model.prediction import Floats, GridPrediction
from model.question import Question
from model.surrogate import Surrogate
from model.tables.said import listening
from perfdb.errors import InputError
from perfdb.facts.engine_names import name_and_version
from perfdb.facts.engines import EngineFacts, engine
from perfdb.facts.platforms import platform
from perfdb.records import Grid, Scalar, Target, Workload
from perfdb.store import State, Store
from search.space import ConfigSpace, Parameter
from servecast.kernels.kernel_tables import shelf_of
from servecast.predicting.first_learning import say_learning
from servecast.predicting.goodput import judged_row
from servecast.predicting.parameters import own_names, unseen_parameters
from servecast.predicting.replicated import of_all, share_of_one
from servecast.predicting.threads import in_threads
from servecast.predicting.whatif_rows import best_places, kept, ranked_by, rows_of_grid, shown_of
from servecast.slo import Slo
from servecast.tuning.space import devices_of

if TYPE_CHECKING:
    from servecast.predicting.config_list import ConfigList

Answered = tuple[npt.NDArray[np.int64], Question, GridPrediction]
"""Rows of a grid, the question about them and its answer."""
_AT_ONCE = 4096
"""Configs of several numbers of devices that are asked for at once: more take their memory in parts."""
_PART = 1 << 17
"""Configs that are predicted together: each takes two kilobytes meanwhile."""
_PARTS_AT_ONCE = 4
"""Parts that are predicted at the same time, where there are so many cores."""
MOST_LINES, MOST_ROWS = 50, 10_000
"""Configs that a person is shown, and that a document of a larger grid holds: a million rows are a gigabyte."""


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
    """One question of a user: names as typed, and per parameter the values whose product is asked for, of each config
    of a list if there is one.

    Configs that say nothing of tp, pp and dp are one server of all `devices`, where these are given; of others as many
    servers as there are devices for share the load. Earlier prompts brought `reused` tokens of each prompt: `prefixes`.
    """

    model: str
    platform: str
    engine: str
    workload: Workload
    sets: Mapping[str, tuple[Scalar, ...]]
    devices: int | None = None
    reused: float = 0.0
    prefixes: SharedPrefixes | None = None
    listed: ConfigList | None = None

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

    @cached_property
    def rows(self) -> ConfigList | None:
        """The list by the engine's own names, each config once; raises as `grid`."""
        if self.listed is None:
            return None
        return self.listed.of_engine(self.facts, own_names(self.facts, self.sets))

    @property
    def settings(self) -> dict[str, tuple[Scalar, ...]]:
        """Every parameter of which something is said, by the engine's own name, and its values; raises as `grid`."""
        sets = own_names(self.facts, self.sets)
        return sets if self.rows is None else {**self.rows.values, **sets}

    def grid(self) -> Grid:
        """The product of the values, or of each config of the list with it, n configs.

        Raises:
            UnknownNameError: the engine has no such parameter. InputError: two names mean one parameter, or there are
                too many combinations.
        """
        known, sets = self.facts.parameters, own_names(self.facts, self.sets)
        space = ConfigSpace(tuple(Parameter(name, values, known[name].applied) for name, values in sets.items()))
        return space.grid() if self.rows is None else self.rows.times(space.grid())

    @property
    def notes(self) -> list[str]:
        """A sentence where configs of the list are answered once for several."""
        again = 0 if self.rows is None else self.rows.repeated
        return [f"{again} of the configs listed repeat others, and each is answered once"] if again else []

    def said(self, config: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """A config of the grid without what only others of a list say something of."""
        return {name: value for name, value in config.items() if self.rows is None or value is not None}

    @contextmanager
    def telling_rows(self) -> Iterator[None]:
        """What is refused of the value in a row of the list is refused by the name of the row."""
        try:
            yield
        except InputError:
            alone = replace(self, listed=None)
            told = self.rows and not alone._refusal(alone.grid()) and self.rows.refused(self.grid(), self._refusal)
            if told:
                raise told from None
            raise

    def _refusal(self, grid: Grid) -> InputError | None:
        """Why the values of a grid are refused, if they are."""
        try:
            for _, question in self.questions(grid):
                question.resolve(question.grid, load_of(question.workload, len(question.grid)))
        except InputError as error:
            return error
        return None

    def servers(self, grid: Grid) -> npt.NDArray[np.int64]:
        """How many servers of each config there are devices for, `n`; one where nobody says how many devices."""
        needed = devices_of(grid, self.facts, self.devices)
        return np.ones_like(needed) if self.devices is None else self.devices // needed

    def shared_out(self, question: Question) -> tuple[Load, Floats]:
        """The load of one server of each config of a question, and how many times as much as it all of them serve."""
        return share_of_one(load_of(question.workload, len(question.grid)), self.servers(question.grid))

    def questions(
        self, grid: Grid, scenarios: ScenarioIndex | None = None
    ) -> Iterator[tuple[npt.NDArray[np.int64], Question]]:
        """Rows of the grid and the question about them, one for each number of devices that configs take.

        With `scenarios`, and unless the grid is large, one for all those on which nothing was measured or failed:
        there, answers do not depend on what else is asked. Its target has the fewest of them.

        Raises:
            UnknownNameError: the model, platform or engine is not known. ModelError, FileError: the model's files.
        """
        architecture, hardware = resolve_model(self.model), platform(self.platform)
        needed = devices_of(grid, self.facts, self.devices)
        if self.devices and needed.max() > self.devices:
            what = f"a config takes {needed.max()} devices (tp x pp x dp)"
            raise InputError.at(f"--devices {self.devices}", what, "as many devices as the largest config takes")
        devices = needed
        target = Target(architecture.name, hardware.name, self.facts.name, int(devices.min()), self.version)
        whole = Question(target, architecture, hardware, self.workload, grid, reused=self.reused)
        whole = replace(whole, prefixes=self.prefixes)
        apart = devices
        if scenarios is not None and len(grid) <= _AT_ONCE:
            apart = np.where(np.isin(devices, list(scenarios.told_of(whole))), devices, 0)
        for number in sorted(set(apart.tolist())):
            rows = np.flatnonzero(apart == number)
            if len(rows) == len(grid):
                yield rows, whole
            else:
                here = replace(target, devices=int(devices[rows].min()))
                yield rows, replace(whole, target=here, grid=grid.take(rows))


def whatif(
    asked: WhatIf, store: Store, explained: bool = False, most: int | None = None, slos: tuple[Slo, ...] = ()
) -> dict[str, Any]:
    """Predict the product of the given values; returns the document of the command.

    Args:
        asked: the question.
        store: what is known.
        explained: "explain" holds the config of the best throughput and where the time of its steps goes.
        most: "rows" holds only so many configs, those that fit, keep the bounds and have the best throughput first;
            else all, in order.
        slos: bounds, of which each row says whether it keeps them, and the goodput.

    Raises:
        See `WhatIf.grid`, `WhatIf.questions` and `model.surrogate.Surrogate.predict`.
    """
    started = time.process_time()
    grid, model = asked.grid(), surrogate(store)
    names = tuple(dict.fromkeys([*shown_of(platform(asked.platform)), *(slo.name for slo in slos)]))
    is_large = most is not None and len(grid) > _AT_ONCE
    with listening() as said:
        answers = list(_answers(asked, grid, model, ranked_by(slos) if is_large else names))
        order = best_places([(at, answer) for at, _, answer in answers], slos, len(grid))
        shown, best = np.arange(len(grid)) if most is None else order[:most], int(order[0])
        if is_large:
            few = grid.take(shown)
            answers = [(shown[at], question, answer) for at, question, answer in _answers(asked, few, model, names)]
    rows: dict[int, dict[str, Any]] = {}
    for places, question, answer in answers:
        at = np.flatnonzero(np.isin(places, shown)) if most is not None else np.arange(len(places))
        rows.update(zip(places[at].tolist(), _rows(asked, question, answer, slos, at), strict=True))
    document: dict[str, Any] = {"mode": "agg", "rows": [rows[place] for place in shown.tolist()], "configs": len(grid)}
    if slos:
        document["slo"] = [str(slo) for slo in slos]
    document["warnings"] = [*sorted(said), *unseen_parameters(asked.facts, asked.settings), *asked.notes]
    if explained:
        [ttft_s] = [
            answer.metrics["ttft_s"].mean[places == best].item() for places, _, answer in answers if best in places
        ]
        document["explain"] = _explained(asked, grid.take(np.array([best])), model, ttft_s)
    return {**document, "cpu_s": time.process_time() - started}


def _answers(asked: WhatIf, grid: Grid, model: Surrogate, names: Sequence[str]) -> Iterator[Answered]:
    """Rows of a grid, the questions about them and their answers, of the metrics so named; of a large grid in parts."""

    def answered(part: tuple[npt.NDArray[np.int64], Question]) -> Answered:
        return *part, _predicted(asked, part[1], model, names)

    with asked.telling_rows():
        parts = _parts(asked.questions(grid, model.scenarios))
        yield from in_threads(answered, parts, _PARTS_AT_ONCE) if len(grid) > _PART else map(answered, parts)


def _parts(
    questions: Iterable[tuple[npt.NDArray[np.int64], Question]],
) -> Iterator[tuple[npt.NDArray[np.int64], Question]]:
    """Rows of a grid and the question about them, of no more than `_PART` configs each."""
    for places, whole in questions:
        for first in range(0, len(places), _PART):
            part = np.arange(first, min(first + _PART, len(places)))
            yield places[part], whole if len(part) == len(places) else replace(whole, grid=whole.grid.take(part))


def _predicted(asked: WhatIf, question: Question, model: Surrogate, names: Sequence[str]) -> GridPrediction:
    """The answer for one server of each config, or for as many as there are devices for, which share the load."""
    if asked.devices is None:
        return model.predict(question, names)
    load, worth = asked.shared_out(question)
    return of_all(model.predict(question, names, load), worth, asked.servers(question.grid))


def _rows(
    asked: WhatIf, question: Question, answer: GridPrediction, slos: tuple[Slo, ...], at: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """`rows_of_grid`, with the servers that share given devices, and with what is said of bounds."""
    rows = rows_of_grid(answer, question.grid, at)
    if asked.rows is not None:
        for row in rows:
            row["config"] = asked.said(row["config"])
    if asked.devices is not None:
        servers = asked.servers(question.grid)[at]
        used = servers * devices_of(question.grid, asked.facts, asked.devices)[at]
        for row, count, gpus in zip(rows, servers.tolist(), used.tolist(), strict=True):
            held = {"platform": question.platform.name, "replicas": count, "gpus": gpus}
            row |= {**held, "left_over": asked.devices - gpus}
    if slos:
        for row, is_kept in zip(rows, kept(answer, slos)[at].tolist(), strict=True):
            row.update(judged_row(row, slos, is_kept, asked.workload))
    return rows


def _explained(asked: WhatIf, grid: Grid, model: Surrogate, ttft_s: float) -> dict[str, Any]:
    """The one config of `grid`, of which a first token takes `ttft_s`, and where its time goes."""
    from servecast.predicting.explained import explained

    _, question = next(asked.questions(grid))
    load = None if asked.devices is None else asked.shared_out(question)[0]
    return {"config": asked.said(grid.config(0)), **explained(replace(question, shelf=model.shelf), load, ttft_s)}
