"""`clock.serve` for the common case, many times as fast: see `fleet` for when it holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_alone_s, next_in_turn_s, take_in_turn
from model.simulate.blocks import NONE, Ints, Ints32
from model.simulate.clock import Stretch, before, length_s, seen_in
from model.simulate.costs import StepCosts, decode_segment, step_s
from model.simulate.fleet import (
    CACHED,
    DECODING,
    FREE,
    HEAD,
    PARTIAL,
    PREEMPTED,
    QUEUED,
    RUNS,
    STEPS,
    Fleet,
    blocks_needed,
    enter,
    join_queue,
    leave,
    preempt_last,
    run_next,
    stop_running,
)
from model.simulate.log import (
    PEAK,
    STRETCHES,
    Book,
    Served,
    closed,
    new_book,
    with_room,
    write,
    write_late,
)
from model.simulate.state import Requests, Settings


class Chunks(NamedTuple):
    """Prompts of one step: the first `counts[0]` of `request`, with so many `tokens` each; and who is `done` after it,
    the first `counts[1]`."""

    request: Ints32
    tokens: Ints
    done: Ints32
    counts: Ints


@outer_njit
def serve_fleet(
    settings: Settings, requests: Requests, costs: StepCosts, arrivals: Arrivals, skips: bool, fleet: Fleet
) -> Served:
    """As `clock.serve`, on a fresh fleet."""
    due, cap, talks = arrivals.due, arrivals.cap, len(arrivals.follower) > 0
    number, total, book = fleet.number, fleet.number[FREE], new_book(len(due))
    chunks = _no_chunks(settings.seqs + 1)
    came, done, now, seen, coming = 0, 0, 0.0, 0.0, due.min()
    while done < len(due) and now < np.inf:
        if number[RUNS] + number[QUEUED] == 0:
            now = seen = max(now, coming)
        while coming <= seen:
            request = take_in_turn(arrivals, coming) if talks else came
            book.arrived[request] = due[request]
            join_queue(fleet, request)
            came += 1
            coming = next_in_turn_s(arrivals) if talks else next_alone_s(due, cap, came, done)
        preempted = number[PREEMPTED]
        _schedule(settings, requests, fleet, chunks, book, now)
        book.counts[PEAK] = max(book.counts[PEAK], total - number[FREE])
        decodes = number[DECODING]
        if decodes + chunks.counts[0] == 0 and number[PREEMPTED] == preempted:
            now = seen = max(now, coming)
            continue
        seconds = _seconds(costs, fleet, chunks)
        seen = now if settings.ahead else now + seconds
        now += seconds
        book = with_room(book, chunks.counts[0])
        _finish_decodes(settings, fleet, chunks, book, now)
        _finish_prompts(settings, requests, fleet, chunks, book, now)
        let_come(arrivals, due, cap, talks, done, chunks.done, chunks.counts[1], now)
        done += chunks.counts[1]
        coming = next_in_turn_s(arrivals) if talks else next_alone_s(due, cap, came, done)
        write(book, now, 1, seconds, seconds, decodes, total - number[FREE])
        if skips and decodes > 0 and chunks.counts[0] + chunks.counts[1] + number[PREEMPTED] == preempted:
            stretch = before(settings, coming, seen, now, _plan(fleet, costs))
            now = _take(fleet, book, stretch, now)
            seen = seen_in(settings, stretch, seen, now)
    served: Served = closed(book, number[PREEMPTED])
    return served


@inner_njit
def _no_chunks(width: int) -> Chunks:
    tokens, counts = np.empty(width, dtype=np.int64), np.zeros(2, dtype=np.int64)
    return Chunks(np.empty(width, dtype=np.int32), tokens, np.empty(width, dtype=np.int32), counts)


@inner_njit(inline="always")
def _goal(settings: Settings, requests: Requests, request: int) -> int:
    return int(min(requests.limit[request], max(settings.model_len - requests.prompt[request], 1)))


@inner_njit(inline="always")
def _schedule(settings: Settings, requests: Requests, fleet: Fleet, chunks: Chunks, book: Book, now: float) -> None:
    """Blocks for everyone who decodes, then prompts as the budget lasts."""
    number = fleet.number
    before = number[PREEMPTED]
    chunks.counts[0] = 0
    need = blocks_needed(fleet, number[STEPS])
    while need > number[FREE]:
        last = fleet.before[len(fleet.outputs)]
        book.token_s[last] = now if last != number[PARTIAL] else book.token_s[last]
        preempt_last(settings, fleet, _goal(settings, requests, last), last)
        need = blocks_needed(fleet, number[STEPS])
    number[FREE] -= need
    budget = settings.batched_tokens - number[DECODING]
    if number[PARTIAL] != NONE and budget > 0:
        budget -= _go_on(settings, requests, fleet, chunks, budget)
    if number[PREEMPTED] == before:
        _admit(settings, requests, fleet, chunks, budget)


@inner_njit(inline="always")
def _go_on(settings: Settings, requests: Requests, fleet: Fleet, chunks: Chunks, budget: int) -> int:
    """The next part of the prompt that was begun, or its preemption; answers its tokens."""
    number = fleet.number
    request = number[PARTIAL]
    known = requests.prompt[request] + fleet.outputs[request]
    tokens = min(known - fleet.computed[request], budget)
    blocks = _blocks(settings, fleet.computed[request] + tokens) - _blocks(settings, fleet.computed[request])
    if blocks > number[FREE]:
        preempt_last(settings, fleet, 0, request)
        return 0
    number[FREE] -= blocks
    _note(chunks, request, tokens)
    return int(tokens)


@inner_njit(inline="always")
def _admit(settings: Settings, requests: Requests, fleet: Fleet, chunks: Chunks, budget: int) -> None:
    number = fleet.number
    while number[QUEUED] > 0 and budget > 0 and number[RUNS] < settings.seqs:
        request = number[HEAD]
        known = requests.prompt[request] + fleet.outputs[request]
        if not settings.chunks and known > budget:
            break
        tokens = min(known, budget)
        if _blocks(settings, known if settings.reserves else tokens) > number[FREE]:
            break
        run_next(fleet)
        fleet.computed[request] = 0
        number[FREE] -= _blocks(settings, tokens)
        _note(chunks, request, tokens)
        budget -= tokens


@inner_njit(inline="always")
def _note(chunks: Chunks, request: int, tokens: int) -> None:
    chunks.request[chunks.counts[0]] = request
    chunks.tokens[chunks.counts[0]] = tokens
    chunks.counts[0] += 1


@inner_njit(inline="always")
def _seconds(costs: StepCosts, fleet: Fleet, chunks: Chunks) -> float:
    decodes = fleet.number[DECODING]
    tokens, sequences, cached = decodes, decodes + chunks.counts[0], fleet.number[CACHED] + decodes
    squares, past = 0.0, 0.0
    for place in range(chunks.counts[0]):
        request, count = chunks.request[place], chunks.tokens[place]
        tokens += count
        if count == 1 and fleet.outputs[request] > 0:  # the last token of a preempted one: as if it decoded
            decodes += 1
            cached += fleet.computed[request] + 1
        else:
            squares += float(count) * count
            past += fleet.computed[request]
    mean = cached / decodes if decodes > 0 else 0.0
    return float(step_s(costs, tokens, sequences, np.sqrt(squares), past, float(decodes), mean))


@inner_njit(inline="always")
def _finish_decodes(settings: Settings, fleet: Fleet, chunks: Chunks, book: Book, now: float) -> None:
    """A token for everyone who decodes; those who are done are noted."""
    number = fleet.number
    number[STEPS] += 1
    number[CACHED] += number[DECODING]
    place = number[STEPS] & (len(fleet.bucket) - 1)
    request, left = fleet.bucket[place], 0
    while request != NONE:
        following = fleet.later[request]
        leave(settings, fleet, request)
        book.last_s[request] = now
        chunks.done[left] = request
        left += 1
        request = following
    fleet.bucket[place] = NONE
    chunks.counts[1] = left


@inner_njit(inline="always")
def _finish_prompts(
    settings: Settings, requests: Requests, fleet: Fleet, chunks: Chunks, book: Book, now: float
) -> None:
    """A token for every prompt that is whole now; those who are done with it are noted."""
    number = fleet.number
    for place in range(chunks.counts[0]):
        request = chunks.request[place]
        fleet.computed[request] += chunks.tokens[place]
        number[PARTIAL] = request
        if fleet.computed[request] < requests.prompt[request] + fleet.outputs[request]:
            continue
        number[PARTIAL] = NONE
        if fleet.outputs[request] == 0:
            book.first_s[request] = now
        else:
            write_late(book, now - book.token_s[request])
        fleet.outputs[request] += 1
        goal = _goal(settings, requests, request)
        if fleet.outputs[request] < goal:
            enter(settings, fleet, request, goal)
        else:
            stop_running(settings, fleet, request)
            book.last_s[request] = now
            chunks.done[chunks.counts[1]] = request
            chunks.counts[1] += 1


@inner_njit(inline="always")
def _plan(fleet: Fleet, costs: StepCosts) -> Stretch:
    """All the next steps in which nothing happens."""
    number = fleet.number
    decodes = number[DECODING]
    mean = (number[CACHED] + decodes) / decodes
    more = _until_event(fleet, np.int64(min(decode_segment(costs, mean) - mean + 1.0, 1e12)))
    if more == 0:
        return Stretch(0, 0.0, 0.0, decodes)
    first = step_s(costs, decodes, decodes, 0.0, 0.0, float(decodes), mean)
    slope = 0.0
    if more > 1:
        slope = (step_s(costs, decodes, decodes, 0.0, 0.0, float(decodes), mean + more - 1) - first) / (more - 1)
    return Stretch(more, first, slope, decodes)


@inner_njit(inline="always")
def _take(fleet: Fleet, book: Book, stretch: Stretch, now: float) -> float:
    """Take the steps of a stretch; answers when they end."""
    if stretch.steps == 0:
        return now
    number, more, taken = fleet.number, stretch.steps, 0
    for step in range(more):
        taken += blocks_needed(fleet, number[STEPS] + step)
    number[FREE] -= taken
    number[STEPS] += more
    number[CACHED] += more * stretch.decodes
    now += length_s(stretch)
    used = book.stretches[book.counts[STRETCHES] - 1, 5] + taken
    book.counts[PEAK] = max(book.counts[PEAK], np.int64(used))
    last = stretch.first + stretch.slope * (more - 1)
    write(book, now, more, stretch.first, last, stretch.decodes, used)
    return now


@inner_njit(inline="always")
def _until_event(fleet: Fleet, most: int) -> int:
    """How many of the next `most` steps pass before anyone is done or a block is lacking."""
    number, mask = fleet.number, len(fleet.bucket) - 1
    more, need = 0, 0
    while more < most and fleet.bucket[(number[STEPS] + more + 1) & mask] == NONE:
        need += blocks_needed(fleet, number[STEPS] + more)
        if need > number[FREE]:
            break
        more += 1
    return more


@inner_njit(inline="always")
def _blocks(settings: Settings, tokens: int) -> int:
    return (tokens + settings.block_size - 1) // settings.block_size
