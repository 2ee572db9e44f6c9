"""Independent replicas behind one front end, in time: each takes steps of its own, an answer anywhere lets others come.

Events are taken in order of time: at one moment steps end first, then requests arrive, then steps begin. A stretch of
alike steps is planned when it begins, taken when it ends, and cut where a request arrives in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_s, take_next
from model.simulate.blocks import NONE, Ints, blocks_in_use
from model.simulate.clock import (
    Engine,
    Step,
    Stretch,
    before,
    end_step,
    goes_on,
    length_s,
    note_scheduled,
    plan,
    seen_in,
    stamp,
    step_of,
    take,
)
from model.simulate.costs import StepCosts
from model.simulate.log import Book, with_room, write
from model.simulate.ranks import Ranks, engine_of
from model.simulate.records import Record, Records
from model.simulate.routing import Desk, report, route
from model.simulate.scheduler import arrive, schedule
from model.simulate.state import Requests, Settings, State

IDLE, READY, STEPPING, STRETCHING = range(4)
_WATCHED = np.dtype(
    [
        ("mode", np.int64), ("began_s", np.float64), ("end_s", np.float64), ("seen_s", np.float64), ("alike", np.int64),
        ("seconds", np.float64), ("decodes", np.int64), ("cached", np.int64), ("emitted", np.int64),
        ("steps", np.int64), ("step_s", np.float64), ("slope_s", np.float64), ("first", np.int64), ("last", np.int64),
    ]
)  # fmt: skip


class Watch(NamedTuple):
    """What k replicas are about, `each` of them: its `mode`, since when and until when (`READY`: from when it may
    begin), until when the next step has `seen` requests come, whether that may be `alike` the last. Of a step its
    `seconds`, how many `decodes`, tokens in their `cached` ones, and tokens `emitted`; of a stretch its `steps` of
    `decodes`, each `slope_s` longer than the one before, the first of `step_s`.

    Requests that came and were not seen yet: `first` to `last` of each, a chain of `behind`, n, or NONE.
    """

    each: Records
    behind: Ints


def new_watch(count: int, requests: int) -> Watch:
    """All are idle; so many requests will come."""
    each = np.zeros(count, dtype=_WATCHED)
    each["end_s"], each["first"], each["last"] = np.inf, NONE, NONE
    return Watch(each, np.full(requests, NONE, dtype=np.int64))


Watched = tuple[Ranks, Watch]


@outer_njit
def serve_apart(
    settings: Settings,
    requests: Requests,
    costs: StepCosts,
    arrivals: Arrivals,
    skips: bool,
    engines: Watched,
    desk: Desk,
    book: Book,
) -> Book:
    """Serve n requests on fresh replicas, as `clock.serve` does on one."""
    ranks, watch = engines
    now, coming = 0.0, next_s(arrivals)
    while arrivals.status[0].done < len(arrivals.due):
        book = with_room(book, settings.seqs + 1)
        busy, busy_s, ready, ready_s = earliest(watch.each)
        if busy_s < np.inf and busy_s <= min(max(coming, now), ready_s):
            now, engine = busy_s, engine_of(ranks, busy)
            state = engine[0]
            finished = end(settings, requests, engine, watch.each[busy], book)
            let_come(arrivals, state.finished[:finished], now)
            report(desk, busy, state.status[0].waiting, state.status[0].running, now)
            rest(state, watch.each[busy])
        elif coming < np.inf and max(coming, now) <= ready_s:
            now = max(coming, now)
            request = take_next(arrivals, coming)
            book.times[request].arrived = arrivals.due[request]
            come(settings, watch, route(desk, now), request, now)
        elif ready_s < np.inf:
            engine = engine_of(ranks, ready)
            see(settings, requests, engine[0], watch, ready, book)
            begin(settings, requests, costs, engine, watch.each[ready], book, skips)
        else:
            break  # what waits can never run; it stays unanswered
        coming = next_s(arrivals)
    return book


@inner_njit
def earliest(each: Records) -> tuple[int, float, int, float]:
    """The replica that ends before all others, and when; the one that may begin before all others, and when. Inf where
    there is none."""
    busy, busy_s, ready, ready_s = 0, np.inf, 0, np.inf
    for rank in range(len(each)):
        at = each[rank].end_s
        if each[rank].mode == READY:
            if at < ready_s:
                ready, ready_s = rank, at
        elif at < busy_s:
            busy, busy_s = rank, at
    return busy, busy_s, ready, ready_s


@inner_njit
def come(settings: Settings, watch: Watch, rank: int, request: int, now: float) -> None:
    """A request comes to a replica: what goes on there ends with the last step that is decided."""
    own = watch.each[rank]
    line_up(watch, rank, request)
    if own.mode == IDLE:
        own.mode, own.end_s, own.seen_s = READY, now, now
    elif own.mode == STRETCHING:
        own.steps = before(settings, now, own.seen_s, own.began_s, _stretch(own)).steps
        own.end_s = own.began_s + length_s(_stretch(own))


@inner_njit
def line_up(watch: Watch, rank: int, request: int) -> None:
    """A request that comes is the last that the replica will see."""
    own = watch.each[rank]
    if own.first == NONE:
        own.first = request
    else:
        watch.behind[own.last] = request
    own.last = request


@inner_njit
def see(settings: Settings, requests: Requests, state: State, watch: Watch, rank: int, book: Book) -> None:
    """Who came in time waits from here on."""
    own = watch.each[rank]
    request = own.first
    while request != NONE and book.times[request].arrived <= own.seen_s:
        arrive(settings, requests, state, request)
        request = watch.behind[request]
        own.alike = 0
    own.first = request


@inner_njit
def begin(
    settings: Settings, requests: Requests, costs: StepCosts, engine: Engine, own: Record, book: Book, skips: bool
) -> None:
    """A stretch, a step, or nothing where nobody can run, of one replica with its `own` part of the watch."""
    state, blocks = engine
    status, now = state.status[0], own.end_s
    own.began_s = now
    if skips and own.alike == 1 and own.first == NONE:
        own.alike = 0
        stretch = plan(settings, requests, costs, engine, Step(own.seconds, own.decodes, own.cached))
        if stretch.steps > 0:
            own.steps, own.step_s, own.slope_s = stretch.steps, stretch.first, stretch.slope
            own.mode, own.end_s = STRETCHING, now + length_s(stretch)
            return
    schedule(settings, requests, state, blocks)
    if status.scheduled + status.preempted == 0:
        _wait(own)
        return
    note_scheduled(book, status.preempted, blocks)
    step = step_of(state, costs, settings.drafts)
    own.mode, own.end_s = STEPPING, now + step.seconds
    own.seconds, own.decodes, own.cached = step.seconds, step.decodes, step.cached
    own.emitted = stamp(requests, state, book, now, now + step.seconds)


@inner_njit
def end(settings: Settings, requests: Requests, engine: Engine, own: Record, book: Book) -> int:
    """The step or stretch ran; answers how many requests are done."""
    state, blocks = engine
    now = own.end_s
    if own.mode == STRETCHING:
        take(settings, requests, engine, book, _stretch(own), own.began_s)
        own.seen_s = seen_in(settings, _stretch(own), own.seen_s, now)
        return 0
    own.seen_s = own.began_s if settings.ahead else now
    end_step(settings, requests, engine, book, now)
    write(book, now, 1, own.seconds, own.seconds, own.emitted, blocks_in_use(blocks))
    own.alike = goes_on(state, own.decodes)
    return int(state.status[0].finished)


@inner_njit
def rest(state: State, own: Record) -> None:
    """Between two steps: ready for the next one where anybody is there."""
    own.mode = READY
    if state.status[0].running + state.status[0].waiting == 0:
        _wait(own)


@inner_njit
def _wait(own: Record) -> None:
    """Nobody can run: ready at once where somebody came who was not seen, else idle."""
    if own.first == NONE:
        own.mode, own.end_s = IDLE, np.inf
    else:
        own.mode, own.seen_s = READY, own.end_s


@inner_njit
def _stretch(own: Record) -> Stretch:
    return Stretch(own.steps, own.step_s, own.slope_s, own.decodes)
