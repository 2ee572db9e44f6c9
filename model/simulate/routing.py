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

from model.compiled import inner_njit
from model.simulate.records import Record, Records, of_ints

PUBLISHED_S = 0.1
UNCHANGED_S = 5.0
"""Least time between two publications of counts; most time where none changed."""
_WEIGHT = 4


_KNOWN = of_ints("seen_waiting", "seen_running", "waiting", "running")
_STATUS = np.dtype([("published_s", np.float64), ("differs_s", np.float64), ("sent", np.int64)])


class Desk(NamedTuple):
    """What a front end of k replicas knows of `each`: how many were `waiting` and `running` as it said last, and as was
    last published, with what was sent since (`seen_waiting`, `seen_running`).

    `status[0]`: when counts were last published (`published_s`), and when they first differed from that (`differs_s`,
    inf where they do not); how many requests were `sent`.
    """

    each: Records
    status: Records
    by_load: bool


def new_desk(count: int, by_load: bool) -> Desk:
    """Nothing sent yet to `count` replicas; `by_load`: to the least loaded, else in turn."""
    status = np.zeros(1, dtype=_STATUS)
    status["published_s"], status["differs_s"] = -PUBLISHED_S, np.inf
    return Desk(np.zeros(count, dtype=_KNOWN), status, by_load)


@inner_njit
def route(desk: Desk, now: float) -> int:
    """The replica that a request of this moment goes to."""
    each, status = desk.each, desk.status[0]
    status.sent += 1
    if not desk.by_load:
        return int((status.sent - 1) % len(each))
    _publish(desk, now)
    best, least = 0, _score(each[0])
    for rank in range(1, len(each)):
        score = _score(each[rank])
        if score < least:
            best, least = rank, score
    each[best].seen_waiting += 1
    return best


@inner_njit
def report(desk: Desk, rank: int, waiting: int, running: int, now: float) -> None:
    """A replica's counts after a step."""
    own, status = desk.each[rank], desk.status[0]
    if not desk.by_load or (own.waiting == waiting and own.running == running):
        return
    _publish(desk, now)
    own.waiting, own.running = waiting, running
    status.differs_s = min(status.differs_s, now)


@inner_njit
def _publish(desk: Desk, now: float) -> None:
    """What should have been published before now is."""
    status = desk.status[0]
    changed = status.differs_s < np.inf
    due = max(status.published_s + PUBLISHED_S, status.differs_s) if changed else status.published_s + UNCHANGED_S
    if due >= now:
        return
    for rank in range(len(desk.each)):
        own = desk.each[rank]
        own.seen_waiting, own.seen_running = own.waiting, own.running
    status.published_s, status.differs_s = due if changed else now - (now - due) % UNCHANGED_S, np.inf


@inner_njit
def _score(own: Record) -> int:
    return int(_WEIGHT * own.seen_waiting + own.seen_running)
