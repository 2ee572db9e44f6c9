"""When requests arrive: at a time of their own, when there is room for one more user, or after the answer before them.

A conversation opens with its first turn; each later turn comes a while after the answer to the one before it. A request
that belongs to no conversation is one of a single turn. Under a cap, so many conversations are open at once.

Where there is no conversation at all, counts of who came and was answered are enough; the server's loop then leaves the
tuple alone, of which each array costs it two atomic counts per use.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.compiled import inner_njit
from model.simulate.blocks import NONE, Ints, Ints32
from model.simulate.costs import Floats


class Arrivals(NamedTuple):
    """n requests that come. `due`: when each may arrive at the earliest, then when it did, n.

    `openers`: first turns by their `due`; `follower`: the next turn of a request or NONE, and `think_s` how long after
    the answer it comes, n each. Without conversations these three are empty, and `due` ascends. `heap[:THINKING]`:
    turns whose time is known, the next one first. `cap`: so many conversations may be open at once, 0 is no limit.
    """

    due: Floats
    openers: Ints32
    follower: Ints32
    think_s: Floats
    heap: Ints32
    counts: Ints
    cap: int


NEXT, OPEN, THINKING = range(3)
"""Places in `Arrivals.counts`: the next opener, conversations under way, turns in the heap."""


def alone(due_s: Floats, cap: int) -> Arrivals:
    """Nobody is there yet of n requests without conversations; `due_s` ascends."""
    nobody = np.empty(0, dtype=np.int32)
    return Arrivals(due_s.copy(), nobody, nobody, np.empty(0), nobody, np.zeros(3, dtype=np.int64), cap)


def as_due(n: int) -> Arrivals:
    """Nobody of n requests is there yet; each comes when it is due once it was pushed."""
    nobody = np.empty(0, dtype=np.int32)
    heap, due = np.full(n + 1, NONE, dtype=np.int32), np.full(n, np.inf)
    return Arrivals(due, nobody, nobody, np.empty(0), heap, np.zeros(3, dtype=np.int64), 0)


def in_turn(due_s: Floats, previous: npt.NDArray[np.integer], think_s: Floats, cap: int) -> Arrivals:
    """Nobody is there yet. `previous` names the turn before each request, NONE for a first one; all n."""
    follower = np.full(len(due_s), NONE, dtype=np.int32)
    later = np.flatnonzero(previous != NONE)
    follower[previous[later]] = later
    first = np.flatnonzero(previous == NONE)
    openers = first[np.argsort(due_s[first], kind="stable")].astype(np.int32)
    heap = np.full(len(later) + 1, NONE, dtype=np.int32)
    return Arrivals(due_s.copy(), openers, follower, think_s, heap, np.zeros(3, dtype=np.int64), cap)


@inner_njit(inline="always")
def next_alone_s(due: Floats, cap: int, came: int, done: int) -> float:
    """When the next request arrives after `came` did and `done` were answered, without conversations; inf where nobody
    is left, or an answer must come first."""
    if came == len(due) or (cap > 0 and came - done >= cap):
        return np.inf
    return float(due[came])


@inner_njit
def next_in_turn_s(arrivals: Arrivals) -> float:
    """When the next turn comes; inf where nobody is left, or an answer must come first."""
    turn = arrivals.due[arrivals.heap[0]] if arrivals.counts[THINKING] > 0 else np.inf
    return float(min(turn, _opener_s(arrivals)))


@inner_njit
def take_in_turn(arrivals: Arrivals, now: float) -> int:
    """The turn that comes next; one that waited for room under the cap is due now."""
    counts = arrivals.counts
    if counts[THINKING] > 0 and arrivals.due[arrivals.heap[0]] <= _opener_s(arrivals):
        return int(_pop(arrivals))
    request = arrivals.openers[counts[NEXT]]
    counts[NEXT] += 1
    counts[OPEN] += 1
    if arrivals.cap > 0:
        arrivals.due[request] = now
    return int(request)


@inner_njit
def answered(arrivals: Arrivals, requests: Ints32, count: int, now: float) -> None:
    """The first `count` of `requests` are done: their next turns will come, or their conversations are over."""
    for request in requests[:count]:
        follower = arrivals.follower[request]
        if follower == NONE:
            arrivals.counts[OPEN] -= 1
            _open_next(arrivals, now)
        else:
            arrivals.due[follower] = max(arrivals.due[follower], now + arrivals.think_s[follower])
            push(arrivals, follower)


@inner_njit(inline="always")
def let_come(
    arrivals: Arrivals, due: Floats, cap: int, talks: bool, done: int, requests: Ints32, count: int, now: float
) -> None:
    """The first `count` of `requests` are done, after `done` others: who waited for that may come."""
    if talks:
        answered(arrivals, requests, count, now)
    else:
        answered_alone(due, cap, done, count, now)


@inner_njit
def answered_alone(due: Floats, cap: int, done: int, count: int, now: float) -> None:
    """`count` requests without conversations are done after `done` others: under a cap as many may come now."""
    if cap > 0:
        for request in range(done + cap, min(done + cap + count, len(due))):
            due[request] = max(due[request], now)


@inner_njit
def _open_next(arrivals: Arrivals, now: float) -> None:
    """A conversation is over: under a cap the first one that waits for that may open now."""
    place = arrivals.counts[NEXT] + arrivals.cap - arrivals.counts[OPEN] - 1
    if arrivals.cap > 0 and place < len(arrivals.openers):
        request = arrivals.openers[place]
        arrivals.due[request] = max(arrivals.due[request], now)


@inner_njit
def _opener_s(arrivals: Arrivals) -> float:
    counts = arrivals.counts
    if counts[NEXT] == len(arrivals.openers) or (arrivals.cap > 0 and counts[OPEN] >= arrivals.cap):
        return np.inf
    return float(arrivals.due[arrivals.openers[counts[NEXT]]])


@inner_njit
def push(arrivals: Arrivals, request: int) -> None:
    """A request comes when it is due, whatever else happens."""
    heap, due = arrivals.heap, arrivals.due
    place = arrivals.counts[THINKING]
    arrivals.counts[THINKING] += 1
    while place > 0:
        parent = (place - 1) >> 1
        if due[heap[parent]] <= due[request]:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = request


@inner_njit
def _pop(arrivals: Arrivals) -> int:
    heap, due = arrivals.heap, arrivals.due
    first = heap[0]
    arrivals.counts[THINKING] -= 1
    size = arrivals.counts[THINKING]
    request = heap[size]
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and due[heap[child + 1]] < due[heap[child]]:
            child += 1
        if due[request] <= due[heap[child]]:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = request
    return int(first)
