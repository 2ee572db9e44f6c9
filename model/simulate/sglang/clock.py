"""SGLang's decisions in time: a server that serves requests as they arrive, compiled.

Stretches in which everyone decodes and nobody comes or goes are taken at once, as `model.simulate.clock` does; what
the tree gives up on the way is counted step by step. Where steps are decided on ahead, an arrival or an answer during a
step is known when the next one has begun.
"""

from __future__ import annotations

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, next_s, take_next
from model.simulate.blocks import NONE
from model.simulate.clock import Stretch, shape_s
from model.simulate.costs import StepCosts, decode_segment, step_s
from model.simulate.log import Book, steps_before, with_room, write
from model.simulate.sglang.notes import answer, note_decoded, note_finished, note_retracted, shape_of, unused
from model.simulate.sglang.running import has_pages, take_pages
from model.simulate.sglang.scheduler import DECODE, FAILS, IDLE, PREFILL, finish_step, schedule
from model.simulate.sglang.server import Engine, Flags, Server
from model.simulate.sglang.waiting import wait
from model.simulate.state import Requests


@outer_njit
def serve_sglang(
    flags: Flags, requests: Requests, costs: StepCosts, arrivals: Arrivals, skips: bool, engine: Engine, book: Book
) -> Book:
    """Serve n requests as they arrive on a fresh engine; what it can never serve stays unanswered."""
    server, tree = engine
    status, n = server.status[0], len(arrivals.due)
    total, owed, now, seen, told = status.free, 0, 0.0, 0.0, 0.0
    while arrivals.status[0].done < n:
        _receive(flags, requests, server, arrivals, book, seen)
        kind = schedule(flags, requests, engine)
        if kind == IDLE:  # nobody is in the batch any more, which may let somebody in
            kind = schedule(flags, requests, engine)
        answer(arrivals, server.finished[:owed], now)
        coming = next_s(arrivals)
        if kind == FAILS or (kind == IDLE and coming == np.inf):
            break
        if kind == IDLE:
            now = seen = max(now, coming)
            owed = 0
            continue
        note_retracted(server, book, told)
        seconds = shape_s(costs, flags.drafts.share, shape_of(flags, server, kind))
        used, began = total - unused(server, tree), now
        book = with_room(book, status.fresh + status.prefills)
        now += seconds
        alike = note_decoded(server, book, kind, now)
        gap = now - told if alike > 0 else seconds
        told = now if kind != PREFILL else told
        finish_step(flags, requests, engine, kind)
        note_finished(server, book, kind, now)
        write(book, now, 1, gap, gap, alike, used)
        seen, owed = (began, status.finished) if flags.ahead and _is_busy(server) else (now, 0)
        answer(arrivals, server.finished[: status.finished - owed], now)
        if skips and kind == DECODE and _goes_on(flags, server):
            stretch = _plan(flags, costs, server, next_s(arrivals), seen, now)
            now, seen = _take(flags, requests, engine, book, stretch, seen, now)
            told = now
    return book


@inner_njit
def _receive(
    flags: Flags,
    requests: Requests,
    server: Server,
    arrivals: Arrivals,
    book: Book,
    seen: float,
) -> None:
    """Let those wait who arrived until `seen`."""
    coming = next_s(arrivals)
    while coming <= seen:
        request = take_next(arrivals, seen)
        book.times[request].arrived = seen if arrivals.cap > 0 and not arrivals.talks else arrivals.due[request]
        wait(flags, requests, server, request)
        coming = next_s(arrivals)


@inner_njit
def _is_busy(server: Server) -> bool:
    """Whether anything is left to do, so that the next step was decided on already."""
    now = server.status[0]
    return bool(now.running > 0 or now.partial != NONE or now.head < now.tail)


@inner_njit
def _goes_on(flags: Flags, server: Server) -> bool:
    """Whether the next step is one that decodes, for the same requests, a token each."""
    now = server.status[0]
    is_alike = now.gone == 0 and now.partial == NONE and flags.drafts.tokens == 0
    return bool(is_alike and (now.is_full or now.head == now.tail))


@inner_njit
def _plan(flags: Flags, costs: StepCosts, server: Server, coming: float, seen: float, now: float) -> Stretch:
    """All the next steps in which everyone decodes and nobody is done; none is decided on after `coming`."""
    status = server.status[0]
    decodes = status.running
    mean = (status.cached + decodes) / decodes
    most = _until_done(server, np.int64(min(decode_segment(costs, mean) - mean + 1.0, 1e12)))
    if most == 0 or coming <= seen:
        return Stretch(0, 0.0, 0.0, decodes)
    first, slope = step_s(costs, decodes, decodes, 0.0, 0.0, float(decodes), mean), 0.0
    if most > 1:
        last = step_s(costs, decodes, decodes, 0.0, 0.0, float(decodes), mean + most - 1)
        slope = (last - first) / (most - 1)
    # where each step is decided on when the one before begins, one more is
    steps = min(steps_before(coming - now, most, first, slope) + (1 if flags.ahead else 0), most)
    return Stretch(steps, first, slope, decodes)


@inner_njit
def _take(
    flags: Flags, requests: Requests, engine: Engine, book: Book, stretch: Stretch, seen: float, now: float
) -> tuple[float, float]:
    """Take the steps of a stretch while pages last; answers when they end, and until when arrivals were seen."""
    server, tree = engine
    before = unused(server, tree)
    taken = _decode_on(flags, requests, engine, stretch.steps)
    if taken == 0:
        return now, seen
    last = stretch.first + stretch.slope * (taken - 1)
    now += 0.5 * taken * (stretch.first + last)
    used = book.stretches[book.tally[0].stretches - 1].used + before - unused(server, tree)
    write(book, now, taken, stretch.first, last, stretch.decodes, np.int64(used))
    return now, now - last if flags.ahead else now


@inner_njit
def _until_done(server: Server, most: int) -> int:
    """How many of the next `most` decode steps pass before anyone is done."""
    steps, mask, more = server.status[0].steps, len(server.bucket) - 1, 0
    while more < most and server.bucket[(steps + more + 1) & mask] == NONE:
        more += 1
    return more


@inner_njit
def _decode_on(flags: Flags, requests: Requests, engine: Engine, most: int) -> int:
    """Take up to `most` decode steps while pages last; answers how many."""
    server, _ = engine
    now, taken = server.status[0], 0
    while taken < most and has_pages(flags, requests, engine):
        now.ratio = max(now.ratio - flags.decay, flags.least_ratio)
        take_pages(flags, requests, engine)
        now.steps += 1
        now.cached += now.running
        taken += 1
    return taken
