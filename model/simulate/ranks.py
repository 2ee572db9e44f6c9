"""Several engines over the same requests, of which each is served by one of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit
from model.simulate.blocks import Blocks, blocks_in_use
from model.simulate.state import EngineSettings, State, new_state


class Ranks(NamedTuple):
    """k engines: the arrays of all of them, one row per engine, but for `seats`, since no request is in two engines."""

    states: State
    blocks: Blocks


def new_ranks(settings: EngineSettings, requests: int, count: int) -> Ranks:
    """`count` fresh engines for so many requests."""
    state, blocks = new_state(settings, requests)
    states = State._make(np.stack([array] * count) for array in state)._replace(seats=state.seats)
    return Ranks(states, Blocks._make(np.stack([array] * count) for array in blocks))


@inner_njit
def engine_of(ranks: Ranks, rank: int) -> tuple[State, Blocks]:
    """One engine, as `scheduler` takes it; what it changes is changed in `ranks`."""
    states, blocks = ranks.states, ranks.blocks
    state = State(
        states.seats, states.status[rank], states.lists[rank], states.finished[rank], states.heap[rank],
        states.table[rank],
    )  # fmt: skip
    return state, Blocks(blocks.free[rank], blocks.pool[rank], blocks.slots[rank])


@inner_njit
def ranks_of(ranks: Ranks, first: int, count: int) -> Ranks:
    """So many engines in a row; what they change is changed in `ranks`."""
    states, blocks, last = ranks.states, ranks.blocks, first + count
    state = State(
        states.seats, states.status[first:last], states.lists[first:last], states.finished[first:last],
        states.heap[first:last], states.table[first:last],
    )  # fmt: skip
    return Ranks(state, Blocks(blocks.free[first:last], blocks.pool[first:last], blocks.slots[first:last]))


@inner_njit
def most_used(ranks: Ranks) -> int:
    """Blocks in use where most are."""
    most = 0
    for rank in range(len(ranks.states.status)):
        most = max(most, blocks_in_use(engine_of(ranks, rank)[1]))
    return most
