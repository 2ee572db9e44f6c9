"""A question to the model, and the analytic answer to it."""

from __future__ import annotations

from dataclasses import dataclass

from model.architecture import Architecture
from model.descriptors import describe
from model.history import engine_facts
from model.knobs import Points, points_of
from model.load import Load, load_of
from model.memory import Memory, memory
from model.prediction import Floats
from model.serving import Serving, serve
from perfdb.facts.models import canonical_model
from perfdb.facts.platforms import PlatformFacts
from perfdb.records import Grid, Target, Workload


@dataclass(frozen=True)
class Question:
    """What to predict: every config of `grid` serving `workload` on `target`, described by its model and platform."""

    target: Target
    architecture: Architecture
    platform: PlatformFacts
    workload: Workload
    grid: Grid

    @property
    def group(self) -> tuple[str, str, str]:
        """Model × platform × engine, as `model.history.Training.groups` names them."""
        name = canonical_model(self.architecture.name) or self.architecture.name
        return (name, self.platform.name, engine_facts(self.target.engine).name)

    def resolve(self, grid: Grid, load: Load) -> Points:
        """Configs of this context, under any load, as points.

        Raises:
            InputError: a parameter's value cannot be right.
            UnknownNameError: a number format is not known.
        """
        facts = engine_facts(self.target.engine)
        return points_of(self.architecture, self.platform, facts, self.target.devices, grid, load)


@dataclass(frozen=True)
class Analysis:
    """The analytic answer for n rows: points, memory, serving metrics, and descriptors (`n x d`)."""

    points: Points
    memory: Memory
    serving: Serving
    features: Floats


def analyse(question: Question, grid: Grid | None = None, load: Load | None = None) -> Analysis:
    """The analytic model alone, for the question's grid and workload or for others in the same context.

    Raises:
        InputError: the workload or a parameter's value cannot be right.
    """
    grid = question.grid if grid is None else grid
    load = load_of(question.workload, len(grid)) if load is None else load
    points = question.resolve(grid, load)
    found = memory(points)
    answer = serve(points, found.sequences)
    return Analysis(points, found, answer, describe(points, answer))
