"""The KV cache of an engine as vLLM keeps it: a free queue of blocks, and full blocks that later requests find again.

Notation: a block is a number below N; `key` names the tokens of a full block and all before them (two blocks with equal
keys hold the same), -1 where a block has none. The free queue is a ring of links with block N as its anchor: its head
is taken first, and a block in it keeps its key until it is taken (least recently used first).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.compiled import inner_njit
from model.simulate.records import Records, of_ints
from model.simulate.slots import Slots, new_slots, slot_of, vacate

Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]

NONE = -1
_BLOCK = of_ints("after", "before", "users", "key", "copy")


class Blocks(NamedTuple):
    """N blocks. `free[0]` is the number of free ones; `slots` maps keys to the block that was filled first with them.

    `pool`, N + 1: links `after` and `before` of the free queue, `users` (requests that hold a block), its `key`, and
    `copy`, the next block with the same key.
    """

    free: Ints
    pool: Records
    slots: Slots


def new_blocks(count: int) -> Blocks:
    """`count` free blocks in order, none of them filled."""
    ring, pool = np.arange(count + 1), np.zeros(count + 1, dtype=_BLOCK)
    pool["after"], pool["before"] = np.roll(ring, -1), np.roll(ring, 1)
    pool["key"] = pool["copy"] = NONE
    return Blocks(np.array([count], dtype=np.int64), pool, new_slots(count))


@inner_njit
def blocks_in_use(blocks: Blocks) -> int:
    """Blocks that are not free."""
    return int(len(blocks.pool) - 1 - blocks.free[0])


@inner_njit
def take(blocks: Blocks) -> int:
    """The head of the free queue, which forgets what it held and gets one user."""
    pool = blocks.pool
    block = pool[len(pool) - 1].after
    _unlink(blocks, block)
    _forget(blocks, block)
    pool[block].users = 1
    return int(block)


@inner_njit
def hold(blocks: Blocks, block: int) -> None:
    """One more user of a filled block, which leaves the free queue if it was in it."""
    if blocks.pool[block].users == 0:
        _unlink(blocks, block)
    blocks.pool[block].users += 1


@inner_njit
def release(blocks: Blocks, held: Ints32) -> None:
    """Give up the blocks of a request, given in its order, the tail first.

    What nobody else holds and can be found again goes to the tail of the free queue, the rest to its head as a group.
    """
    pool = blocks.pool
    head = anchor = np.int64(len(pool) - 1)
    for place in range(len(held) - 1, -1, -1):
        block = np.int64(held[place])
        pool[block].users -= 1
        if pool[block].users > 0:
            continue
        if pool[block].key >= 0:
            _link(blocks, block, pool[anchor].before)
        else:
            _link(blocks, block, head)
            head = block


@inner_njit
def fill(blocks: Blocks, block: int, key: int) -> None:
    """A block has become full of the tokens named by `key`: from now on it can be found."""
    pool, slots = blocks.pool, blocks.slots
    pool[block].key = key
    slot = slot_of(slots, key)
    if slots[slot].key == NONE:
        slots[slot].key, slots[slot].value = key, block
        return
    last = slots[slot].value
    while pool[last].copy != NONE:
        last = pool[last].copy
    pool[last].copy = block


@inner_njit
def find(blocks: Blocks, key: int) -> int:
    """The block that was filled first with `key`, or NONE."""
    return int(blocks.slots[slot_of(blocks.slots, key)].value)


@inner_njit
def _link(blocks: Blocks, block: int, previous: int) -> None:
    pool = blocks.pool
    following = pool[previous].after
    pool[previous].after, pool[block].before = block, previous
    pool[block].after, pool[following].before = following, block
    blocks.free[0] += 1


@inner_njit
def _unlink(blocks: Blocks, block: int) -> None:
    pool = blocks.pool
    previous, following = pool[block].before, pool[block].after
    pool[previous].after, pool[following].before = following, previous
    blocks.free[0] -= 1


@inner_njit
def _forget(blocks: Blocks, block: int) -> None:
    """Take a block's key away; the next block with the same key takes its place in the table."""
    pool, slots = blocks.pool, blocks.slots
    key, following = pool[block].key, pool[block].copy
    if key < 0:
        return
    slot = slot_of(slots, key)
    if slots[slot].value != block:
        previous = slots[slot].value
        while pool[previous].copy != block:
            previous = pool[previous].copy
        pool[previous].copy = following
    elif following != NONE:
        slots[slot].value = following
    else:
        vacate(slots, slot)
    pool[block].key, pool[block].copy = NONE, NONE
