"""What the runs of a database tell of an engine's overheads, for steps that are simulated one by one.

`whatif` needs none of this: it corrects whole answers by the same runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from model.kept.training import kept_training, takes_long
from model.learning.fitted_overheads import FittedOverheads, fitted_overheads
from model.learning.history import engine_facts
from servecast.kernels.kernel_tables import shelf_of
from servecast.predicting.first_learning import say_learning

if TYPE_CHECKING:
    from model.learning.history import Columns, Training
    from model.points import Points
    from perfdb.store import State, Store


def with_fitted(points: Points, version: str | None, store: Store | None) -> tuple[Points, FittedOverheads]:
    """Points with overheads fitted to runs of their engine, and those; priors where the store holds no such run."""
    found = None
    if store is not None and store.path.exists():
        history, taught = _taught(store.state, points.engine.name)
        found = fitted_overheads(history, taught, points.engine.name, version, points.platform.name)
    if found is None:
        return points, FittedOverheads(points.overheads, 0, 0, 0, 0)
    return replace(points, fitted_overheads=found.overheads), found


@lru_cache(maxsize=4)
def _taught(state: State, engine: str) -> tuple[Columns, Training]:
    """Runs of the engine, and what they teach: all runs where that is known already."""
    history, shelf = state.store.results(), shelf_of(state.store)
    if takes_long(history, shelf):
        is_own = {name: engine_facts(str(name)).name == engine for name in set(history["engine"].tolist())}
        own = np.array([is_own[name] for name in history["engine"].tolist()])
        history = {name: values[own] for name, values in history.items()}
        say_learning(history, shelf)
    return history, kept_training(history, None, shelf)


def overheads_document(found: FittedOverheads) -> dict[str, Any]:
    """Seconds per request, output token, layer, sequence and step, how many runs of how many groups told them, and how
    many of these are on the same platform, and of the same version there."""
    counts = {"runs": found.runs, "groups": found.groups, "platform_runs": found.here, "own_runs": found.own}
    return {**asdict(found.overheads), **counts}


def overheads_text(told: Mapping[str, Any]) -> str:
    """One line for people, of such a document."""
    step, sequence, request = told["step_s"] * 1e3, told["sequence_s"] * 1e6, told["request_s"] * 1e3
    parts = f"{step:.3g} ms a step, {sequence:.3g} µs a sequence in it, {request:.3g} ms a request"
    of_runs = f"{_counted(told['runs'], 'run')} of {_counted(told['groups'], 'group')} ({_like_this(told)})"
    return f"the engine's overheads are fitted to {of_runs}: {parts}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _like_this(told: Mapping[str, Any]) -> str:
    if told["own_runs"]:
        return f"{told['own_runs']} of this version and platform"
    here = told["platform_runs"]
    return f"{here} on this platform, whatever their version" if here else "none on this platform"
