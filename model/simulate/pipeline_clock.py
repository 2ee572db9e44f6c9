"""A server whose layers are divided into stages, in time: as many batches are under way as there are stages.

While a batch passes the stages, the next is made of those who are not in one: of requests that wait, prompts with parts
left (the next part may follow at once), and sequences whose token has come back. Where none can be made, or all stages
have one, the scheduler waits for the oldest batch. So sequences that were once scheduled together stay together.
Source: the behaviour of vllm 0.19's step_with_batch_queue; but who is in a batch is not preempted here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_s, take_next
from model.simulate.blocks import Ints, blocks_in_use
from model.simulate.clock import Engine, end_step, note_scheduled, shape_of, stamp
from model.simulate.costs import StepCosts, attention_s
from model.simulate.log import Book, with_room, write
from model.simulate.records import Records, of_ints
from model.simulate.scheduler import arrive, schedule
from model.simulate.state import Requests, Settings, State


class PipelineCosts(NamedTuple):
    """Steps of the `whole` model, whose layers are divided evenly over so many `stages`."""

    whole: StepCosts
    stages: int


_STAGE = np.dtype([("size", np.int64), ("began_s", np.float64), ("end_s", np.float64), ("free_s", np.float64)])
_MEMBER = of_ints("request", "tokens")
_STATUS = of_ints("oldest", "flying", "inside", "begun")


class Pipe(NamedTuple):
    """Batches under way in k stages. `stages`, k: when a stage is done with what it has (`free_s`); and of batch b its
    `size`, when it `began_s` and is back, `end_s`. `members[b, :size]`: requests that compute so many `tokens` each.
    `number`: in which order n requests began to run. `status[0]`: the `oldest` batch, batches that are `flying` and
    sequences `inside` them, and requests that ever `begun` to run."""

    stages: Records
    members: Records
    number: Ints
    merged: Ints
    status: Records


def new_pipe(stages: int, seqs: int, requests: int) -> Pipe:
    """Nothing under way."""
    number, merged = np.zeros(requests, dtype=np.int64), np.zeros(seqs + 1, dtype=np.int64)
    members, status = np.zeros((stages, seqs + 1), dtype=_MEMBER), np.zeros(1, dtype=_STATUS)
    return Pipe(np.zeros(stages, dtype=_STAGE), members, number, merged, status)


@outer_njit
def serve_pipeline(
    settings: Settings,
    requests: Requests,
    costs: PipelineCosts,
    arrivals: Arrivals,
    engine: Engine,
    pipe: Pipe,
    book: Book,
) -> Book:
    """Serve n requests on a fresh engine, as `clock.serve` does on one stage."""
    state, _ = engine
    status, now, coming = arrivals.status[0], 0.0, next_s(arrivals)
    while status.done < len(arrivals.due):
        if status.done == status.came:
            now = max(now, coming)
        while coming <= now:
            request = take_next(arrivals, coming)
            book.times[request].arrived = arrivals.due[request]
            arrive(settings, requests, state, request)
            coming = next_s(arrivals)
        if _begin(settings, requests, costs, engine, pipe, book, now):
            continue
        if pipe.status[0].flying == 0:
            now = max(now, coming)
            if now < np.inf:
                continue
            break  # what waits can never run; it stays unanswered
        book = with_room(book, settings.seqs + 1)
        now = _receive(settings, requests, engine, pipe, book)
        let_come(arrivals, state.finished[: state.status[0].finished], now)
        coming = next_s(arrivals)
    return book


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
    status = state.status[0]
    if pipe.status[0].flying == costs.stages:
        return False
    schedule(_left(settings, pipe.status[0].inside), requests, state, blocks)
    note_scheduled(book, status.preempted, blocks)
    if status.scheduled > 0:
        _send(requests, costs, state, pipe, now)
    return bool(status.scheduled + status.preempted > 0)


@inner_njit
def _left(settings: Settings, inside: int) -> Settings:
    """The settings for those who are not in a batch; so many are."""
    return Settings(
        settings.batched_tokens,
        settings.seqs - inside,
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
    flight, lists = pipe.status[0], state.lists
    batch = (flight.oldest + flight.flying) % costs.stages
    own, members = pipe.stages[batch], pipe.members[batch]
    flight.flying += 1
    own.end_s, own.began_s, own.size = _through(costs, state, pipe.stages, now), now, 0
    for place in range(state.status[0].admitted):
        pipe.number[lists[place].admitted] = flight.begun
        flight.begun += 1
    for place in range(state.status[0].scheduled):
        request, tokens = lists[place].scheduled, lists[place].tokens
        seat = state.seats[request]
        if seat.computed + tokens < requests.asked[request].prompt + seat.outputs:
            seat.computed += tokens
            continue
        members[own.size].request, members[own.size].tokens = request, tokens
        own.size += 1
    flight.inside += own.size
    _take_out(state, members[: own.size])


@inner_njit
def _take_out(state: State, members: Records) -> None:
    """The members of a batch can run no more until it is back. Both are in the order in which they began to run."""
    kept, place, lists = 0, 0, state.lists
    for each in range(state.status[0].running):
        request = lists[each].running
        if place < len(members) and members[place].request == request:
            place += 1
        else:
            lists[kept].running = request
            kept += 1
    state.status[0].running = kept


@inner_njit
def _through(costs: PipelineCosts, state: State, stages: Records, now: float) -> float:
    """When the scheduled batch leaves the last stage: each takes its layers when it is free and the one before done."""
    whole, shape = costs.whole, shape_of(state)
    mean = shape.cached / shape.decodes if shape.decodes > 0 else 0.0
    chunks = float(shape.chunks)
    body = whole.tokens[shape.tokens] + attention_s(whole, chunks, shape.pc, shape.kp, float(shape.decodes), mean)
    at = now + whole.step
    for stage in range(costs.stages):
        at = max(at, stages[stage].free_s) + body / costs.stages
        if stage == costs.stages - 1:
            at += whole.sequences[shape.sequences]
        stages[stage].free_s = at
    return float(at)


@inner_njit
def _receive(settings: Settings, requests: Requests, engine: Engine, pipe: Pipe, book: Book) -> float:
    """The oldest batch comes back: its members can run again, or are done; answers when."""
    state, blocks = engine
    flight, status = pipe.status[0], state.status[0]
    own, members = pipe.stages[flight.oldest], pipe.members[flight.oldest]
    for place in range(own.size):
        state.lists[place].scheduled, state.lists[place].tokens = members[place].request, members[place].tokens
    status.scheduled, status.finished = own.size, 0
    flight.inside -= own.size
    flight.oldest = (flight.oldest + 1) % len(pipe.stages)
    flight.flying -= 1
    _put_back(state, pipe.number, pipe.merged, members[: own.size])
    now, took = own.end_s, own.end_s - own.began_s
    emitted = stamp(requests, state, book, own.began_s, now)
    end_step(settings, requests, engine, book, now)
    write(book, now, 1, took, took, emitted, blocks_in_use(blocks))
    return float(now)


@inner_njit
def _put_back(state: State, number: Ints, merged: Ints, members: Records) -> None:
    """The members of a batch stand among the running again, in their places."""
    now, lists, there, place = state.status[0], state.lists, 0, 0
    total = now.running + len(members)
    for each in range(total):
        is_member = there == now.running or (
            place < len(members) and number[members[place].request] < number[lists[there].running]
        )
        if is_member:
            merged[each] = members[place].request
            place += 1
        else:
            merged[each] = lists[there].running
            there += 1
    for each in range(total):
        lists[each].running = merged[each]
    now.running = total
