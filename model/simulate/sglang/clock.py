"""SGLang's decisions in time: a server that serves requests as they arrive, compiled.

Stretches in which everyone decodes and nobody comes or goes are taken at once, as `model.simulate.clock` does; what
the tree gives up on the way is counted step by step. Where steps are decided on ahead, an arrival or an answer during a
step is known when the next one has begun.
"""

from __future__ import annotations

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_s, take_next
from model.simulate.blocks import NONE, Ints
from model.simulate.clock import Stretch
from model.simulate.costs import StepCosts, attention_s, decode_segment, step_s
from model.simulate.log import Book, steps_before, with_room, write, write_late
from model.simulate.sglang.radix import Tree
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
        _answer(arrivals, server.finished[:owed], now)
        coming = next_s(arrivals)
        if kind == FAILS or (kind == IDLE and coming == np.inf):
            break
        if kind == IDLE:
            now = seen = max(now, coming)
            owed = 0
            continue
        _note_retracted(server, book, told)
        seconds, used, began = _seconds(flags, costs, server, kind), total - _unused(server, tree), now
        book = with_room(book, status.fresh + status.prefills)
        now += seconds
        alike = _note_decoded(server, book, kind, now)
        gap = now - told if alike > 0 else seconds
        told = now if kind != PREFILL else told
        finish_step(flags, requests, engine, kind)
        _note_finished(server, book, kind, now)
        write(book, now, 1, gap, gap, alike, used)
        seen, owed = (began, status.finished) if flags.ahead and _is_busy(server) else (now, 0)
        _answer(arrivals, server.finished[: status.finished - owed], now)
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
def _answer(arrivals: Arrivals, finished: Ints, now: float) -> None:
    """These have their answers, and may send more requests; without conversations these are due already."""
    if arrivals.talks:
        let_come(arrivals, finished, now)
    else:
        arrivals.status[0].done += len(finished)


@inner_njit
def _is_busy(server: Server) -> bool:
    """Whether anything is left to do, so that the next step was decided on already."""
    now = server.status[0]
    return bool(now.running > 0 or now.partial != NONE or now.head < now.tail)


@inner_njit
def _unused(server: Server, tree: Tree) -> int:
    """Pages that no request holds."""
    return int(server.status[0].free + tree.status[0].idle)


@inner_njit
def _seconds(flags: Flags, costs: StepCosts, server: Server, kind: int) -> float:
    """What the scheduled step costs."""
    now = server.status[0]
    if kind == DECODE and flags.drafts.tokens > 0:
        return float(_verifying_s(flags, costs, server))
    tokens, sequences, squares, past, mean, decodes = 0, 0, 0.0, 0.0, 0.0, 0
    if kind != PREFILL:
        decodes = now.running
        tokens, sequences, mean = decodes, decodes, (now.cached + decodes) / decodes
    if kind != DECODE:
        for place in range(now.prefills):
            count = server.lists[place].tokens
            tokens += count
            squares += float(count) * count
            past += server.seats[server.lists[place].prefill].computed - count
        sequences += now.prefills
    return float(step_s(costs, tokens, sequences, np.sqrt(squares), past, float(decodes), mean))


@inner_njit
def _verifying_s(flags: Flags, costs: StepCosts, server: Server) -> float:
    """What a step costs in which all who run have their drafted tokens verified, and new ones drafted."""
    now = server.status[0]
    decodes, tokens = now.running, now.running * (1 + flags.drafts.tokens)
    mean = (now.cached + tokens) / decodes
    seconds = costs.step + costs.tokens[tokens] + costs.sequences[tokens]
    seconds += attention_s(costs, 0.0, 0.0, 0.0, float(decodes), mean)
    return float(seconds + flags.drafts.share * step_s(costs, decodes, decodes, 0.0, 0.0, float(decodes), mean))


@inner_njit
def _note_retracted(server: Server, book: Book, told: float) -> None:
    """Those sent back got their latest token in the latest decode step, unless they began after it."""
    for place in range(server.status[0].retracted):
        times = book.times[server.lists[place].retracted]
        times.token_s = max(times.token_s, told)
    book.tally[0].preemptions += server.status[0].retracted


@inner_njit
def _note_decoded(server: Server, book: Book, kind: int, now: float) -> int:
    """Write down the gaps of those who decode for the first time; answers how many did so in the latest step too."""
    if kind == PREFILL:
        return 0
    status, alike = server.status[0], server.status[0].running
    for place in range(status.fresh):
        request = server.lists[place].fresh
        if server.seats[request].entered != NONE:
            write_late(book, now - book.times[request].token_s)
            alike -= 1
    status.fresh = 0
    return int(alike)


@inner_njit
def _note_finished(server: Server, book: Book, kind: int, now: float) -> None:
    """Write down who is done, and the tokens that the prompts yielded."""
    status = server.status[0]
    for request in server.finished[: status.finished]:
        book.times[request].last_s = now
    if kind == DECODE:
        return
    for place in range(status.prefills):
        request = server.lists[place].prefill
        if request == status.partial:
            continue
        seat, times = server.seats[request], book.times[request]
        if seat.outputs == 1:
            times.first_s = now
        else:
            write_late(book, now - times.token_s)
        times.token_s = now
        if seat.entered != NONE:
            server.lists[status.fresh].fresh = request
            status.fresh += 1


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
    before = _unused(server, tree)
    taken = _decode_on(flags, requests, engine, stretch.steps)
    if taken == 0:
        return now, seen
    last = stretch.first + stretch.slope * (taken - 1)
    now += 0.5 * taken * (stretch.first + last)
    used = book.stretches[book.tally[0].stretches - 1].used + before - _unused(server, tree)
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
