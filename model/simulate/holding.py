"""Blocks that requests hold, and those that a new one finds: how vLLM's scheduler uses its KV cache, compiled."""

from __future__ import annotations

from model.compiled import inner_njit
from model.simulate.blocks import NONE, Blocks, fill, find, release, take
from model.simulate.names import block_name
from model.simulate.state import Requests, Settings, State


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
    most = (requests.asked[request].prompt + state.seats[request].outputs - 1) // settings.block_size
    found = 0
    while found < most and find(blocks, block_name(requests, settings.block_size, request, found)) != NONE:
        found += 1
    return found - 1 if found > 0 and settings.drafts.ahead > 0 else found


@inner_njit
def found_in_queue(settings: Settings, requests: Requests, blocks: Blocks, request: int, hits: int) -> int:
    """How many of the blocks that were found stand in the free queue, and so count against it."""
    idle = 0
    for place in range(hits):
        if blocks.pool[find(blocks, block_name(requests, settings.block_size, request, place))].users == 0:
            idle += 1
    return idle


@inner_njit
def grow(
    settings: Settings, requests: Requests, state: State, blocks: Blocks, request: int, room: int, full: int
) -> None:
    """Blocks for `room` tokens in all; those that become full of the first `full` tokens can be found at once."""
    seat, need = state.seats[request], blocks_for(settings, room)
    if not settings.caches:
        blocks.free[0] -= max(need - seat.held, 0)
        seat.held = max(need, seat.held)
        return
    while seat.held < need:
        state.table[seat.row, seat.held] = take(blocks)
        seat.held += 1
    while (seat.filled + 1) * settings.block_size <= full:
        name = block_name(requests, settings.block_size, request, seat.filled)
        fill(blocks, state.table[seat.row, seat.filled], name)
        seat.filled += 1


@inner_njit
def give_up_blocks(settings: Settings, state: State, blocks: Blocks, request: int) -> None:
    """A request runs no longer: its blocks are free, and its row of the table."""
    seat, now = state.seats[request], state.status[0]
    if settings.caches:
        release(blocks, state.table[seat.row, : seat.held])
    else:
        blocks.free[0] += seat.held
    state.lists[now.free_rows].free_rows = seat.row
    now.free_rows += 1
    seat.held, seat.filled, seat.row = 0, 0, NONE
