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
    count = state.counts
    count[SCHEDULED], count[PREEMPTED], count[ADMITTED], count[FINISHED] = 0, 0, 0, 0
    alone = count[RUNNING] + count[WAITING] == 1
    most = settings.threshold if settings.threshold > 0 and not alone else np.int64(1) << 60
    budget = _serve_running(settings, requests, state, blocks, most)
    if count[PREEMPTED] == 0:
        _admit(settings, requests, state, blocks, budget, most)


@inner_njit
def finish_step(settings: Settings, requests: Requests, state: State, blocks: Blocks) -> None:
    """The step ran: who has computed all that it knows gets a token, or several; who is done leaves with all blocks."""
    count = state.counts
    for place in range(count[SCHEDULED]):
        request = state.scheduled[place]
        state.computed[request] += state.tokens[place]
        drafted = state.computed[request] - requests.prompt[request] - state.outputs[request]
        if drafted < 0:
            continue
        right = accepted(settings.drafts, request, state.outputs[request], drafted) if drafted > 0 else 0
        state.computed[request] -= drafted - right
        state.drafted[request] = settings.drafts.tokens
        goal = min(requests.limit[request], settings.model_len - requests.prompt[request])
        state.outputs[request] = min(state.outputs[request] + 1 + right, goal)
        if state.outputs[request] == goal:
            state.finished[count[FINISHED]] = request
            count[FINISHED] += 1
    if count[FINISHED] == 0:
        return
    for place in range(count[FINISHED]):
        request = state.finished[place]
        give_up_blocks(settings, state, blocks, request)
        state.computed[request] = -1
    _drop_finished(state)


@inner_njit
def decode_on(settings: Settings, requests: Requests, state: State, blocks: Blocks, steps: int) -> None:
    """Several steps at once in which every running request decodes and none is done; the blocks must be there."""
    for place in range(state.counts[RUNNING]):
        request = state.running[place]
        reached = state.computed[request] + steps
        grow(settings, requests, state, blocks, request, reached, reached)
        state.computed[request] = reached
        state.outputs[request] += steps


@inner_njit
def _drop_finished(state: State) -> None:
    kept = 0
    for place in range(state.counts[RUNNING]):
        request = state.running[place]
        if state.computed[request] >= 0:
            state.running[kept] = request
            kept += 1
    state.counts[RUNNING] = kept


@inner_njit
def _serve_running(settings: Settings, requests: Requests, state: State, blocks: Blocks, most: int) -> int:
    """Tokens for the running requests in order; answers what is left of the budget."""
    budget = settings.batched_tokens
    place = 0
    while place < state.counts[RUNNING] and budget > 0:
        request = state.running[place]
        known, computed = requests.prompt[request] + state.outputs[request], state.computed[request]
        drafted = min(state.drafted[request], settings.model_len - 1 - known) if state.drafted[request] > 0 else 0
        tokens = min(known + drafted - computed, most, budget)
        room = min(computed + tokens + settings.drafts.ahead, settings.model_len)
        need = blocks_for(settings, room) - state.held[request]
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
    worst = state.running[state.counts[RUNNING] - 1]
    if settings.is_priority:
        for place in range(state.counts[RUNNING]):
            request = state.running[place]
            if (requests.priority[request], request) > (requests.priority[worst], worst):
                worst = request
    return int(worst)


@inner_njit
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
    give_up_blocks(settings, state, blocks, victim)
    state.computed[victim] = state.drafted[victim] = state.brought[victim] = 0
    state.preempted[count[PREEMPTED]] = victim
    count[PREEMPTED] += 1
    if settings.is_priority:
        push_heap(requests, state, victim)
    else:
        chain_front(state, victim)
    return refund, 1 if at < place else 0


@inner_njit
def _admit(settings: Settings, requests: Requests, state: State, blocks: Blocks, budget: int, most: int) -> None:
    """Waiting requests start while they fit; the first that does not ends it."""
    count = state.counts
    while count[WAITING] > 0 and budget > 0 and count[RUNNING] < settings.seqs:
        request = peek(settings, state)
        hits = blocks_found(settings, requests, state, blocks, request)
        known = requests.prompt[request] + state.outputs[request]
        computed = max(hits * settings.block_size, state.brought[request])
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
    count = state.counts
    count[ROWS] -= 1
    row = state.free_rows[count[ROWS]]
    state.row[request] = row
    for place in range(hits):
        block = find(blocks, block_name(requests, settings.block_size, request, place))
        hold(blocks, block)
        state.table[row, place] = block
    state.held[request] = state.filled[request] = hits
    state.computed[request] = max(hits * settings.block_size, state.brought[request])
    state.running[count[RUNNING]] = request
    count[RUNNING] += 1
    state.admitted[count[ADMITTED]] = request
    state.hits[count[ADMITTED]] = state.computed[request]
    count[ADMITTED] += 1


@inner_njit
def _note(state: State, request: int, tokens: int) -> None:
    state.scheduled[state.counts[SCHEDULED]] = request
    state.tokens[state.counts[SCHEDULED]] = tokens
    state.counts[SCHEDULED] += 1
