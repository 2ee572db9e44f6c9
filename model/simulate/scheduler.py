"""What vLLM's V1 scheduler decides in one step, compiled.

Rules: the token budget goes to the running requests in their order, then to waiting ones, first come first served or
by priority. A running request that needs a block when none is free makes another one give up all of its own; then
nobody is admitted in that step. Admission never preempts and stops at the first request that does not fit. Source: the
behaviour of vllm 0.33's scheduler, observed.

Notation: known tokens of a request are its prompt and what it has generated; computed ones have their keys and values
in the cache. A request that has computed all that it knows generates one more at the end of the step. Where tokens are
drafted, those of the next step are computed along with the known ones, as far as budget and context last; of them it
generates as many more as are right, and the slots of the others are used again.
"""

from __future__ import annotations

import numpy as np

from model.compiled import inner_njit
from model.simulate.blocks import Blocks, find, hold
from model.simulate.holding import blocks_for, blocks_found, found_in_queue, give_up_blocks, grow
from model.simulate.names import block_name
from model.simulate.queue import chain_back, chain_front, peek, pop, push_heap
from model.simulate.speculation import accepted
from model.simulate.state import Requests, Settings, State


@inner_njit
def arrive(settings: Settings, requests: Requests, state: State, request: int) -> None:
    """A new request waits."""
    if settings.is_priority:
        push_heap(requests, state, request)
    else:
        chain_back(state, request)


@inner_njit
def schedule(settings: Settings, requests: Requests, state: State, blocks: Blocks) -> None:
    """Decide one step: who computes how many tokens, who is preempted and admitted. Left in `state`."""
    now = state.status[0]
    now.scheduled, now.preempted, now.admitted, now.finished = 0, 0, 0, 0
    alone = now.running + now.waiting == 1
    most = settings.threshold if settings.threshold > 0 and not alone else np.int64(1) << 60
    budget = _serve_running(settings, requests, state, blocks, most)
    if now.preempted == 0:
        _admit(settings, requests, state, blocks, budget, most)


@inner_njit
def finish_step(settings: Settings, requests: Requests, state: State, blocks: Blocks) -> None:
    """The step ran: who has computed all that it knows gets a token, or several; who is done leaves with all blocks."""
    now = state.status[0]
    for place in range(now.scheduled):
        request = state.lists[place].scheduled
        seat, prompt = state.seats[request], requests.asked[request].prompt
        seat.computed += state.lists[place].tokens
        drafted = seat.computed - prompt - seat.outputs
        if drafted < 0:
            continue
        right = accepted(settings.drafts, request, seat.outputs, drafted) if drafted > 0 else 0
        seat.computed -= drafted - right
        seat.drafted = settings.drafts.tokens
        goal = min(requests.asked[request].limit, settings.model_len - prompt)
        seat.outputs = min(seat.outputs + 1 + right, goal)
        if seat.outputs == goal:
            state.finished[now.finished] = request
            now.finished += 1
    if now.finished == 0:
        return
    for request in state.finished[: now.finished]:
        give_up_blocks(settings, state, blocks, request)
        state.seats[request].computed = -1
    _drop_finished(state)


@inner_njit
def decode_on(settings: Settings, requests: Requests, state: State, blocks: Blocks, steps: int) -> None:
    """Several steps at once in which every running request decodes and none is done; the blocks must be there."""
    for place in range(state.status[0].running):
        request = state.lists[place].running
        seat = state.seats[request]
        reached = seat.computed + steps
        grow(settings, requests, state, blocks, request, reached, reached)
        seat.computed = reached
        seat.outputs += steps


@inner_njit
def _drop_finished(state: State) -> None:
    now, lists, kept = state.status[0], state.lists, 0
    for place in range(now.running):
        request = lists[place].running
        if state.seats[request].computed >= 0:
            lists[kept].running = request
            kept += 1
    now.running = kept


@inner_njit
def _serve_running(settings: Settings, requests: Requests, state: State, blocks: Blocks, most: int) -> int:
    """Tokens for the running requests in order; answers what is left of the budget."""
    now, budget, place = state.status[0], settings.batched_tokens, 0
    while place < now.running and budget > 0:
        request = state.lists[place].running
        seat = state.seats[request]
        known, computed = requests.asked[request].prompt + seat.outputs, seat.computed
        drafted = min(seat.drafted, settings.model_len - 1 - known) if seat.drafted > 0 else 0
        tokens = min(known + drafted - computed, most, budget)
        room = min(computed + tokens + settings.drafts.ahead, settings.model_len)
        need = blocks_for(settings, room) - seat.held
        fits = True
        while need > blocks.free[0]:
            victim = _victim(settings, requests, state)
            refund, at = _preempt(settings, requests, state, blocks, victim)
            budget += refund
            place -= 1 if at < place else 0
            if victim == request:
                fits = False
                break
        if fits:
            grow(settings, requests, state, blocks, request, room, min(computed + tokens, known))
            _note(state, request, tokens)
            budget -= tokens
            place += 1
        elif not settings.is_priority:
            break
    return int(budget)


@inner_njit
def _victim(settings: Settings, requests: Requests, state: State) -> int:
    """The last running request, or under priorities the worst one, wherever it stands."""
    running, asked = state.status[0].running, requests.asked
    worst = state.lists[running - 1].running
    if settings.is_priority:
        for place in range(running):
            request = state.lists[place].running
            if (asked[request].priority, request) > (asked[worst].priority, worst):
                worst = request
    return int(worst)


@inner_njit
def _preempt(settings: Settings, requests: Requests, state: State, blocks: Blocks, victim: int) -> tuple[int, int]:
    """A running request starts anew later; answers the tokens it had in this step, and where it stood."""
    now, lists, seat = state.status[0], state.lists, state.seats[victim]
    at = now.running - 1
    while lists[at].running != victim:
        at -= 1
    for other in range(at, now.running - 1):
        lists[other].running = lists[other + 1].running
    now.running -= 1
    refund, kept = 0, 0
    for other in range(now.scheduled):
        if lists[other].scheduled == victim:
            refund = lists[other].tokens
        else:
            lists[kept].scheduled, lists[kept].tokens = lists[other].scheduled, lists[other].tokens
            kept += 1
    now.scheduled = kept
    give_up_blocks(settings, state, blocks, victim)
    seat.computed, seat.drafted, seat.brought = 0, 0, 0
    lists[now.preempted].preempted = victim
    now.preempted += 1
    if settings.is_priority:
        push_heap(requests, state, victim)
    else:
        chain_front(state, victim)
    return refund, at


@inner_njit
def _admit(settings: Settings, requests: Requests, state: State, blocks: Blocks, budget: int, most: int) -> None:
    """Waiting requests start while they fit; the first that does not ends it."""
    now = state.status[0]
    while now.waiting > 0 and budget > 0 and now.running < settings.seqs:
        request = peek(settings, state)
        hits = blocks_found(settings, requests, state, blocks, request)
        known = requests.asked[request].prompt + state.seats[request].outputs
        computed = max(hits * settings.block_size, state.seats[request].brought)
        tokens = min(known - computed, most)
        if not settings.chunks and tokens > budget:
            break
        tokens = min(tokens, budget)
        through = known if settings.reserves else computed + tokens
        new = blocks_for(settings, through) - hits
        if new + found_in_queue(settings, requests, blocks, request, hits) > blocks.free[0]:
            break
        pop(settings, requests, state)
        _start(settings, requests, state, blocks, request, hits)
        grow(settings, requests, state, blocks, request, computed + tokens, computed + tokens)
        _note(state, request, tokens)
        budget -= tokens


@inner_njit
def _start(settings: Settings, requests: Requests, state: State, blocks: Blocks, request: int, hits: int) -> None:
    """From waiting to running, with the blocks that were found."""
    now, lists, seat = state.status[0], state.lists, state.seats[request]
    now.free_rows -= 1
    seat.row = lists[now.free_rows].free_rows
    for place in range(hits):
        block = find(blocks, block_name(requests, settings.block_size, request, place))
        hold(blocks, block)
        state.table[seat.row, place] = block
    seat.held, seat.filled = hits, hits
    seat.computed = max(hits * settings.block_size, seat.brought)
    lists[now.running].running = request
    now.running += 1
    lists[now.admitted].admitted, lists[now.admitted].hits = request, seat.computed
    now.admitted += 1


@inner_njit
def _note(state: State, request: int, tokens: int) -> None:
    now = state.status[0]
    state.lists[now.scheduled].scheduled, state.lists[now.scheduled].tokens = request, tokens
    now.scheduled += 1
