"""Independent replicas behind one front end, in time: each takes steps of its own, an answer anywhere lets others come.

Events are taken in order of time: at one moment steps end first, then requests arrive, then steps begin. A stretch of
alike steps is planned when it begins, taken when it ends, and cut where a request arrives in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_alone_s, next_in_turn_s, take_in_turn
from model.simulate.blocks import NONE, Ints
from model.simulate.clock import Engine, Step, Stretch, before, goes_on, length_s, plan, seen_in, stamp, step_of, take
from model.simulate.costs import Floats, StepCosts
from model.simulate.log import PEAK, Book, Served, closed, new_book, with_room, write
from model.simulate.ranks import Ranks, engine_of
from model.simulate.routing import Desk, report, route
from model.simulate.scheduler import arrive, finish_step, schedule
from model.simulate.state import FINISHED, PREEMPTED, RUNNING, SCHEDULED, WAITING, Requests, Settings, State

IDLE, READY, STEPPING, STRETCHING = range(4)


class Watch(NamedTuple):
    """What k replicas are about, `k` each: `mode`, since when and until when (`READY`: from when it may begin), until
    when the next step has `seen` requests come, whether that may be `alike` the last; and `numbers` of a `Step` and its
    tokens, or of a `Stretch`, `k x 4`.

    Requests that came and were not seen yet: `first` to `last` of each, a chain of `behind`, `n`, or NONE.
    """

    mode: Ints
    began_s: Floats
    end_s: Floats
    seen_s: Floats
    alike: Ints
    numbers: Floats
    first: Ints
    last: Ints
    behind: Ints


def new_watch(count: int, requests: int) -> Watch:
    """All are idle; so many requests will come."""
    zeros, nobody = np.zeros(count, dtype=np.int64), np.full(count, NONE, dtype=np.int64)
    ends, behind = np.full(count, np.inf), np.full(requests, NONE, dtype=np.int64)
    return Watch(
        zeros, np.zeros(count), ends, np.zeros(count), zeros.copy(), np.zeros((count, 4)), nobody, nobody.copy(), behind
    )


@outer_njit
def serve_apart(
    settings: Settings,
    requests: Requests,
    costs: StepCosts,
    arrivals: Arrivals,
    skips: bool,
    ranks: Ranks,
    desk: Desk,
    watch: Watch,
) -> Served:
    """Serve n requests on fresh replicas, as `clock.serve` does on one."""
    due, cap, talks = arrivals.due, arrivals.cap, len(arrivals.follower) > 0
    book, came, done, preemptions, now, coming = new_book(len(due)), 0, 0, 0, 0.0, due.min()
    while done < len(due):
        book = with_room(book, settings.seqs + 1)
        busy, busy_s = earliest(watch, False)
        ready, ready_s = earliest(watch, True)
        if busy_s < np.inf and busy_s <= min(max(coming, now), ready_s):
            now, engine = busy_s, engine_of(ranks, busy)
            finished = end(settings, requests, engine, watch, busy, book)
            let_come(arrivals, due, cap, talks, done, engine[0].finished, finished, now)
            done += finished
            report(desk, busy, engine[0].counts[WAITING], engine[0].counts[RUNNING], now)
            rest(engine, watch, busy)
        elif coming < np.inf and max(coming, now) <= ready_s:
            now = max(coming, now)
            request = take_in_turn(arrivals, coming) if talks else came
            book.arrived[request] = due[request]
            come(settings, watch, route(desk, now), request, now)
            came += 1
        elif ready_s < np.inf:
            see(settings, requests, engine_of(ranks, ready)[0], watch, ready, book)
            preemptions += begin(settings, requests, costs, engine_of(ranks, ready), watch, ready, book, skips)
        else:
            break  # what waits can never run; it stays unanswered
        coming = next_in_turn_s(arrivals) if talks else next_alone_s(due, cap, came, done)
    served: Served = closed(book, preemptions)
    return served


@inner_njit
def earliest(watch: Watch, is_ready: bool) -> tuple[int, float]:
    """The replica that may begin, or else that ends, before all others, and when; inf where there is none."""
    found, least = 0, np.inf
    for rank in range(len(watch.mode)):
        if watch.end_s[rank] < least and (watch.mode[rank] == READY) == is_ready:
            found, least = rank, watch.end_s[rank]
    return found, least


@inner_njit
def come(settings: Settings, watch: Watch, rank: int, request: int, now: float) -> None:
    """A request comes to a replica: what goes on there ends with the last step that is decided."""
    if watch.first[rank] == NONE:
        watch.first[rank] = request
    else:
        watch.behind[watch.last[rank]] = request
    watch.last[rank] = request
    if watch.mode[rank] == IDLE:
        watch.mode[rank], watch.end_s[rank], watch.seen_s[rank] = READY, now, now
    elif watch.mode[rank] == STRETCHING:
        began = watch.began_s[rank]
        stretch = before(settings, now, watch.seen_s[rank], began, _stretch(watch.numbers[rank]))
        watch.numbers[rank, 0] = stretch.steps
        watch.end_s[rank] = began + length_s(stretch)


@inner_njit
def see(settings: Settings, requests: Requests, state: State, watch: Watch, rank: int, book: Book) -> None:
    """Who came in time waits from here on."""
    request = watch.first[rank]
    while request != NONE and book.arrived[request] <= watch.seen_s[rank]:
        arrive(settings, requests, state, request)
        request = watch.behind[request]
        watch.alike[rank] = 0
    watch.first[rank] = request


@inner_njit
def begin(
    settings: Settings,
    requests: Requests,
    costs: StepCosts,
    engine: Engine,
    watch: Watch,
    rank: int,
    book: Book,
    skips: bool,
) -> int:
    """A stretch, a step, or nothing where nobody can run; answers how many were preempted."""
    state, blocks = engine
    now, numbers = watch.end_s[rank], watch.numbers[rank]
    watch.began_s[rank] = now
    if skips and watch.alike[rank] == 1 and watch.first[rank] == NONE:
        watch.alike[rank] = 0
        stretch = plan(settings, requests, costs, engine, Step(numbers[0], int(numbers[1]), int(numbers[2])))
        if stretch.steps > 0:
            numbers[0], numbers[1], numbers[2], numbers[3] = stretch
            watch.mode[rank], watch.end_s[rank] = STRETCHING, now + length_s(stretch)
            return 0
    schedule(settings, requests, state, blocks)
    if state.counts[SCHEDULED] + state.counts[PREEMPTED] == 0:
        _wait(watch, rank)
        return 0
    book.counts[PEAK] = max(book.counts[PEAK], len(blocks.users) - blocks.free[0])
    step = step_of(state, costs, settings.drafts)
    watch.mode[rank], watch.end_s[rank] = STEPPING, now + step.seconds
    numbers[0], numbers[1], numbers[2] = step
    numbers[3] = stamp(requests, state, book, now, now + step.seconds)
    return int(state.counts[PREEMPTED])


@inner_njit
def end(settings: Settings, requests: Requests, engine: Engine, watch: Watch, rank: int, book: Book) -> int:
    """The step or stretch ran; answers how many requests are done."""
    state, blocks = engine
    now, numbers = watch.end_s[rank], watch.numbers[rank]
    if watch.mode[rank] == STRETCHING:
        stretch = _stretch(numbers)
        take(settings, requests, engine, book, stretch, watch.began_s[rank])
        watch.seen_s[rank] = seen_in(settings, stretch, watch.seen_s[rank], now)
        return 0
    watch.seen_s[rank] = watch.began_s[rank] if settings.ahead else now
    finish_step(settings, requests, state, blocks)
    finished = state.counts[FINISHED]
    book.last_s[state.finished[:finished]] = now
    write(book, now, 1, numbers[0], numbers[0], numbers[3], len(blocks.users) - blocks.free[0])
    watch.alike[rank] = goes_on(state, int(numbers[1]))
    return int(finished)


@inner_njit
def rest(engine: Engine, watch: Watch, rank: int) -> None:
    """Between two steps: ready for the next one where anybody is there."""
    count = engine[0].counts
    watch.mode[rank] = READY
    if count[RUNNING] + count[WAITING] == 0:
        _wait(watch, rank)


@inner_njit
def _wait(watch: Watch, rank: int) -> None:
    """Nobody can run: ready at once where somebody came who was not seen, else idle."""
    if watch.first[rank] == NONE:
        watch.mode[rank], watch.end_s[rank] = IDLE, np.inf
    else:
        watch.mode[rank], watch.seen_s[rank] = READY, watch.end_s[rank]


@inner_njit
def _stretch(numbers: Floats) -> Stretch:
    return Stretch(int(numbers[0]), numbers[1], numbers[2], int(numbers[3]))
