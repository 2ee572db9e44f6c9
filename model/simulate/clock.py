"""The scheduler's decisions in time: a server that serves requests as they arrive, compiled.

Stretches in which everyone decodes and nobody comes or goes are taken at once: within one interval of the cost table
the time of a step is linear in the length of the caches, so the sum over a stretch is exact. Where tokens are drafted
no two steps are alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_alone_s, next_in_turn_s, take_in_turn
from model.simulate.blocks import Blocks
from model.simulate.costs import StepCosts, attention_s, decode_segment, step_s
from model.simulate.log import (
    PEAK,
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
from model.simulate.speculation import Drafts
from model.simulate.state import ADMITTED, FINISHED, PREEMPTED, RUNNING, SCHEDULED, WAITING, Requests, Settings, State

Engine = tuple[State, Blocks]


class Shape(NamedTuple):
    """What one step computes, in the notation of `costs`: `chunks` of its tokens are of prompts, and all caches of
    those who decode hold `cached` tokens. Each drafted token counts among the sequences: it needs a next token, too."""

    tokens: int
    sequences: int
    pc: float
    kp: float
    decodes: int
    cached: int
    chunks: int


class Step(NamedTuple):
    """One step: its seconds, how many decode, and how many tokens their caches hold in all."""

    seconds: float
    decodes: int
    cached: int


class Stretch(NamedTuple):
    """So many alike steps of `decodes` sequences: step i takes `first` + i · `slope` seconds."""

    steps: int
    first: float
    slope: float
    decodes: int


@outer_njit
def serve(
    settings: Settings, requests: Requests, costs: StepCosts, arrivals: Arrivals, skips: bool, engine: Engine
) -> Served:
    """Serve n requests as they arrive on a fresh engine, but what can never run; `skips` takes stretches at once."""
    state, blocks = engine
    due, cap, talks = arrivals.due, arrivals.cap, len(arrivals.follower) > 0
    total, book = blocks.free[0], new_book(len(due))
    came, done, preemptions, now, seen, coming = 0, 0, 0, 0.0, 0.0, due.min()
    while done < len(due) and now < np.inf:
        if state.counts[RUNNING] + state.counts[WAITING] == 0:
            now = seen = max(now, coming)
        while coming <= seen:
            request = take_in_turn(arrivals, coming) if talks else came
            book.arrived[request] = due[request]
            arrive(settings, requests, state, request)
            came += 1
            coming = next_in_turn_s(arrivals) if talks else next_alone_s(due, cap, came, done)
        schedule(settings, requests, state, blocks)
        preemptions += state.counts[PREEMPTED]
        if state.counts[SCHEDULED] == 0 and state.counts[PREEMPTED] == 0:
            now = seen = max(now, coming)
            continue
        book.counts[PEAK] = max(book.counts[PEAK], total - blocks.free[0])
        step = step_of(state, costs, settings.drafts)
        book = with_room(book, state.counts[SCHEDULED])
        emitted = stamp(requests, state, book, now, now + step.seconds)
        seen = now if settings.ahead else now + step.seconds
        now += step.seconds
        finish_step(settings, requests, state, blocks)
        book.last_s[state.finished[: state.counts[FINISHED]]] = now
        let_come(arrivals, due, cap, talks, done, state.finished, state.counts[FINISHED], now)
        done += state.counts[FINISHED]
        coming = next_in_turn_s(arrivals) if talks else next_alone_s(due, cap, came, done)
        write(book, now, 1, step.seconds, step.seconds, emitted, total - blocks.free[0])
        if skips and goes_on(state, step.decodes):
            stretch = before(settings, coming, seen, now, plan(settings, requests, costs, engine, step))
            now = take(settings, requests, engine, book, stretch, now)
            seen = seen_in(settings, stretch, seen, now)
    served: Served = closed(book, preemptions)
    return served


@inner_njit
def shape_of(state: State) -> Shape:
    """What the scheduled step computes."""
    tokens, sequences, decodes, cached, chunks = 0, 0, 0, 0, 0
    squares, past = 0.0, 0.0
    for place in range(state.counts[SCHEDULED]):
        request, count = state.scheduled[place], state.tokens[place]
        tokens += count
        if state.outputs[request] > 0 and (count == 1 or state.drafted[request] > 0):
            decodes += 1
            sequences += count
            cached += state.computed[request] + count
        else:
            sequences += 1
            chunks += count
            squares += float(count) * count
            past += state.computed[request]
    return Shape(tokens, sequences, np.sqrt(squares), past, decodes, cached, chunks)


@inner_njit
def step_of(state: State, costs: StepCosts, drafts: Drafts) -> Step:
    """What the scheduled step costs, with the tokens that are drafted in it."""
    shape = shape_of(state)
    decodes, mean = float(shape.decodes), shape.cached / shape.decodes if shape.decodes > 0 else 0.0
    seconds = costs.step + costs.tokens[shape.tokens] + costs.sequences[shape.sequences]
    seconds += attention_s(costs, float(shape.chunks), shape.pc, shape.kp, decodes, mean)
    if drafts.share > 0.0 and shape.decodes > 0:
        seconds += drafts.share * step_s(costs, shape.decodes, shape.decodes, 0.0, 0.0, decodes, mean)
    return Step(seconds, shape.decodes, shape.cached)


@inner_njit
def stamp(requests: Requests, state: State, book: Book, began: float, now: float) -> int:
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
        elif np.isnan(book.token_s[request]):  # its first token was brought along, and shows where it has a place
            book.first_s[request] = began
            emitted += 1
        else:
            write_late(book, now - book.token_s[request])
        book.token_s[request] = now
    return emitted


@inner_njit
def goes_on(state: State, decodes: int) -> bool:
    """Whether the next step is like this one: all decoded one token, and nobody was preempted, admitted or done."""
    count = state.counts
    return (
        decodes == count[RUNNING] == count[SCHEDULED]
        and decodes > 0
        and count[PREEMPTED] + count[ADMITTED] + count[FINISHED] == 0
        and state.drafted[state.running[0]] == 0
    )


@inner_njit
def plan(settings: Settings, requests: Requests, costs: StepCosts, engine: Engine, step: Step) -> Stretch:
    """All steps like `step` that can follow it.

    They end before anyone is done, before a block is lacking, and within one interval of the cost table.
    """
    mean, decodes = step.cached / step.decodes, float(step.decodes)
    most = np.int64(min(decode_segment(costs, mean + 1.0) - mean, 1e12))
    more = steps_alike(settings, requests, engine, most)
    if more <= 0:
        return Stretch(0, 0.0, 0.0, step.decodes)
    first = step_s(costs, step.decodes, step.decodes, 0.0, 0.0, decodes, mean + 1.0)
    slope = step_s(costs, step.decodes, step.decodes, 0.0, 0.0, decodes, mean + more) - first
    return Stretch(more, first, slope / (more - 1) if more > 1 else 0.0, step.decodes)


@inner_njit
def length_s(stretch: Stretch) -> float:
    """Seconds of all its steps."""
    return float(stretch.steps * (stretch.first + 0.5 * stretch.slope * (stretch.steps - 1)))


@inner_njit
def before(settings: Settings, coming: float, seen: float, now: float, stretch: Stretch) -> Stretch:
    """The steps of a stretch, beginning now, that are decided before a request comes; the first one was when `seen`."""
    steps = steps_before(coming - now, stretch.steps, stretch.first, stretch.slope)
    if settings.ahead:
        steps = min(steps + 1, stretch.steps) if coming > seen else 0
    return Stretch(steps, stretch.first, stretch.slope, stretch.decodes)


@inner_njit
def seen_in(settings: Settings, stretch: Stretch, seen: float, now: float) -> float:
    """Until when the step after a stretch that ends now has seen requests come."""
    if stretch.steps == 0:
        return seen
    return float(now - stretch.first - stretch.slope * (stretch.steps - 1)) if settings.ahead else now


@inner_njit
def take(settings: Settings, requests: Requests, engine: Engine, book: Book, stretch: Stretch, now: float) -> float:
    """Take the steps of a stretch; answers when they end."""
    if stretch.steps == 0:
        return now
    _, blocks = engine
    now += length_s(stretch)
    decode_all(settings, requests, engine, book, stretch.steps, now)
    used = len(blocks.users) - blocks.free[0]
    book.counts[PEAK] = max(book.counts[PEAK], used)
    last = stretch.first + stretch.slope * (stretch.steps - 1)
    write(book, now, stretch.steps, stretch.first, last, stretch.decodes, used)
    return now


@inner_njit
def decode_all(settings: Settings, requests: Requests, engine: Engine, book: Book, steps: int, now: float) -> None:
    """So many steps in which every running request decodes; they end now."""
    state, blocks = engine
    decode_on(settings, requests, state, blocks, steps)
    for place in range(state.counts[RUNNING]):
        book.token_s[state.running[place]] = now


@inner_njit
def steps_alike(settings: Settings, requests: Requests, engine: Engine, most: int) -> int:
    """How many of the next `most` steps pass, while all decode, before anyone is done or a block is lacking."""
    state, blocks = engine
    more = min(_until_done(settings, requests, state), most)
    while more > 0 and _lacks(settings, state, blocks, more):
        more >>= 1
    return int(more)


@inner_njit
def _until_done(settings: Settings, requests: Requests, state: State) -> int:
    """Steps until the one in which the first running request is done."""
    least = np.int64(1) << 40
    for place in range(state.counts[RUNNING]):
        request = state.running[place]
        left = requests.limit[request] - state.outputs[request]
        room = settings.model_len - requests.prompt[request] - state.outputs[request]
        least = min(least, min(left, room) - 1)
    return int(least)


@inner_njit
def _lacks(settings: Settings, state: State, blocks: Blocks, more: int) -> bool:
    need = 0
    for place in range(state.counts[RUNNING]):
        request = state.running[place]
        whole = (state.computed[request] + more + settings.block_size - 1) // settings.block_size
        need += max(whole - state.held[request], 0)
    return bool(need > blocks.free[0])
