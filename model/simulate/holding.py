"""Blocks that requests hold, and those that a new one finds: how vLLM's scheduler uses its KV cache, compiled."""

from __future__ import annotations

from model.compiled import inner_njit
from model.simulate.blocks import NONE, Blocks, fill, find, release, take
from model.simulate.names import block_name
from model.simulate.state import ROWS, Requests, Settings, State


@inner_njit
def blocks_for(settings: Settings, tokens: int) -> int:
    """Blocks that so many tokens take."""
    return (tokens + settings.block_size - 1) // settings.block_size


@inner_njit
def blocks_found(settings: Settings, requests: Requests, state: State, blocks: Blocks, request: int) -> int:
    """How many leading blocks of a request are in the cache; its last known token is always computed anew, and all of
    the last block where layers that draft need what comes before them."""
    if not settings.caches:
        return 0
    most = (requests.prompt[request] + state.outputs[request] - 1) // settings.block_size
    found = 0
    while found < most and find(blocks, block_name(requests, settings.block_size, request, found)) != NONE:
        found += 1
    return found - 1 if found > 0 and settings.drafts.ahead > 0 else found


@inner_njit
def found_in_queue(settings: Settings, requests: Requests, blocks: Blocks, request: int, hits: int) -> int:
    """How many of the blocks that were found stand in the free queue, and so count against it."""
    idle = 0
    for place in range(hits):
        if blocks.users[find(blocks, block_name(requests, settings.block_size, request, place))] == 0:
            idle += 1
    return idle


@inner_njit
def grow(
    settings: Settings, requests: Requests, state: State, blocks: Blocks, request: int, room: int, full: int
) -> None:
    """Blocks for `room` tokens in all; those that become full of the first `full` tokens can be found at once."""
    need = blocks_for(settings, room)
    if not settings.caches:
        blocks.free[0] -= max(need - state.held[request], 0)
        state.held[request] = max(need, state.held[request])
        return
    row = state.row[request]
    while state.held[request] < need:
        state.table[row, state.held[request]] = take(blocks)
        state.held[request] += 1
    while (state.filled[request] + 1) * settings.block_size <= full:
        place = state.filled[request]
        fill(blocks, state.table[row, place], block_name(requests, settings.block_size, request, place))
        state.filled[request] += 1


@inner_njit
def give_up_blocks(settings: Settings, state: State, blocks: Blocks, request: int) -> None:
    """A request runs no longer: its blocks are free, and its row of the table."""
    if settings.caches:
        release(blocks, state.table[state.row[request], : state.held[request]])
    else:
        blocks.free[0] += state.held[request]
    state.free_rows[state.counts[ROWS]] = state.row[request]
    state.counts[ROWS] += 1
    state.held[request] = state.filled[request] = 0
    state.row[request] = NONE
