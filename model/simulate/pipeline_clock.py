"""A server whose layers are divided into stages, in time: as many batches are under way as there are stages.

While a batch passes the stages, the next is made of those who are not in one: of requests that wait, prompts with parts
left (the next part may follow at once), and sequences whose token has come back. Where none can be made, or all stages
have one, the scheduler waits for the oldest batch. So sequences that were once scheduled together stay together. Ranks
that share experts make their batches at one time, and these pass the stages together. Source: the behaviour of vllm
0.19's step_with_batch_queue; but who is in a batch is not preempted here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_s, take_next
from model.simulate.blocks import Ints
from model.simulate.clock import end_step, note_scheduled, shape_of, stamp
from model.simulate.log import Book, with_room, write
from model.simulate.ranks import Ranks, engine_of, most_used
from model.simulate.records import Records, of_floats, of_ints
from model.simulate.routing import Desk, report, route
from model.simulate.scheduler import arrive, schedule
from model.simulate.stages import PipelineCosts, new_stages, through_s
from model.simulate.state import Requests, Settings, State
from model.simulate.together import SHAPE, Shapes, put

_BATCH = of_floats("began_s", "end_s")
_MEMBER = of_ints("request", "tokens")
_STATUS = of_ints("oldest", "flying", "begun")


class Pipe(NamedTuple):
    """Batches under way in k `stages`, of r ranks, each with its `shapes`. `batches`, k: when batch b `began_s` and is
    back, `end_s`. `members[rank, b, :sizes[rank, b]]`: requests of a rank that compute so many `tokens` each, of which
    so many are `inside` any batch. `number`: in which order n requests began to run. `status[0]`: the `oldest` batch,
    batches that are `flying`, and requests that ever `begun` to run."""

    stages: Records
    batches: Records
    members: Records
    sizes: Ints
    inside: Ints
    shapes: Shapes
    number: Ints
    merged: Ints
    status: Records


def new_pipe(stages: int, seqs: int, requests: int, ranks: int = 1) -> Pipe:
    """Nothing under way."""
    number, merged = np.zeros(requests, dtype=np.int64), np.zeros(seqs + 1, dtype=np.int64)
    members, sizes = np.zeros((ranks, stages, seqs + 1), dtype=_MEMBER), np.zeros((ranks, stages), dtype=np.int64)
    batches, inside, shapes = np.zeros(stages, dtype=_BATCH), np.zeros(ranks, dtype=np.int64), np.zeros(ranks, SHAPE)
    status = np.zeros(1, dtype=_STATUS)
    return Pipe(new_stages(stages), batches, members, sizes, inside, shapes, number, merged, status)


@outer_njit
def serve_pipeline(
    settings: Settings,
    requests: Requests,
    costs: PipelineCosts,
    arrivals: Arrivals,
    ranks: Ranks,
    pipe: Pipe,
    desk: Desk,
    book: Book,
) -> Book:
    """Serve n requests on fresh engines, as `clock.serve` does on one stage."""
    status, now, coming = arrivals.status[0], 0.0, next_s(arrivals)
    while status.done < len(arrivals.due):
        if status.done == status.came:
            now = max(now, coming)
        while coming <= now:
            request = take_next(arrivals, coming)
            book.times[request].arrived = arrivals.due[request]
            arrive(settings, requests, engine_of(ranks, route(desk, coming))[0], request)
            coming = next_s(arrivals)
        if begin_batch(settings, requests, costs, ranks, pipe, book, now):
            continue
        if pipe.status[0].flying == 0:
            now = max(now, coming)
            if now < np.inf:
                continue
            break  # what waits can never run; it stays unanswered
        book = with_room(book, len(pipe.shapes) * (settings.seqs + 1))
        now = receive_batch(settings, requests, ranks, pipe, book)
        for rank in range(len(pipe.shapes)):
            state = engine_of(ranks, rank)[0]
            own = state.status[0]
            let_come(arrivals, state.finished[: own.finished], now)
            report(desk, rank, own.waiting, own.running + pipe.inside[rank], now)
        coming = next_s(arrivals)
    return book


@inner_njit
def begin_batch(
    settings: Settings, requests: Requests, costs: PipelineCosts, ranks: Ranks, pipe: Pipe, book: Book, now: float
) -> bool:
    """The next batch, if there is room for one; answers whether anything was decided."""
    flight, scheduled, preempted = pipe.status[0], 0, 0
    if flight.flying == costs.stages:
        return False
    for rank in range(len(pipe.shapes)):
        state, blocks = engine_of(ranks, rank)
        schedule(_left(settings, pipe.inside[rank]), requests, state, blocks)
        note_scheduled(book, state.status[0].preempted, blocks)
        put(pipe.shapes[rank], shape_of(state))
        scheduled += state.status[0].scheduled
        preempted += state.status[0].preempted
    if scheduled > 0:
        batch = (flight.oldest + flight.flying) % costs.stages
        flight.flying += 1
        own = pipe.batches[batch]
        own.began_s = now
        own.end_s = through_s(costs.whole, settings.drafts.share, pipe.shapes, pipe.stages, now)
        for rank in range(len(pipe.shapes)):
            _send(requests, engine_of(ranks, rank)[0], pipe, rank, batch)
    return bool(scheduled + preempted > 0)


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
def _send(requests: Requests, state: State, pipe: Pipe, rank: int, batch: int) -> None:
    """What was scheduled enters the first stage; prompts with parts left stay among those who can run."""
    lists, members, size = state.lists, pipe.members[rank, batch], 0
    for place in range(state.status[0].admitted):
        pipe.number[lists[place].admitted] = pipe.status[0].begun
        pipe.status[0].begun += 1
    for place in range(state.status[0].scheduled):
        request, tokens = lists[place].scheduled, lists[place].tokens
        seat = state.seats[request]
        if seat.computed + tokens < requests.asked[request].prompt + seat.outputs:
            seat.computed += tokens
            continue
        members[size].request, members[size].tokens = request, tokens
        size += 1
    pipe.sizes[rank, batch] = size
    pipe.inside[rank] += size
    _take_out(state, members[:size])


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
def receive_batch(settings: Settings, requests: Requests, ranks: Ranks, pipe: Pipe, book: Book) -> float:
    """The oldest batch comes back: its members can run again, or are done (`finished` of each rank); answers when."""
    flight, emitted = pipe.status[0], 0
    batch = flight.oldest
    own = pipe.batches[batch]
    now, took = own.end_s, own.end_s - own.began_s
    flight.oldest = (batch + 1) % len(pipe.batches)
    flight.flying -= 1
    for rank in range(len(pipe.shapes)):
        engine = engine_of(ranks, rank)
        state = engine[0]
        members = pipe.members[rank, batch, : pipe.sizes[rank, batch]]
        pipe.inside[rank] -= len(members)
        _bring_back(state, pipe, members)
        emitted += stamp(requests, state, book, own.began_s, now)
        end_step(settings, requests, engine, book, now)
    write(book, now, 1, took, took, emitted, most_used(ranks))
    return float(now)


@inner_njit
def _bring_back(state: State, pipe: Pipe, members: Records) -> None:
    """The members of a batch were scheduled in the step that ends, and can run."""
    status = state.status[0]
    for place in range(len(members)):
        state.lists[place].scheduled, state.lists[place].tokens = members[place].request, members[place].tokens
    status.scheduled, status.finished = len(members), 0
    _put_back(state, pipe.number, pipe.merged, members)


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
