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
from model.simulate.slots import new_slots, slot_of, vacate

Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]

NONE = -1


class Blocks(NamedTuple):
    """N blocks. `free` holds the number of free ones; `slots` maps keys to the block that was filled first with them.

    `after`, `before`: links of the free queue, N + 1. `users`: requests that hold a block. `copy`: the next block with
    the same key. `slot_key`, `slot_block`: an open-addressing table of a power of two entries.
    """

    free: Ints
    after: Ints32
    before: Ints32
    users: Ints32
    key: Ints
    copy: Ints32
    slot_key: Ints
    slot_block: Ints32


def new_blocks(count: int) -> Blocks:
    """`count` free blocks in order, none of them filled."""
    ring = np.arange(count + 1, dtype=np.int32)
    slot_key, slot_block = new_slots(count)
    return Blocks(
        np.array([count], dtype=np.int64),
        np.roll(ring, -1),
        np.roll(ring, 1),
        np.zeros(count, dtype=np.int32),
        np.full(count, NONE, dtype=np.int64),
        np.full(count, NONE, dtype=np.int32),
        slot_key,
        slot_block,
    )


@inner_njit
def take(blocks: Blocks) -> int:
    """The head of the free queue, which forgets what it held and gets one user."""
    block = blocks.after[len(blocks.users)]
    _unlink(blocks, block)
    _forget(blocks, block)
    blocks.users[block] = 1
    return int(block)


@inner_njit
def hold(blocks: Blocks, block: int) -> None:
    """One more user of a filled block, which leaves the free queue if it was in it."""
    if blocks.users[block] == 0:
        _unlink(blocks, block)
    blocks.users[block] += 1


@inner_njit
def release(blocks: Blocks, held: Ints32) -> None:
    """Give up the blocks of a request, given in its order, the tail first.

    What nobody else holds and can be found again goes to the tail of the free queue, the rest to its head as a group.
    """
    anchor = len(blocks.users)
    head = anchor
    for place in range(len(held) - 1, -1, -1):
        block = held[place]
        blocks.users[block] -= 1
        if blocks.users[block] > 0:
            continue
        if blocks.key[block] >= 0:
            _link(blocks, block, blocks.before[anchor])
        else:
            _link(blocks, block, head)
            head = block


@inner_njit
def fill(blocks: Blocks, block: int, key: int) -> None:
    """A block has become full of the tokens named by `key`: from now on it can be found."""
    blocks.key[block] = key
    slot = slot_of(blocks.slot_key, key)
    if blocks.slot_key[slot] == NONE:
        blocks.slot_key[slot], blocks.slot_block[slot] = key, block
        return
    last = blocks.slot_block[slot]
    while blocks.copy[last] != NONE:
        last = blocks.copy[last]
    blocks.copy[last] = block


@inner_njit
def find(blocks: Blocks, key: int) -> int:
    """The block that was filled first with `key`, or NONE."""
    return int(blocks.slot_block[slot_of(blocks.slot_key, key)])


@inner_njit
def _link(blocks: Blocks, block: int, previous: int) -> None:
    following = blocks.after[previous]
    blocks.after[previous], blocks.before[block] = block, previous
    blocks.after[block], blocks.before[following] = following, block
    blocks.free[0] += 1


@inner_njit
def _unlink(blocks: Blocks, block: int) -> None:
    previous, following = blocks.before[block], blocks.after[block]
    blocks.after[previous], blocks.before[following] = following, previous
    blocks.free[0] -= 1


@inner_njit
def _forget(blocks: Blocks, block: int) -> None:
    """Take a block's key away; the next block with the same key takes its place in the table."""
    key = blocks.key[block]
    if key < 0:
        return
    slot = slot_of(blocks.slot_key, key)
    following = blocks.copy[block]
    if blocks.slot_block[slot] != block:
        previous = blocks.slot_block[slot]
        while blocks.copy[previous] != block:
            previous = blocks.copy[previous]
        blocks.copy[previous] = following
    elif following != NONE:
        blocks.slot_block[slot] = following
    else:
        vacate(blocks.slot_key, blocks.slot_block, slot)
    blocks.key[block], blocks.copy[block] = NONE, NONE
