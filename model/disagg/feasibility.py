"""Which deployments of two pools can serve, and why others cannot: by the rules of whole servers for the workers of
each pool, and by what runs of whole servers tell, which start the same and hold as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model.disagg.pools import Pool
from model.disagg.units import POOLS, Shared, Sharing
from model.failures import failures, served
from model.learning.scenario import ScenarioIndex
from model.prediction import Bools, Floats
from model.question import Question

if TYPE_CHECKING:
    from model.disagg.answer import Asked

Ints = npt.NDArray[np.int64]


def feasibility(
    asked: Asked, pools: tuple[Pool, Pool], shared: Shared, index: ScenarioIndex | None
) -> tuple[Bools, dict[int, str]]:
    """Which deployments can serve, `n`, and why the others cannot, with the name of the pool."""
    formats = [np.array(pool.points.cache_names, object)[pool.points.cache_row] for pool in pools]
    kept = formats[0][asked.deployments.prefill], formats[1][asked.deployments.decode]
    short, unlike = shared.replicas == 0, kept[0] != kept[1]
    reasons = {int(row): _says_short(shared, asked.sharing, int(row)) for row in np.flatnonzero(short)}
    for row in np.flatnonzero(unlike):
        reasons[int(row)] = f"decode: a KV cache in {kept[1][row]} cannot take over one in {kept[0][row]}"
    feasible = ~(short | unlike)
    chosen = asked.deployments.prefill, asked.deployments.decode
    questions = asked.prefill, asked.decode
    for place, name, pool, question, rows in reversed(tuple(zip((0, 1), POOLS, pools, questions, chosen, strict=True))):
        fits = pool.feasible[rows]
        told: dict[int, str] = {row: pool.reasons[rows[row]] for row in np.flatnonzero(~fits).tolist()}
        if index is not None:
            told = {**_failed_again(index, question, pool, rows, shared.load / shared.workers[:, place]), **told}
        reasons |= {row: f"{name}: {why}" for row, why in told.items()}
        feasible[list(told)] = False
    return feasible, reasons


def _failed_again(
    index: ScenarioIndex, question: Question, pool: Pool, kinds: Ints, amounts: Floats
) -> Mapping[int, str]:
    """Of n workers of the given kinds of a pool, at `amounts` of load (requests in flight, or per second, that come to
    one), those that failed at the very load and did not serve it in another run, by row, with the words that say so;
    see `model.failures.Failure.tell` for what is said of others."""
    found: dict[int, str] = {}
    for devices in sorted(set(pool.devices.tolist())):
        of_size = np.flatnonzero(pool.devices == devices)
        here = replace(question, grid=question.grid.take(of_size), target=replace(question.target, devices=devices))
        points = pool.points.take(of_size)
        known = served(index, here, points) if index.failed(here) else frozenset()
        for failure in failures(index, here, points):
            alike = [row for row in failure.rows.tolist() if (row, failure.amount) not in known]
            rows = np.flatnonzero(np.isin(kinds, of_size[alike]))
            found |= dict.fromkeys(rows[failure.tell(amounts[rows])].tolist(), failure.words)
    return found


def _says_short(shared: Shared, sharing: Sharing, row: int) -> str:
    x, y = shared.workers[row]
    return f"{x} prefill and {y} decode workers take {shared.size[row]} devices, there are {sharing.devices}"
