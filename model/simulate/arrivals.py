"""When requests arrive: at a time of their own, when there is room for one more user, or after the answer before them.

A conversation opens with its first turn; each later turn comes a while after the answer to the one before it. A request
that belongs to no conversation is one of a single turn. Under a cap, so many conversations are open at once.

Where there is no conversation at all, counts of who came and was answered are enough.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.compiled import inner_njit
from model.simulate.blocks import NONE, Ints
from model.simulate.costs import Floats
from model.simulate.records import Records, of_ints

_TURN = np.dtype([("follower", np.int64), ("think_s", np.float64), ("opener", np.int64), ("heap", np.int64)])
_STATUS = of_ints("came", "done", "openers", "next", "open", "thinking")


class Arrivals(NamedTuple):
    """n requests that come. `due`, n: when each may arrive at the earliest, then when it did; it ascends where there
    are no conversations.

    `turns`, n where there are (`talks`): the next turn of a request, its `follower` or NONE, and `think_s`, how long
    after the answer that comes; the first turns by their `due`, `turns[:openers].opener`; and those whose time is
    known, the next one first, `turns[:thinking].heap`. `status[0]`: how many requests `came` and are `done`, the
    numbers of both lists, the `next` opener, and how many conversations are `open`. `cap`: so many may be at once, 0 is
    no limit.
    """

    due: Floats
    turns: Records
    status: Records
    cap: int
    talks: bool


def alone(due_s: Floats, cap: int) -> Arrivals:
    """Nobody is there yet of n requests without conversations; `due_s` ascends."""
    return Arrivals(due_s.copy(), np.zeros(0, dtype=_TURN), np.zeros(1, dtype=_STATUS), cap, False)


def as_due(n: int) -> Arrivals:
    """Nobody of n requests is there yet; each comes when it is due once it was pushed."""
    return Arrivals(np.full(n, np.inf), np.zeros(n, dtype=_TURN), np.zeros(1, dtype=_STATUS), 0, False)


def in_turn(due_s: Floats, previous: npt.NDArray[np.integer], think_s: Floats, cap: int) -> Arrivals:
    """Nobody is there yet. `previous` names the turn before each request, NONE for a first one; all n."""
    turns, status = np.zeros(len(due_s), dtype=_TURN), np.zeros(1, dtype=_STATUS)
    turns["follower"], turns["think_s"] = NONE, think_s
    later, first = np.flatnonzero(previous != NONE), np.flatnonzero(previous == NONE)
    turns["follower"][previous[later]] = later
    turns["opener"][: len(first)] = first[np.argsort(due_s[first], kind="stable")]
    status["openers"] = len(first)
    return Arrivals(due_s.copy(), turns, status, cap, True)


@inner_njit
def next_s(arrivals: Arrivals) -> float:
    """When the next request arrives; inf where nobody is left, or an answer must come first."""
    if arrivals.talks:
        return float(next_in_turn_s(arrivals))
    now, due, cap = arrivals.status[0], arrivals.due, arrivals.cap
    if now.came == len(due) or (cap > 0 and now.came - now.done >= cap):
        return np.inf
    return float(due[now.came])


@inner_njit
def take_next(arrivals: Arrivals, now: float) -> int:
    """The request that comes next; a turn that waited for room under the cap is due now."""
    status = arrivals.status[0]
    status.came += 1
    return int(take_in_turn(arrivals, now) if arrivals.talks else status.came - 1)


@inner_njit
def let_come(arrivals: Arrivals, requests: Ints, now: float) -> None:
    """These requests are done: who waited for that may come."""
    due, cap, status = arrivals.due, arrivals.cap, arrivals.status[0]
    if arrivals.talks:
        for request in requests:
            _answered(arrivals, request, now)
    elif cap > 0:
        for request in range(status.done + cap, min(status.done + cap + len(requests), len(due))):
            due[request] = max(due[request], now)
    status.done += len(requests)


@inner_njit
def next_in_turn_s(arrivals: Arrivals) -> float:
    """When the next turn comes; inf where nobody is left, or an answer must come first."""
    turn = arrivals.due[arrivals.turns[0].heap] if arrivals.status[0].thinking > 0 else np.inf
    return float(min(turn, _opener_s(arrivals)))


@inner_njit
def take_in_turn(arrivals: Arrivals, now: float) -> int:
    """The turn that comes next; one that waited for room under the cap is due now."""
    turns, status = arrivals.turns, arrivals.status[0]
    if status.thinking > 0 and arrivals.due[turns[0].heap] <= _opener_s(arrivals):
        return int(_pop(arrivals))
    request = turns[status.next].opener
    status.next += 1
    status.open += 1
    if arrivals.cap > 0:
        arrivals.due[request] = now
    return int(request)


@inner_njit
def _answered(arrivals: Arrivals, request: int, now: float) -> None:
    """A request is done: its next turn will come, or its conversation is over."""
    turn = arrivals.turns[request]
    if turn.follower == NONE:
        arrivals.status[0].open -= 1
        _open_next(arrivals, now)
    else:
        follower = turn.follower
        arrivals.due[follower] = max(arrivals.due[follower], now + arrivals.turns[follower].think_s)
        push(arrivals, follower)


@inner_njit
def _open_next(arrivals: Arrivals, now: float) -> None:
    """A conversation is over: under a cap the first one that waits for that may open now."""
    status = arrivals.status[0]
    place = status.next + arrivals.cap - status.open - 1
    if arrivals.cap > 0 and place < status.openers:
        request = arrivals.turns[place].opener
        arrivals.due[request] = max(arrivals.due[request], now)


@inner_njit
def _opener_s(arrivals: Arrivals) -> float:
    status = arrivals.status[0]
    if status.next == status.openers or (arrivals.cap > 0 and status.open >= arrivals.cap):
        return np.inf
    return float(arrivals.due[arrivals.turns[status.next].opener])


@inner_njit
def push(arrivals: Arrivals, request: int) -> None:
    """A request comes when it is due, whatever else happens."""
    turns, due, status = arrivals.turns, arrivals.due, arrivals.status[0]
    place = status.thinking
    status.thinking += 1
    while place > 0:
        parent = (place - 1) >> 1
        if due[turns[parent].heap] <= due[request]:
            break
        turns[place].heap = turns[parent].heap
        place = parent
    turns[place].heap = request


@inner_njit
def _pop(arrivals: Arrivals) -> int:
    turns, due, status = arrivals.turns, arrivals.due, arrivals.status[0]
    status.thinking -= 1
    first, size = turns[0].heap, status.thinking
    request, place = turns[size].heap, 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and due[turns[child + 1].heap] < due[turns[child].heap]:
            child += 1
        if due[request] <= due[turns[child].heap]:
            break
        turns[place].heap = turns[child].heap
        place = child
    turns[place].heap = request
    return int(first)
