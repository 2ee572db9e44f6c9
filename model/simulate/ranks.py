"""Several engines over the same requests, of which each is served by one of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit
from model.simulate.blocks import Blocks
from model.simulate.state import EngineSettings, State, new_state

_OF_REQUESTS = {"computed", "outputs", "drafted", "brought", "held", "filled", "row", "next_waiting"}


class Ranks(NamedTuple):
    """k engines. `each` and `blocks` are those of all of them, one row per engine, but for what stands per request:
    that is in `alike`, once, since no request is in two engines."""

    alike: State
    each: State
    blocks: Blocks


def new_ranks(settings: EngineSettings, requests: int, count: int) -> Ranks:
    """`count` fresh engines for so many requests."""
    alike, blocks = new_state(settings, requests)
    own = [array[:0] if name in _OF_REQUESTS else array for name, array in alike._asdict().items()]
    each = State._make(np.stack([array] * count) for array in own)
    return Ranks(alike, each, Blocks._make(np.stack([array] * count) for array in blocks))


@inner_njit
def engine_of(ranks: Ranks, rank: int) -> tuple[State, Blocks]:
    """One engine, as `scheduler` takes it; what it changes is changed in `ranks`."""
    alike, each, blocks = ranks.alike, ranks.each, ranks.blocks
    state = State(
        alike.computed, alike.outputs, alike.drafted, alike.brought, alike.held, alike.filled, alike.row,
        alike.next_waiting, each.heap[rank], each.running[rank], each.free_rows[rank], each.table[rank],
        each.counts[rank], each.scheduled[rank], each.tokens[rank], each.preempted[rank], each.admitted[rank],
        each.hits[rank], each.finished[rank],
    )  # fmt: skip
    own = Blocks(
        blocks.free[rank], blocks.after[rank], blocks.before[rank], blocks.users[rank], blocks.key[rank],
        blocks.copy[rank], blocks.slot_key[rank], blocks.slot_block[rank],
    )  # fmt: skip
    return state, own
