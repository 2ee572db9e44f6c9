"""The scheduler's decisions in time: a server that serves requests as they arrive, compiled.

Stretches in which everyone decodes and nobody comes or goes are taken at once: within one interval of the cost table
the time of a step is linear in the length of the caches, so the sum over a stretch is exact. Where tokens are drafted
no two steps are alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_s, take_next
from model.simulate.blocks import Blocks, blocks_in_use
from model.simulate.costs import StepCosts, attention_s, decode_segment, step_s
from model.simulate.log import Book, steps_before, with_room, write, write_late
from model.simulate.scheduler import arrive, decode_on, finish_step, schedule
from model.simulate.speculation import Drafts
from model.simulate.state import Requests, Settings, State

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
    settings: Settings,
    requests: Requests,
    costs: StepCosts,
    arrivals: Arrivals,
    skips: bool,
    engine: Engine,
    book: Book,
) -> Book:
    """Serve n requests as they arrive on a fresh engine, but what can never run, and write it in a new book; `skips`
    takes stretches at once."""
    state, blocks = engine
    status, now, seen, coming = state.status[0], 0.0, 0.0, next_s(arrivals)
    while arrivals.status[0].done < len(arrivals.due) and now < np.inf:
        if status.running + status.waiting == 0:
            now = seen = max(now, coming)
        while coming <= seen:
            request = take_next(arrivals, coming)
            book.times[request].arrived = arrivals.due[request]
            arrive(settings, requests, state, request)
            coming = next_s(arrivals)
        schedule(settings, requests, state, blocks)
        if status.scheduled == 0 and status.preempted == 0:
            now = seen = max(now, coming)
            continue
        book = with_room(book, status.scheduled)
        note_scheduled(book, status.preempted, blocks)
        step = step_of(state, costs, settings.drafts)
        emitted = stamp(requests, state, book, now, now + step.seconds)
        seen = now if settings.ahead else now + step.seconds
        now += step.seconds
        end_step(settings, requests, engine, book, now)
        let_come(arrivals, state.finished[: status.finished], now)
        coming = next_s(arrivals)
        write(book, now, 1, step.seconds, step.seconds, emitted, blocks_in_use(blocks))
        if skips and goes_on(state, step.decodes):
            stretch = before(settings, coming, seen, now, plan(settings, requests, costs, engine, step))
            now = take(settings, requests, engine, book, stretch, now)
            seen = seen_in(settings, stretch, seen, now)
    return book


@inner_njit
def note_scheduled(book: Book, preempted: int, blocks: Blocks) -> None:
    """A step was decided: so many were preempted, and no more blocks will be in use before it ends."""
    tally = book.tally[0]
    tally.preemptions += preempted
    tally.peak = max(tally.peak, blocks_in_use(blocks))


@inner_njit
def end_step(settings: Settings, requests: Requests, engine: Engine, book: Book, now: float) -> None:
    """The scheduled step ended."""
    state, blocks = engine
    finish_step(settings, requests, state, blocks)
    for request in state.finished[: state.status[0].finished]:
        book.times[request].last_s = now


@inner_njit
def shape_of(state: State) -> Shape:
    """What the scheduled step computes."""
    tokens, sequences, decodes, cached, chunks = 0, 0, 0, 0, 0
    squares, past = 0.0, 0.0
    for place in range(state.status[0].scheduled):
        seat, count = state.seats[state.lists[place].scheduled], state.lists[place].tokens
        tokens += count
        if seat.outputs > 0 and (count == 1 or seat.drafted > 0):
            decodes += 1
            sequences += count
            cached += seat.computed + count
        else:
            sequences += 1
            chunks += count
            squares += float(count) * count
            past += seat.computed
    return Shape(tokens, sequences, np.sqrt(squares), past, decodes, cached, chunks)


@inner_njit
def step_of(state: State, costs: StepCosts, drafts: Drafts) -> Step:
    """What the scheduled step costs, with the tokens that are drafted in it: nothing where all were preempted, for
    the model does not run."""
    shape = shape_of(state)
    if shape.tokens == 0:
        return Step(0.0, 0, 0)
    return Step(shape_s(costs, drafts.share, shape), shape.decodes, shape.cached)


@inner_njit
def shape_s(costs: StepCosts, drafting: float, shape: Shape) -> float:
    """Seconds of a step, of which drafting takes such a share of one that only decodes."""
    decodes, mean = float(shape.decodes), shape.cached / shape.decodes if shape.decodes > 0 else 0.0
    seconds = costs.step + costs.tokens[shape.tokens] + costs.sequences[shape.sequences]
    seconds += attention_s(costs, float(shape.chunks), shape.pc, shape.kp, decodes, mean)
    if drafting > 0.0 and shape.decodes > 0:
        seconds += drafting * step_s(costs, shape.decodes, shape.decodes, 0.0, 0.0, decodes, mean)
    return float(seconds)


@inner_njit
def stamp(requests: Requests, state: State, book: Book, began: float, now: float) -> int:
    """Note the tokens that the step yields; answers how many of them came one step after the one before."""
    emitted = 0
    for place in range(state.status[0].scheduled):
        request = state.lists[place].scheduled
        seat, times = state.seats[request], book.times[request]
        if seat.computed + state.lists[place].tokens < requests.asked[request].prompt + seat.outputs:
            continue
        if seat.outputs == 0:
            times.first_s = now
        elif times.token_s == began:
            emitted += 1
        elif np.isnan(times.token_s):  # its first token was brought along, and shows where it has a place
            times.first_s = began
            emitted += 1
        else:
            write_late(book, now - times.token_s)
        times.token_s = now
    return emitted


@inner_njit
def goes_on(state: State, decodes: int) -> bool:
    """Whether the next step is like this one: all decoded one token, and nobody was preempted, admitted or done."""
    now = state.status[0]
    return (
        decodes == now.running == now.scheduled
        and decodes > 0
        and now.preempted + now.admitted + now.finished == 0
        and state.seats[state.lists[0].running].drafted == 0
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
    now += length_s(stretch)
    decode_all(settings, requests, engine, book, stretch.steps, now)
    last = stretch.first + stretch.slope * (stretch.steps - 1)
    write(book, now, stretch.steps, stretch.first, last, stretch.decodes, blocks_in_use(engine[1]))
    return now


@inner_njit
def decode_all(settings: Settings, requests: Requests, engine: Engine, book: Book, steps: int, now: float) -> None:
    """So many steps in which every running request decodes; they end now."""
    state, blocks = engine
    decode_on(settings, requests, state, blocks, steps)
    for place in range(state.status[0].running):
        book.times[state.lists[place].running].token_s = now


@inner_njit
def steps_alike(settings: Settings, requests: Requests, engine: Engine, most: int) -> int:
    """How many of the next `most` steps pass, while all decode, before anyone is done or a block is lacking."""
    state, blocks = engine
    more = min(_until_done(settings.model_len, requests, state), most)
    while more > 0 and _lacks(settings.block_size, state, more) > blocks.free[0]:
        more >>= 1
    return int(more)


@inner_njit
def _until_done(model_len: int, requests: Requests, state: State) -> int:
    """Steps until the one in which the first running request is done."""
    least = np.int64(1) << 40
    for place in range(state.status[0].running):
        request = state.lists[place].running
        asked, outputs = requests.asked[request], state.seats[request].outputs
        least = min(least, min(asked.limit, model_len - asked.prompt) - outputs - 1)
    return int(least)


@inner_njit
def _lacks(block_size: int, state: State, more: int) -> int:
    """Blocks that the running need for so many steps more."""
    need = 0
    for place in range(state.status[0].running):
        seat = state.seats[state.lists[place].running]
        need += max((seat.computed + more + block_size - 1) // block_size - seat.held, 0)
    return need
