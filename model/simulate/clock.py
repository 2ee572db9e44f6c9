"""The scheduler's decisions in time: a server that serves requests as they arrive, compiled.

Stretches in which everyone decodes and nobody comes or goes are taken at once: within one interval of the cost table
the time of a step is linear in the length of the caches, so the sum over a stretch is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from model.simulate.arrivals import Arrivals, answered, next_alone_s, next_in_turn_s, take_in_turn
from model.simulate.blocks import Blocks
from model.simulate.costs import StepCosts, decode_segment, step_s
from model.simulate.log import (
    PEAK,
    STRETCHES,
    Book,
    Served,
    closed,
    new_book,
    steps_before,
    with_room,
    write,
    write_late,
)
from model.simulate.scheduler import arrive, decode_on, finish_step, schedule
from model.simulate.state import ADMITTED, FINISHED, PREEMPTED, RUNNING, SCHEDULED, WAITING, Requests, Settings, State

Engine = tuple[State, Blocks]


class Step(NamedTuple):
    """One step: its seconds, how many decode, and how many tokens their caches hold in all."""

    seconds: float
    decodes: int
    cached: int


@njit(cache=True)
def serve(
    settings: Settings, requests: Requests, costs: StepCosts, arrivals: Arrivals, skips: bool, engine: Engine
) -> Served:
    """Serve n requests as they arrive on a fresh engine; `skips` takes stretches at once."""
    state, blocks = engine
    due, cap, talks = arrivals.due, arrivals.cap, len(arrivals.follower) > 0
    total, book = blocks.free[0], new_book(len(due))
    came, done, preemptions, now, coming = 0, 0, 0, 0.0, due.min()
    while done < len(due):
        if state.counts[RUNNING] + state.counts[WAITING] == 0:
            now = max(now, coming)
        while coming <= now:
            request = take_in_turn(arrivals, now) if talks else came
            book.arrived[request] = now if cap > 0 and not talks else due[request]
            arrive(settings, requests, state, request)
            came += 1
            coming = next_in_turn_s(arrivals) if talks else next_alone_s(due, cap, came, done)
        schedule(settings, requests, state, blocks)
        preemptions += state.counts[PREEMPTED]
        if state.counts[SCHEDULED] == 0 and state.counts[PREEMPTED] == 0:
            now = coming
            if now < np.inf:
                continue
            break  # what waits can never run; it stays unanswered
        book.counts[PEAK] = max(book.counts[PEAK], total - blocks.free[0])
        step = _step(requests, state, costs)
        book = with_room(book, state.counts[SCHEDULED])
        emitted = _stamp(requests, state, book, now, now + step.seconds)
        now += step.seconds
        finish_step(settings, requests, state, blocks)
        book.last_s[state.finished[: state.counts[FINISHED]]] = now
        if talks:
            answered(arrivals, state.finished, state.counts[FINISHED], now)
        done += state.counts[FINISHED]
        coming = next_in_turn_s(arrivals) if talks else next_alone_s(due, cap, came, done)
        write(book, now, 1, step.seconds, step.seconds, emitted, total - blocks.free[0])
        if skips and _goes_on(state, step):
            now = _skip(settings, requests, costs, engine, book, step, now, coming - now)
    served: Served = closed(book, preemptions)
    return served


@njit(cache=True)
def _step(requests: Requests, state: State, costs: StepCosts) -> Step:
    """What the scheduled step costs."""
    tokens, decodes, cached = 0, 0, 0
    squares, past = 0.0, 0.0
    for place in range(state.counts[SCHEDULED]):
        request, count = state.scheduled[place], state.tokens[place]
        tokens += count
        if state.outputs[request] > 0 and count == 1:
            decodes += 1
            cached += state.computed[request] + 1
        else:
            squares += float(count) * count
            past += state.computed[request]
    mean = cached / decodes if decodes > 0 else 0.0
    seconds = step_s(costs, tokens, state.counts[SCHEDULED], np.sqrt(squares), past, float(decodes), mean)
    return Step(seconds, decodes, cached)


@njit(cache=True)
def _stamp(requests: Requests, state: State, book: Book, began: float, now: float) -> int:
    """Note the tokens that the step yields; answers how many of them came one step after the one before."""
    emitted = 0
    for place in range(state.counts[SCHEDULED]):
        request = state.scheduled[place]
        if state.computed[request] + state.tokens[place] < requests.prompt[request] + state.outputs[request]:
            continue
        if state.outputs[request] == 0:
            book.first_s[request] = now
        elif book.token_s[request] == began:
            emitted += 1
        else:
            write_late(book, now - book.token_s[request])
        book.token_s[request] = now
    return emitted


@njit(cache=True)
def _goes_on(state: State, step: Step) -> bool:
    """Whether the next step is like this one: everyone decoded, and nobody was preempted, admitted or done."""
    count = state.counts
    return (
        step.decodes == count[RUNNING] == count[SCHEDULED]
        and step.decodes > 0
        and count[PREEMPTED] + count[ADMITTED] + count[FINISHED] == 0
    )


@njit(cache=True)
def _skip(
    settings: Settings,
    requests: Requests,
    costs: StepCosts,
    engine: Engine,
    book: Book,
    step: Step,
    now: float,
    until: float,
) -> float:
    """Take all steps like `step` that follow it; answers when they end.

    They end before anyone is done, before `until` seconds (when the next request is there), before a block is lacking,
    and within one interval of the cost table.
    """
    state, blocks = engine
    mean = step.cached / step.decodes
    more = min(_until_done(settings, requests, state), np.int64(min(decode_segment(costs, mean + 1.0) - mean, 1e12)))
    while more > 0 and _lacks(settings, state, blocks, more):
        more >>= 1
    if more <= 0:
        return now
    first = step_s(costs, step.decodes, step.decodes, 0.0, 0.0, float(step.decodes), mean + 1.0)
    slope = step_s(costs, step.decodes, step.decodes, 0.0, 0.0, float(step.decodes), mean + more) - first
    slope = slope / (more - 1) if more > 1 else 0.0
    more = steps_before(until, more, first, slope)
    if more == 0:
        return now
    last = first + slope * (more - 1)
    now += 0.5 * more * (first + last)
    before = blocks.free[0]
    decode_on(settings, requests, state, blocks, more)
    for place in range(state.counts[RUNNING]):
        book.token_s[state.running[place]] = now
    used = book.stretches[book.counts[STRETCHES] - 1, 5] + before - blocks.free[0]
    book.counts[PEAK] = max(book.counts[PEAK], np.int64(used))
    write(book, now, more, first, last, step.decodes, used)
    return now


@njit(cache=True)
def _until_done(settings: Settings, requests: Requests, state: State) -> int:
    """Steps until the one in which the first running request is done."""
    least = np.int64(1) << 40
    for place in range(state.counts[RUNNING]):
        request = state.running[place]
        left = requests.limit[request] - state.outputs[request]
        room = settings.model_len - requests.prompt[request] - state.outputs[request]
        least = min(least, min(left, room) - 1)
    return int(least)


@njit(cache=True)
def _lacks(settings: Settings, state: State, blocks: Blocks, more: int) -> bool:
    need = 0
    for place in range(state.counts[RUNNING]):
        request = state.running[place]
        whole = (state.computed[request] + more + settings.block_size - 1) // settings.block_size
        need += max(whole - state.held[request], 0)
    return bool(need > blocks.free[0])
