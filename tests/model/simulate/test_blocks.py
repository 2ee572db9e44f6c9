"""The compiled block cache against a plain one, over random histories."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.simulate import blocks
from model.simulate.blocks import NONE, new_blocks
from tests.support.kernels import called

take, hold, release, fill, find = map(called, (blocks.take, blocks.hold, blocks.release, blocks.fill, blocks.find))


class PlainBlocks:
    """The same rules with a list as the free queue and a list of filled blocks per key, oldest first."""

    def __init__(self, count: int) -> None:
        self.free = list(range(count))
        self.users = [0] * count
        self.key: dict[int, int] = {}

    def take(self) -> int:
        block = self.free.pop(0)
        self.key.pop(block, None)
        self.users[block] = 1
        return block

    def hold(self, block: int) -> None:
        if self.users[block] == 0:
            self.free.remove(block)
        self.users[block] += 1

    def release(self, held: list[int]) -> None:
        group = []
        for block in reversed(held):
            self.users[block] -= 1
            if self.users[block] == 0 and block in self.key:
                self.free.append(block)
            elif self.users[block] == 0:
                group.append(block)
        self.free[:0] = group

    def fill(self, block: int, key: int) -> None:
        self.key[block] = key

    def find(self, key: int) -> int:
        return next((block for block, known in self.key.items() if known == key), NONE)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.lists(st.tuples(st.sampled_from("tthrrff"), st.integers(0, 50)), max_size=120))
def test_it_keeps_the_same_queue_and_finds_the_same_blocks(count: int, history: list[tuple[str, int]]) -> None:
    plain, fast = PlainBlocks(count), new_blocks(count)
    requests: list[list[int]] = []
    for act, number in history:
        if act == "t" and plain.free:
            block = plain.take()
            assert take(fast) == block
            requests.append([block])
            if number % 2 and plain.free:  # a request of two blocks
                requests[-1].append(plain.take())
                assert take(fast) == requests[-1][1]
        elif act == "f" and requests:
            block = requests[number % len(requests)][0]
            if block not in plain.key:
                plain.fill(block, number % 5)
                fill(fast, block, number % 5)
        elif act == "h" and (block := plain.find(number % 5)) != NONE:
            plain.hold(block)
            hold(fast, block)
            requests.append([block])
        elif act == "r" and requests:
            held = requests.pop(number % len(requests))
            plain.release(held)
            release(fast, np.array(held, dtype=np.int32))
        assert fast.free[0] == len(plain.free)
        assert [find(fast, key) for key in range(5)] == [plain.find(key) for key in range(5)]
    order = [take(fast) for _ in range(len(plain.free))]
    assert order == plain.free
