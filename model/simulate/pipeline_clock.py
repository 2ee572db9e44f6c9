"""A server whose layers are divided into stages, in time: as many batches are under way as there are stages.

While a batch passes the stages, the next is made of those who are not in one: of requests that wait, prompts with parts
left (the next part may follow at once), and sequences whose token has come back. Where none can be made, or all stages
have one, the scheduler waits for the oldest batch. So sequences that were once scheduled together stay together.
Source: the behaviour of vllm 0.19's step_with_batch_queue; but who is in a batch is not preempted here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, answered, answered_alone, next_alone_s, next_in_turn_s, take_in_turn
from model.simulate.blocks import Ints, Ints32
from model.simulate.clock import Engine, shape_of, stamp
from model.simulate.costs import Floats, StepCosts, attention_s
from model.simulate.log import PEAK, Book, Served, closed, new_book, with_room, write
from model.simulate.scheduler import arrive, finish_step, schedule
from model.simulate.state import ADMITTED, FINISHED, PREEMPTED, RUNNING, SCHEDULED, Requests, Settings, State


class PipelineCosts(NamedTuple):
    """Steps of the `whole` model, whose layers are divided evenly over so many `stages`."""

    whole: StepCosts
    stages: int


class Pipe(NamedTuple):
    """Batches under way in k stages: `member[b, :size[b]]` compute `tokens[b]` tokens each from `began_s[b]` on and are
    back at `end_s[b]`; `free_s`: when a stage is done with what it has, k. `number`: in which order n requests began to
    run; `counts`: the scalars named below."""

    member: npt.NDArray[np.int32]
    tokens: npt.NDArray[np.int64]
    size: Ints
    began_s: Floats
    end_s: Floats
    free_s: Floats
    number: Ints
    merged: Ints32
    counts: Ints


OLDEST, FLYING, INSIDE, BEGUN, LOST = range(5)
"""Places in `Pipe.counts`: the oldest batch, batches and sequences under way, requests that ever began to
run, and preemptions."""


def new_pipe(stages: int, seqs: int, requests: int) -> Pipe:
    """Nothing under way."""
    member, tokens = np.zeros((stages, seqs + 1), dtype=np.int32), np.zeros((stages, seqs + 1), dtype=np.int64)
    size, times = np.zeros(stages, dtype=np.int64), np.zeros((3, stages))
    number, counts = np.zeros(requests, dtype=np.int64), np.zeros(5, dtype=np.int64)
    return Pipe(member, tokens, size, times[0], times[1], times[2], number, np.zeros(seqs + 1, dtype=np.int32), counts)


@outer_njit
def serve_pipeline(
    settings: Settings, requests: Requests, costs: PipelineCosts, arrivals: Arrivals, engine: Engine, pipe: Pipe
) -> Served:
    """Serve n requests on a fresh engine, as `clock.serve` does on one stage."""
    due, talks = arrivals.due, len(arrivals.follower) > 0
    book, came, done, now, coming = new_book(len(due)), 0, 0, 0.0, due.min()
    while done < len(due):
        if done == came:
            now = max(now, coming)
        while coming <= now:
            request = take_in_turn(arrivals, coming) if talks else came
            book.arrived[request] = due[request]
            arrive(settings, requests, engine[0], request)
            came += 1
            coming = _next_s(arrivals, came, done)
        if _begin(settings, requests, costs, engine, pipe, book, now):
            continue
        if pipe.counts[FLYING] == 0:
            now = max(now, coming)
            if now < np.inf:
                continue
            break  # what waits can never run; it stays unanswered
        book = with_room(book, settings.seqs + 1)
        now = _receive(settings, requests, engine, pipe, book)
        done += _answered(arrivals, engine[0], done, now)
        coming = _next_s(arrivals, came, done)
    served: Served = closed(book, pipe.counts[LOST])
    return served


@inner_njit
def _next_s(arrivals: Arrivals, came: int, done: int) -> float:
    if len(arrivals.follower) > 0:
        return float(next_in_turn_s(arrivals))
    return float(next_alone_s(arrivals.due, arrivals.cap, came, done))


@inner_njit
def _answered(arrivals: Arrivals, state: State, earlier: int, now: float) -> int:
    finished = state.counts[FINISHED]
    if len(arrivals.follower) > 0:
        answered(arrivals, state.finished, finished, now)
    else:
        answered_alone(arrivals.due, arrivals.cap, earlier, finished, now)
    return int(finished)


@inner_njit
def _begin(
    settings: Settings,
    requests: Requests,
    costs: PipelineCosts,
    engine: Engine,
    pipe: Pipe,
    book: Book,
    now: float,
) -> bool:
    """The next batch, if there is room for one; answers whether anything was decided."""
    state, blocks = engine
    if pipe.counts[FLYING] == costs.stages:
        return False
    schedule(_left(settings, pipe), requests, state, blocks)
    pipe.counts[LOST] += state.counts[PREEMPTED]
    book.counts[PEAK] = max(book.counts[PEAK], len(blocks.users) - blocks.free[0])
    if state.counts[SCHEDULED] > 0:
        _send(requests, costs, state, pipe, now)
    return bool(state.counts[SCHEDULED] + state.counts[PREEMPTED] > 0)


@inner_njit
def _left(settings: Settings, pipe: Pipe) -> Settings:
    """The settings for those who are not in a batch."""
    return Settings(
        settings.batched_tokens,
        settings.seqs - pipe.counts[INSIDE],
        settings.block_size,
        settings.model_len,
        settings.caches,
        settings.chunks,
        settings.threshold,
        settings.is_priority,
        settings.reserves,
        settings.ahead,
        settings.drafts,
    )


@inner_njit
def _send(requests: Requests, costs: PipelineCosts, state: State, pipe: Pipe, now: float) -> None:
    """What was scheduled enters the first stage; prompts with parts left stay among those who can run."""
    batch = (pipe.counts[OLDEST] + pipe.counts[FLYING]) % costs.stages
    pipe.counts[FLYING] += 1
    pipe.end_s[batch] = _through(costs, state, pipe, now)
    pipe.began_s[batch] = now
    for place in range(state.counts[ADMITTED]):
        pipe.number[state.admitted[place]] = pipe.counts[BEGUN]
        pipe.counts[BEGUN] += 1
    pipe.size[batch] = 0
    for place in range(state.counts[SCHEDULED]):
        request, tokens = state.scheduled[place], state.tokens[place]
        if state.computed[request] + tokens < requests.prompt[request] + state.outputs[request]:
            state.computed[request] += tokens
            continue
        pipe.member[batch, pipe.size[batch]], pipe.tokens[batch, pipe.size[batch]] = request, tokens
        pipe.size[batch] += 1
    pipe.counts[INSIDE] += pipe.size[batch]
    _take_out(state, pipe, batch)


@inner_njit
def _take_out(state: State, pipe: Pipe, batch: int) -> None:
    """The members of a batch can run no more until it is back. Both are in the order in which they began to run."""
    kept, place = 0, 0
    for each in range(state.counts[RUNNING]):
        request = state.running[each]
        if place < pipe.size[batch] and pipe.member[batch, place] == request:
            place += 1
        else:
            state.running[kept] = request
            kept += 1
    state.counts[RUNNING] = kept


@inner_njit
def _through(costs: PipelineCosts, state: State, pipe: Pipe, now: float) -> float:
    """When the scheduled batch leaves the last stage: each takes its layers when it is free and the one before done."""
    whole, shape = costs.whole, shape_of(state)
    mean = shape.cached / shape.decodes if shape.decodes > 0 else 0.0
    chunks = float(shape.chunks)
    body = whole.tokens[shape.tokens] + attention_s(whole, chunks, shape.pc, shape.kp, float(shape.decodes), mean)
    at = now + whole.step
    for stage in range(costs.stages):
        at = max(at, pipe.free_s[stage]) + body / costs.stages
        if stage == costs.stages - 1:
            at += whole.sequences[shape.sequences]
        pipe.free_s[stage] = at
    return float(at)


@inner_njit
def _receive(settings: Settings, requests: Requests, engine: Engine, pipe: Pipe, book: Book) -> float:
    """The oldest batch comes back: its members can run again, or are done; answers when."""
    state, blocks = engine
    batch = pipe.counts[OLDEST]
    now, size = pipe.end_s[batch], pipe.size[batch]
    state.scheduled[:size] = pipe.member[batch, :size]
    state.tokens[:size] = pipe.tokens[batch, :size]
    state.counts[SCHEDULED], state.counts[FINISHED] = size, 0
    pipe.counts[INSIDE] -= size
    pipe.counts[OLDEST] = (batch + 1) % len(pipe.size)
    pipe.counts[FLYING] -= 1
    _put_back(state, pipe, batch)
    emitted = stamp(requests, state, book, pipe.began_s[batch], now)
    finish_step(settings, requests, state, blocks)
    book.last_s[state.finished[: state.counts[FINISHED]]] = now
    took = now - pipe.began_s[batch]
    write(book, now, 1, took, took, emitted, len(blocks.users) - blocks.free[0])
    return float(now)


@inner_njit
def _put_back(state: State, pipe: Pipe, batch: int) -> None:
    """The members of a batch stand among the running again, in their places."""
    there, place, size = 0, 0, pipe.size[batch]
    total = state.counts[RUNNING] + size
    for each in range(total):
        is_member = there == state.counts[RUNNING] or (
            place < size and pipe.number[pipe.member[batch, place]] < pipe.number[state.running[there]]
        )
        if is_member:
            pipe.merged[each] = pipe.member[batch, place]
            place += 1
        else:
            pipe.merged[each] = state.running[there]
            there += 1
    state.running[:total] = pipe.merged[:total]
    state.counts[RUNNING] = total
