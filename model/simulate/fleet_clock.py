"""`clock.serve` for the common case, many times as fast: see `fleet` for when it holds."""

from __future__ import annotations

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_s, take_next
from model.simulate.blocks import NONE
from model.simulate.clock import Stretch, before, length_s, seen_in
from model.simulate.costs import StepCosts, decode_segment, step_s
from model.simulate.fleet import Fleet, blocks_needed, enter, join_queue, leave, preempt_last, run_next, stop_running
from model.simulate.log import Book, with_room, write, write_late
from model.simulate.state import Requests, Settings


@outer_njit
def serve_fleet(
    settings: Settings, requests: Requests, costs: StepCosts, arrivals: Arrivals, skips: bool, fleet: Fleet, book: Book
) -> Book:
    """As `clock.serve`, on a fresh fleet."""
    status, total = fleet.status[0], fleet.status[0].free
    now, seen, coming = 0.0, 0.0, next_s(arrivals)
    while arrivals.status[0].done < len(arrivals.due) and now < np.inf:
        if status.running + status.queued == 0:
            now = seen = max(now, coming)
        while coming <= seen:
            request = take_next(arrivals, coming)
            book.times[request].arrived = arrivals.due[request]
            join_queue(fleet, request)
            coming = next_s(arrivals)
        preempted = status.preempted
        _schedule(settings, requests, fleet, book, now)
        decodes, tally = status.decoding, book.tally[0]
        tally.peak, tally.preemptions = max(tally.peak, total - status.free), status.preempted
        if decodes + status.parts == 0 and status.preempted == preempted:
            now = seen = max(now, coming)
            continue
        seconds = _seconds(costs, fleet)
        seen = now if settings.ahead else now + seconds
        now += seconds
        book = with_room(book, status.parts)
        _finish_decodes(settings, fleet, book, now)
        _finish_prompts(settings, requests, fleet, book, now)
        let_come(arrivals, fleet.finished[: status.finished], now)
        coming = next_s(arrivals)
        write(book, now, 1, seconds, seconds, decodes, total - status.free)
        if skips and decodes > 0 and status.parts + status.finished + status.preempted == preempted:
            stretch = before(settings, coming, seen, now, _plan(fleet, costs))
            now = _take(fleet, book, stretch, total, now)
            seen = seen_in(settings, stretch, seen, now)
    return book


@inner_njit
def _goal(settings: Settings, requests: Requests, request: int) -> int:
    asked = requests.asked[request]
    return int(min(asked.limit, max(settings.model_len - asked.prompt, 1)))


@inner_njit
def _schedule(settings: Settings, requests: Requests, fleet: Fleet, book: Book, now: float) -> None:
    """Blocks for everyone who decodes, then prompts as the budget lasts."""
    status = fleet.status[0]
    before = status.preempted
    status.parts = 0
    need = blocks_needed(fleet.classes, status.steps)
    while need > status.free:
        last = fleet.seats[len(fleet.seats) - 1].before
        if last != status.partial:
            book.times[last].token_s = now
        preempt_last(settings, fleet, _goal(settings, requests, last), last)
        need = blocks_needed(fleet.classes, status.steps)
    status.free -= need
    budget = settings.batched_tokens - status.decoding
    if status.partial != NONE and budget > 0:
        budget -= _go_on(settings, requests, fleet, budget)
    if status.preempted == before:
        _admit(settings, requests, fleet, budget)


@inner_njit
def _go_on(settings: Settings, requests: Requests, fleet: Fleet, budget: int) -> int:
    """The next part of the prompt that was begun, or its preemption; answers its tokens."""
    now, request = fleet.status[0], fleet.status[0].partial
    seat = fleet.seats[request]
    tokens = min(requests.asked[request].prompt + seat.outputs - seat.computed, budget)
    blocks = _blocks(settings, seat.computed + tokens) - _blocks(settings, seat.computed)
    if blocks > now.free:
        preempt_last(settings, fleet, _goal(settings, requests, request), request)
        return 0
    now.free -= blocks
    _note(fleet, request, tokens)
    return int(tokens)


@inner_njit
def _admit(settings: Settings, requests: Requests, fleet: Fleet, budget: int) -> None:
    now = fleet.status[0]
    while now.queued > 0 and budget > 0 and now.running < settings.seqs:
        request = now.head
        known = requests.asked[request].prompt + fleet.seats[request].outputs
        if not settings.chunks and known > budget:
            break
        tokens = min(known, budget)
        if _blocks(settings, known if settings.reserves else tokens) > now.free:
            break
        run_next(fleet)
        fleet.seats[request].computed = 0
        now.free -= _blocks(settings, tokens)
        _note(fleet, request, tokens)
        budget -= tokens


@inner_njit
def _note(fleet: Fleet, request: int, tokens: int) -> None:
    now = fleet.status[0]
    part = fleet.parts[now.parts]
    part.request, part.tokens = request, tokens
    now.parts += 1


@inner_njit
def _seconds(costs: StepCosts, fleet: Fleet) -> float:
    now = fleet.status[0]
    decodes = now.decoding
    if decodes + now.parts == 0:
        return 0.0
    tokens, sequences, cached = decodes, decodes + now.parts, now.cached + decodes
    squares, past = 0.0, 0.0
    for part in fleet.parts[: now.parts]:
        seat, count = fleet.seats[part.request], part.tokens
        tokens += count
        if count == 1 and seat.outputs > 0:  # the last token of a preempted one: as if it decoded
            decodes += 1
            cached += seat.computed + 1
        else:
            squares += float(count) * count
            past += seat.computed
    mean = cached / decodes if decodes > 0 else 0.0
    return float(step_s(costs, tokens, sequences, np.sqrt(squares), past, float(decodes), mean))


@inner_njit
def _finish_decodes(settings: Settings, fleet: Fleet, book: Book, now: float) -> None:
    """A token for everyone who decodes; those who are done are noted."""
    status = fleet.status[0]
    status.steps += 1
    status.cached += status.decoding
    status.finished = 0
    place = status.steps & (len(fleet.bucket) - 1)
    request = fleet.bucket[place]
    while request != NONE:
        following = fleet.seats[request].later
        leave(settings, fleet, request)
        _finish(fleet, book, request, now)
        request = following
    fleet.bucket[place] = NONE


@inner_njit
def _finish_prompts(settings: Settings, requests: Requests, fleet: Fleet, book: Book, now: float) -> None:
    """A token for every prompt that is whole now; those who are done with it are noted."""
    status = fleet.status[0]
    for part in fleet.parts[: status.parts]:
        request = part.request
        seat, times = fleet.seats[request], book.times[request]
        seat.computed += part.tokens
        status.partial = request
        if seat.computed < requests.asked[request].prompt + seat.outputs:
            continue
        status.partial = NONE
        if seat.outputs == 0:
            times.first_s = now
        else:
            write_late(book, now - times.token_s)
        seat.outputs += 1
        goal = _goal(settings, requests, request)
        if seat.outputs < goal:
            enter(settings, fleet, request, goal)
        else:
            stop_running(settings, fleet, request)
            _finish(fleet, book, request, now)


@inner_njit
def _finish(fleet: Fleet, book: Book, request: int, now: float) -> None:
    """A request is done."""
    status = fleet.status[0]
    book.times[request].last_s = now
    fleet.finished[status.finished] = request
    status.finished += 1


@inner_njit
def _plan(fleet: Fleet, costs: StepCosts) -> Stretch:
    """All the next steps in which nothing happens."""
    now = fleet.status[0]
    decodes = now.decoding
    mean = (now.cached + decodes) / decodes
    more = _until_event(fleet, np.int64(min(decode_segment(costs, mean) - mean + 1.0, 1e12)))
    if more == 0:
        return Stretch(0, 0.0, 0.0, decodes)
    first = step_s(costs, decodes, decodes, 0.0, 0.0, float(decodes), mean)
    slope = 0.0
    if more > 1:
        slope = (step_s(costs, decodes, decodes, 0.0, 0.0, float(decodes), mean + more - 1) - first) / (more - 1)
    return Stretch(more, first, slope, decodes)


@inner_njit
def _take(fleet: Fleet, book: Book, stretch: Stretch, total: int, now: float) -> float:
    """Take the steps of a stretch; answers when they end."""
    if stretch.steps == 0:
        return now
    status, more = fleet.status[0], stretch.steps
    for step in range(more):
        status.free -= blocks_needed(fleet.classes, status.steps + step)
    status.steps += more
    status.cached += more * stretch.decodes
    now += length_s(stretch)
    last = stretch.first + stretch.slope * (more - 1)
    write(book, now, more, stretch.first, last, stretch.decodes, total - status.free)
    return now


@inner_njit
def _until_event(fleet: Fleet, most: int) -> int:
    """How many of the next `most` steps pass before anyone is done or a block is lacking."""
    now, bucket = fleet.status[0], fleet.bucket
    more, need = 0, 0
    while more < most and bucket[(now.steps + more + 1) & (len(bucket) - 1)] == NONE:
        need += blocks_needed(fleet.classes, now.steps + more)
        if need > now.free:
            break
        more += 1
    return more


@inner_njit
def _blocks(settings: Settings, tokens: int) -> int:
    return (tokens + settings.block_size - 1) // settings.block_size
