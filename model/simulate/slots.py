"""Tables from keys to numbers: open addressing over a power of two entries, each a `key` and its `value`."""

from __future__ import annotations

import numpy as np

from model.compiled import inner_njit
from model.simulate.records import Records, of_ints

EMPTY = -1
"""Key and value of a place that holds nothing."""
Slots = Records
_SLOT = of_ints("key", "value")
_MIX = np.uint64(0x9E3779B97F4A7C15)


def new_slots(most: int, rows: tuple[int, ...] = ()) -> Slots:
    """An empty table with room for `most` entries; with `rows`, as many of them."""
    size = 1 << max(most * 2 - 1, 1).bit_length()
    # of plain numbers, since those of records take ten times as long to fill
    return np.full((*rows, size, 2), EMPTY, dtype=np.int64).view(_SLOT)[..., 0]


@inner_njit
def slot_of(slots: Slots, key: int) -> int:
    """Where `key` stands in the table, or where it would."""
    last = len(slots) - 1
    slot = np.int64((np.uint64(key) * _MIX) >> np.uint64(20)) & last
    while slots[slot].key != key and slots[slot].key != EMPTY:
        slot = (slot + 1) & last
    return int(slot)


@inner_njit
def vacate(slots: Slots, slot: int) -> None:
    """Empty a slot and move up those behind it that would no longer be found (Knuth, TAOCP 3, algorithm 6.4R)."""
    last = len(slots) - 1
    hole, probe = slot, slot
    while True:
        probe = (probe + 1) & last
        if slots[probe].key == EMPTY:
            break
        home = np.int64((np.uint64(slots[probe].key) * _MIX) >> np.uint64(20)) & last
        if ((probe - home) & last) >= ((probe - hole) & last):
            slots[hole].key, slots[hole].value = slots[probe].key, slots[probe].value
            hole = probe
    slots[hole].key, slots[hole].value = EMPTY, EMPTY
