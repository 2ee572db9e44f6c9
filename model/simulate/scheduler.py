"""What vLLM's V1 scheduler decides in one step, compiled.

Rules: the token budget goes to the running requests in their order, then to waiting ones, first come first served or
by priority. A running request that needs a block when none is free makes another one give up all of its own; then
nobody is admitted in that step. Admission never preempts and stops at the first request that does not fit. Source: the
behaviour of vllm 0.33's scheduler, observed.

Notation: known tokens of a request are its prompt and what it has generated; computed ones have their keys and values
in the cache. A request that has computed all that it knows generates one more at the end of the step.
"""

from __future__ import annotations

import numpy as np

from model.compiled import njit
from model.simulate.blocks import NONE, Blocks, fill, find, hold, release, take
from model.simulate.names import block_name
from model.simulate.queue import chain_back, chain_front, peek, pop, push_heap
from model.simulate.state import (
    ADMITTED,
    FINISHED,
    PREEMPTED,
    ROWS,
    RUNNING,
    SCHEDULED,
    WAITING,
    Requests,
    Settings,
    State,
)


@njit(cache=True)
def arrive(settings: Settings, requests: Requests, state: State, request: int) -> None:
    """A new request waits."""
    if settings.is_priority:
        push_heap(requests, state, request)
    else:
        chain_back(state, request)


@njit(cache=True)
def schedule(settings: Settings, requests: Requests, state: State, blocks: Blocks) -> None:
    """Decide one step: who computes how many tokens, who is preempted and admitted. Left in `state`."""
    count = state.counts
    count[SCHEDULED], count[PREEMPTED], count[ADMITTED], count[FINISHED] = 0, 0, 0, 0
    alone = count[RUNNING] + count[WAITING] == 1
    most = settings.threshold if settings.threshold > 0 and not alone else np.int64(1) << 60
    budget = _serve_running(settings, requests, state, blocks, most)
    if count[PREEMPTED] == 0:
        _admit(settings, requests, state, blocks, budget, most)


@njit(cache=True)
def finish_step(settings: Settings, requests: Requests, state: State, blocks: Blocks) -> None:
    """The step ran: who has computed all that it knows gets a token; who is done leaves with all blocks."""
    count = state.counts
    for place in range(count[SCHEDULED]):
        request = state.scheduled[place]
        state.computed[request] += state.tokens[place]
        if state.computed[request] < requests.prompt[request] + state.outputs[request]:
            continue
        state.outputs[request] += 1
        known = requests.prompt[request] + state.outputs[request]
        if state.outputs[request] >= requests.limit[request] or known >= settings.model_len:
            state.finished[count[FINISHED]] = request
            count[FINISHED] += 1
    if count[FINISHED] == 0:
        return
    for place in range(count[FINISHED]):
        request = state.finished[place]
        _give_up_blocks(settings, state, blocks, request)
        state.computed[request] = -1
    _drop_finished(state)


@njit(cache=True)
def decode_on(settings: Settings, requests: Requests, state: State, blocks: Blocks, steps: int) -> None:
    """Several steps at once in which every running request decodes and none is done; the blocks must be there."""
    for place in range(state.counts[RUNNING]):
        request = state.running[place]
        _grow(settings, requests, state, blocks, request, steps)
        state.computed[request] += steps
        state.outputs[request] += steps


@njit(cache=True)
def _drop_finished(state: State) -> None:
    kept = 0
    for place in range(state.counts[RUNNING]):
        request = state.running[place]
        if state.computed[request] >= 0:
            state.running[kept] = request
            kept += 1
    state.counts[RUNNING] = kept


@njit(cache=True)
def _serve_running(settings: Settings, requests: Requests, state: State, blocks: Blocks, most: int) -> int:
    """Tokens for the running requests in order; answers what is left of the budget."""
    budget = settings.batched_tokens
    place = 0
    while place < state.counts[RUNNING] and budget > 0:
        request = state.running[place]
        known = requests.prompt[request] + state.outputs[request]
        tokens = min(known - state.computed[request], most, budget)
        need = _blocks_for(settings, state.computed[request] + tokens) - state.held[request]
        fits = True
        while need > blocks.free[0]:
            victim = _victim(settings, requests, state)
            refund, shift = _preempt(settings, requests, state, blocks, victim, place)
            budget += refund
            place -= shift
            if victim == request:
                fits = False
                break
        if fits:
            _grow(settings, requests, state, blocks, request, tokens)
            _note(state, request, tokens)
            budget -= tokens
            place += 1
        elif not settings.is_priority:
            break
    return int(budget)


@njit(cache=True)
def _victim(settings: Settings, requests: Requests, state: State) -> int:
    """The last running request, or under priorities the worst one, wherever it stands."""
    worst = state.running[state.counts[RUNNING] - 1]
    if settings.is_priority:
        for place in range(state.counts[RUNNING]):
            request = state.running[place]
            if (requests.priority[request], request) > (requests.priority[worst], worst):
                worst = request
    return int(worst)


@njit(cache=True)
def _preempt(
    settings: Settings, requests: Requests, state: State, blocks: Blocks, victim: int, place: int
) -> tuple[int, int]:
    """A running request starts anew later; answers the tokens it had in this step, and 1 if it stood before `place`."""
    count = state.counts
    at = count[RUNNING] - 1
    while state.running[at] != victim:
        at -= 1
    for other in range(at, count[RUNNING] - 1):
        state.running[other] = state.running[other + 1]
    count[RUNNING] -= 1
    refund, kept = 0, 0
    for other in range(count[SCHEDULED]):
        if state.scheduled[other] == victim:
            refund = state.tokens[other]
        else:
            state.scheduled[kept], state.tokens[kept] = state.scheduled[other], state.tokens[other]
            kept += 1
    count[SCHEDULED] = kept
    _give_up_blocks(settings, state, blocks, victim)
    state.computed[victim] = 0
    state.preempted[count[PREEMPTED]] = victim
    count[PREEMPTED] += 1
    if settings.is_priority:
        push_heap(requests, state, victim)
    else:
        chain_front(state, victim)
    return refund, 1 if at < place else 0


@njit(cache=True)
def _admit(settings: Settings, requests: Requests, state: State, blocks: Blocks, budget: int, most: int) -> None:
    """Waiting requests start while they fit; the first that does not ends it."""
    count = state.counts
    while count[WAITING] > 0 and budget > 0 and count[RUNNING] < settings.seqs:
        request = peek(settings, state)
        hits = _hits(settings, requests, state, blocks, request)
        known = requests.prompt[request] + state.outputs[request]
        computed = hits * settings.block_size
        tokens = min(known - computed, most)
        if not settings.chunks and tokens > budget:
            break
        tokens = min(tokens, budget)
        through = known if settings.reserves else computed + tokens
        new = _blocks_for(settings, through) - hits
        if new + _hits_in_queue(settings, requests, blocks, request, hits) > blocks.free[0]:
            break
        pop(settings, requests, state)
        _start(settings, requests, state, blocks, request, hits)
        _grow(settings, requests, state, blocks, request, tokens)
        _note(state, request, tokens)
        budget -= tokens


@njit(cache=True)
def _start(settings: Settings, requests: Requests, state: State, blocks: Blocks, request: int, hits: int) -> None:
    """From waiting to running, with the blocks that were found."""
    count = state.counts
    count[ROWS] -= 1
    row = state.free_rows[count[ROWS]]
    state.row[request] = row
    for place in range(hits):
        block = find(blocks, block_name(requests, settings.block_size, request, place))
        hold(blocks, block)
        state.table[row, place] = block
    state.held[request] = state.filled[request] = hits
    state.computed[request] = hits * settings.block_size
    state.running[count[RUNNING]] = request
    count[RUNNING] += 1
    state.admitted[count[ADMITTED]] = request
    state.hits[count[ADMITTED]] = state.computed[request]
    count[ADMITTED] += 1


@njit(cache=True)
def _hits(settings: Settings, requests: Requests, state: State, blocks: Blocks, request: int) -> int:
    """How many leading blocks of a request are in the cache; its last known token is always computed anew."""
    if not settings.caches:
        return 0
    most = (requests.prompt[request] + state.outputs[request] - 1) // settings.block_size
    found = 0
    while found < most and find(blocks, block_name(requests, settings.block_size, request, found)) != NONE:
        found += 1
    return found


@njit(cache=True)
def _hits_in_queue(settings: Settings, requests: Requests, blocks: Blocks, request: int, hits: int) -> int:
    """How many of the blocks that were found stand in the free queue, and so count against it."""
    idle = 0
    for place in range(hits):
        if blocks.users[find(blocks, block_name(requests, settings.block_size, request, place))] == 0:
            idle += 1
    return idle


@njit(cache=True)
def _grow(settings: Settings, requests: Requests, state: State, blocks: Blocks, request: int, tokens: int) -> None:
    """Blocks for `tokens` more; those that become full can be found at once."""
    through = state.computed[request] + tokens
    need = _blocks_for(settings, through)
    if not settings.caches:
        blocks.free[0] -= max(need - state.held[request], 0)
        state.held[request] = max(need, state.held[request])
        return
    row = state.row[request]
    while state.held[request] < need:
        state.table[row, state.held[request]] = take(blocks)
        state.held[request] += 1
    while (state.filled[request] + 1) * settings.block_size <= through:
        place = state.filled[request]
        fill(blocks, state.table[row, place], block_name(requests, settings.block_size, request, place))
        state.filled[request] += 1


@njit(cache=True)
def _give_up_blocks(settings: Settings, state: State, blocks: Blocks, request: int) -> None:
    if settings.caches:
        release(blocks, state.table[state.row[request], : state.held[request]])
    else:
        blocks.free[0] += state.held[request]
    state.free_rows[state.counts[ROWS]] = state.row[request]
    state.counts[ROWS] += 1
    state.held[request] = state.filled[request] = 0
    state.row[request] = NONE


@njit(cache=True)
def _blocks_for(settings: Settings, tokens: int) -> int:
    return (tokens + settings.block_size - 1) // settings.block_size


@njit(cache=True)
def _note(state: State, request: int, tokens: int) -> None:
    state.scheduled[state.counts[SCHEDULED]] = request
    state.tokens[state.counts[SCHEDULED]] = tokens
    state.counts[SCHEDULED] += 1
