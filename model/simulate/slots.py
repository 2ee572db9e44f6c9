"""Tables from keys to numbers: open addressing over two arrays of a power of two entries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.compiled import inner_njit

EMPTY = -1
"""Key and value of a place that holds nothing."""
_MIX = np.uint64(0x9E3779B97F4A7C15)


def new_slots(most: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Keys and values of an empty table with room for `most` entries."""
    size = 1 << max(most * 2 - 1, 1).bit_length()
    return np.full(size, EMPTY, dtype=np.int64), np.full(size, EMPTY, dtype=np.int32)


@inner_njit
def slot_of(keys: npt.NDArray[np.int64], key: int) -> int:
    """Where `key` stands in the table, or where it would."""
    last = len(keys) - 1
    slot = np.int64((np.uint64(key) * _MIX) >> np.uint64(20)) & last
    while keys[slot] != key and keys[slot] != EMPTY:
        slot = (slot + 1) & last
    return int(slot)


@inner_njit
def vacate(keys: npt.NDArray[np.int64], values: npt.NDArray[np.int32], slot: int) -> None:
    """Empty a slot and move up those behind it that would no longer be found (Knuth, TAOCP 3, algorithm 6.4R)."""
    last = len(keys) - 1
    hole, probe = slot, slot
    while True:
        probe = (probe + 1) & last
        if keys[probe] == EMPTY:
            break
        home = np.int64((np.uint64(keys[probe]) * _MIX) >> np.uint64(20)) & last
        if ((probe - home) & last) >= ((probe - hole) & last):
            keys[hole], values[hole] = keys[probe], values[probe]
            hole = probe
    keys[hole], values[hole] = EMPTY, EMPTY
