"""Which of several replicas a request goes to, as the front ends of engines decide it.

vLLM's front end takes the replica with the least 4 · waiting + running, the first of equals. It knows the counts that
were last published, at most ten times a second, and adds each request that it sent since to those waiting. Replicas of
a dense model never report counts: what is left of the rule sends requests around in turn. SGLang's controller does so
unless told otherwise. Source: the behaviour of vllm 0.19's DPLBAsyncMPClient and DPCoordinator with one API server, of
sglang's data parallel controller (round_robin).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.compiled import inner_njit
from model.simulate.blocks import Ints
from model.simulate.costs import Floats

PUBLISHED_S = 0.1
UNCHANGED_S = 5.0
"""Least time between two publications of counts; most time where none changed."""
_WEIGHT = 4


class Desk(NamedTuple):
    """What a front end of k replicas knows: `seen` and `reported` are (waiting, running), `k x 2`.

    `seen` are the counts as last published, with what was sent since; `reported` what replicas said last, not yet
    published if `since[1]` is finite: the time when it first differed. `since[0]`: the last publication.
    """

    seen: npt.NDArray[np.int64]
    reported: npt.NDArray[np.int64]
    since: Floats
    sent: Ints
    by_load: bool


def new_desk(count: int, by_load: bool) -> Desk:
    """Nothing sent yet to `count` replicas; `by_load`: to the least loaded, else in turn."""
    none = np.zeros((count, 2), dtype=np.int64)
    return Desk(none, none.copy(), np.array([-PUBLISHED_S, np.inf]), np.zeros(1, dtype=np.int64), by_load)


@inner_njit
def route(desk: Desk, now: float) -> int:
    """The replica that a request of this moment goes to."""
    count = len(desk.seen)
    desk.sent[0] += 1
    if not desk.by_load:
        return int((desk.sent[0] - 1) % count)
    _publish(desk, now)
    best, least = 0, _score(desk, 0)
    for rank in range(1, count):
        score = _score(desk, rank)
        if score < least:
            best, least = rank, score
    desk.seen[best, 0] += 1
    return best


@inner_njit
def report(desk: Desk, rank: int, waiting: int, running: int, now: float) -> None:
    """A replica's counts after a step."""
    if not desk.by_load or (desk.reported[rank, 0] == waiting and desk.reported[rank, 1] == running):
        return
    _publish(desk, now)
    desk.reported[rank, 0], desk.reported[rank, 1] = waiting, running
    desk.since[1] = min(desk.since[1], now)


@inner_njit
def _publish(desk: Desk, now: float) -> None:
    """What should have been published before now is."""
    changed = desk.since[1] < np.inf
    due = max(desk.since[0] + PUBLISHED_S, desk.since[1]) if changed else desk.since[0] + UNCHANGED_S
    if due < now:
        desk.seen[:] = desk.reported
        desk.since[0], desk.since[1] = due if changed else now - (now - due) % UNCHANGED_S, np.inf


@inner_njit
def _score(desk: Desk, rank: int) -> int:
    return int(_WEIGHT * desk.seen[rank, 0] + desk.seen[rank, 1])
