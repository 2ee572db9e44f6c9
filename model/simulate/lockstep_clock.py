"""Replicas whose experts are spread over all of them, in time: they take each step together (`together`), and each of
the ones that follow, until all have nothing to do. Source: the behaviour of vllm 0.19's DPEngineCoreProc.
"""

from __future__ import annotations

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_s, take_next
from model.simulate.clock import (
    Stretch,
    before,
    decode_all,
    end_step,
    goes_on,
    length_s,
    note_scheduled,
    seen_in,
    shape_of,
    stamp,
    steps_alike,
)
from model.simulate.costs import decode_segment
from model.simulate.log import Book, with_room, write
from model.simulate.ranks import Ranks, engine_of, most_used
from model.simulate.routing import Desk, report, route
from model.simulate.scheduler import arrive, schedule
from model.simulate.state import Requests, Settings
from model.simulate.together import SHAPE, LockstepCosts, Shapes, decoding_in, lockstep_s, put, together_s


@outer_njit
def serve_together(
    settings: Settings,
    requests: Requests,
    costs: LockstepCosts,
    arrivals: Arrivals,
    skips: bool,
    ranks: Ranks,
    desk: Desk,
    book: Book,
) -> Book:
    """Serve n requests on fresh replicas, as `clock.serve` does on one."""
    status, shapes = arrivals.status[0], np.zeros(len(desk.each), dtype=SHAPE)
    now, seen, coming = 0.0, 0.0, next_s(arrivals)
    while status.done < len(arrivals.due) and now < np.inf:
        if status.done == status.came:
            now = seen = max(now, coming)
        while coming <= seen:
            request = take_next(arrivals, coming)
            book.times[request].arrived = arrivals.due[request]
            arrive(settings, requests, engine_of(ranks, route(desk, coming))[0], request)
            coming = next_s(arrivals)
        if not _schedule(settings, requests, ranks, shapes, book):
            now = seen = max(now, coming)
            continue
        seconds = together_s(costs, settings.drafts.share, shapes)
        book = with_room(book, len(shapes) * (settings.seqs + 1))
        began, now = now, now + seconds
        seen = began if settings.ahead else now
        emitted = _stamp(requests, ranks, book, began, now)
        _finish(settings, requests, ranks, book, arrivals, desk, now)
        coming = next_s(arrivals)
        write(book, now, 1, seconds, seconds, emitted, most_used(ranks))
        if skips and _go_on(ranks, shapes):
            stretch = before(settings, coming, seen, now, _plan(settings, requests, costs, ranks, shapes))
            now = _take(settings, requests, ranks, book, stretch, now)
            seen = seen_in(settings, stretch, seen, now)
    return book


@inner_njit
def _schedule(settings: Settings, requests: Requests, ranks: Ranks, shapes: Shapes, book: Book) -> bool:
    """Everyone's next step; answers whether anything was decided."""
    decided = False
    for rank in range(len(shapes)):
        state, blocks = engine_of(ranks, rank)
        schedule(settings, requests, state, blocks)
        note_scheduled(book, state.status[0].preempted, blocks)
        put(shapes[rank], shape_of(state))
        decided = decided or state.status[0].scheduled + state.status[0].preempted > 0
    return decided


@inner_njit
def _stamp(requests: Requests, ranks: Ranks, book: Book, began: float, now: float) -> int:
    emitted = 0
    for rank in range(len(ranks.states.status)):
        emitted += stamp(requests, engine_of(ranks, rank)[0], book, began, now)
    return emitted


@inner_njit
def _finish(
    settings: Settings,
    requests: Requests,
    ranks: Ranks,
    book: Book,
    arrivals: Arrivals,
    desk: Desk,
    now: float,
) -> None:
    """The step ran everywhere."""
    for rank in range(len(ranks.states.status)):
        engine = engine_of(ranks, rank)
        state, status = engine[0], engine[0].status[0]
        end_step(settings, requests, engine, book, now)
        let_come(arrivals, state.finished[: status.finished], now)
        report(desk, rank, status.waiting, status.running, now)


@inner_njit
def _go_on(ranks: Ranks, shapes: Shapes) -> bool:
    """Whether the next step is like this one everywhere."""
    for rank in range(len(shapes)):
        state = engine_of(ranks, rank)[0]
        now = state.status[0]
        is_idle = now.running + now.waiting + now.finished == 0
        if not is_idle and not goes_on(state, int(shapes[rank].decodes)):
            return False
    return bool(decoding_in(shapes) > 0)


@inner_njit
def _plan(settings: Settings, requests: Requests, costs: LockstepCosts, ranks: Ranks, shapes: Shapes) -> Stretch:
    """All steps like the last that can follow it: of a maximum of linear times, the greatest first and last is the
    greatest throughout."""
    more = 1 << 40
    for rank in range(len(shapes)):
        shape = shapes[rank]
        if shape.decodes > 0.0:
            mean = shape.cached / shape.decodes
            most = int(min(decode_segment(costs.own, mean + 1.0) - mean, 1e12))
            more = min(more, steps_alike(settings, requests, engine_of(ranks, rank), most))
    decoding = decoding_in(shapes)
    first, slowest = lockstep_s(costs, shapes, 1.0)
    while more > 1:
        last, slowest_then = lockstep_s(costs, shapes, float(more))
        if slowest_then == slowest:
            return Stretch(more, first, (last - first) / (more - 1), decoding)
        more >>= 1
    return Stretch(max(more, 0), first, 0.0, decoding)


@inner_njit
def _take(settings: Settings, requests: Requests, ranks: Ranks, book: Book, stretch: Stretch, now: float) -> float:
    """Take the steps of a stretch everywhere; answers when they end."""
    if stretch.steps == 0:
        return now
    end = float(now + length_s(stretch))
    for rank in range(len(ranks.states.status)):
        decode_all(settings, requests, engine_of(ranks, rank), book, stretch.steps, end)
    last = stretch.first + stretch.slope * (stretch.steps - 1)
    write(book, end, stretch.steps, stretch.first, last, stretch.decodes, most_used(ranks))
    return end
