"""A question to the model, and the analytic answer to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from model.checkpoint.architecture import Architecture
from model.closed_form.prefix_cache import SharedPrefixes
from model.closed_form.serving import Serving, serve, without_slot_waits
from model.knobs import points_of
from model.learning.descriptors import describe, version_number
from model.learning.history import engine_facts
from model.load import Load, load_of
from model.memory import Memory, memory
from model.points import Points
from model.prediction import Floats
from model.tables.shelf import NO_TABLES, Shelf
from perfdb.facts.engines import EngineFacts
from perfdb.facts.platforms import PlatformFacts
from perfdb.records import Grid, Target, Workload

if TYPE_CHECKING:
    from model.tables.library import Tables


@dataclass(frozen=True)
class Question:
    """What to predict: every config of `grid` serving `workload` on `target`, described by its model and platform.

    Steps take what the operation tables of `shelf` say, where it has any. Earlier prompts brought `reused` tokens of
    each prompt: a config with a prefix cache does not compute them again, as far as it has room for all the `prefixes`.
    """

    target: Target
    architecture: Architecture
    platform: PlatformFacts
    workload: Workload
    grid: Grid
    shelf: Shelf = NO_TABLES
    reused: float = 0.0
    prefixes: SharedPrefixes | None = None

    @property
    def tables(self) -> Tables | None:
        """The operation tables of this context, None on a CPU."""
        name, version = engine_facts(self.target.engine).name, self.target.engine_version
        return self.shelf.of(self.platform, name, version)

    def resolve(self, grid: Grid, load: Load) -> Points:
        """Configs of this context, under any load, as points.

        Raises:
            InputError: a parameter's value cannot be right.
            UnknownNameError: a number format is not known.
        """
        facts = _engine_at(self.target.engine, self.target.engine_version)
        devices, tables = self.target.devices, self.tables
        points = points_of(self.architecture, self.platform, facts, devices, grid, load, tables, self.reused)
        return points if self.prefixes is None else self.prefixes.bounded(points)


@lru_cache(maxsize=64)
def _engine_at(name: str, version: str | None) -> EngineFacts:
    return engine_facts(name).at(version)


@dataclass(frozen=True)
class Analysis:
    """The analytic answer for n rows of one engine version: points, memory and serving metrics."""

    points: Points
    memory: Memory
    serving: Serving
    version: str | None

    @cached_property
    def unqueued(self) -> Analysis:
        """The same without the requests that wait for a slot: what corrections are learned for."""
        points = without_slot_waits(self.points, self.memory.room)
        if points is self.points:
            return self
        return Analysis(*_served(points, self.memory), self.version)

    def slot_wait_s(self, name: str) -> Floats:
        """Seconds that waiting for a slot or for blocks adds to a latency, `n`: to a request's as much as to its first
        token and to all that follow."""
        mine, others, load = self.serving.metrics, self.unqueued.serving.metrics, self.points.load
        own, first, amid = (np.maximum(mine[part] - others[part], 0.0) for part in (name, "ttft_s", "tpot_s"))
        later = {"ttft_s": first, "tpot_s": amid, "itl_s": amid}.get(name, first + amid * (load.osl - 1.0))
        return np.where(load.is_batch, own, later)

    @cached_property
    def features(self) -> Floats:
        """Descriptors, `n x d`."""
        one = self.unqueued
        if one.points.eager.any() or one.points.draft_tokens.any():
            # nothing was learned of these: what corrects the plain server corrects theirs
            none = np.zeros(len(one.points))
            one = Analysis(*_served(replace(one.points, eager=none, draft_tokens=none), one.memory), self.version)
        return describe(one.points, one.serving, version_number(self.version))


def _served(points: Points, account: Memory) -> tuple[Points, Memory, Serving]:
    return points, account, serve(points, account.room)


def analyse(question: Question, grid: Grid | None = None, load: Load | None = None) -> Analysis:
    """The analytic model alone, for the question's grid and workload or for others in the same context.

    Raises:
        InputError: the workload or a parameter's value cannot be right.
    """
    grid = question.grid if grid is None else grid
    load = load_of(question.workload, len(grid)) if load is None else load
    points = question.resolve(grid, load)
    found = memory(points)
    answer = serve(points, found.room)
    return Analysis(points, found, answer, question.target.engine_version)
