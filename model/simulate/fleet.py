"""First come, first served without a prefix cache: the decisions of `scheduler` at a cost per event, not per token.

Who decodes does so in every step, so nothing is kept per step and request. With g the number of steps done, a request
that enters at e with o tokens generated and c computed is done when g = e + goal − o, which is a bucket; it needs a
block in the steps with (c − e + g) mod block_size = 0, which is one of block_size classes; and all caches together grow
by one token each. At most one request computes its prompt in parts, and it is the last of the running ones.

Holds where every running request can decode in each step (max_num_seqs ≤ max_num_batched_tokens) and prompts are cut
by the budget alone (no long_prefill_token_threshold).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.compiled import inner_njit
from model.simulate.blocks import NONE, Ints, Ints32
from model.simulate.state import Requests, Settings


class Fleet(NamedTuple):
    """n requests. `outputs`, `computed`: as of `entered` (the step count g when a request began to decode), n each.

    `before`, `after`: running requests in order of admission, a ring with n as its anchor. `bucket[g mod w]`: first of
    those done after g steps, chained by `later` and `sooner`. `classes[q]`: decoding requests that need a block in the
    steps with (q + g) mod block_size = 0. `waits`: chain of waiting requests. `number`: the scalars named below.
    """

    outputs: Ints
    computed: Ints
    entered: Ints
    before: Ints32
    after: Ints32
    bucket: Ints32
    later: Ints32
    sooner: Ints32
    classes: Ints
    waits: Ints32
    number: Ints


STEPS, FREE, DECODING, CACHED, PARTIAL, HEAD, TAIL, QUEUED, PREEMPTED, RUNS = range(10)
"""Places in `Fleet.number`: steps so far, free blocks, decoding requests, tokens in their caches, the request whose
prompt is computed in parts (or NONE), ends and length of the waiting chain, preemptions, running requests."""


def new_fleet(requests: Requests, num_blocks: int, block_size: int) -> Fleet:
    """All blocks free, nobody there."""
    n = len(requests.prompt)
    longest = int(requests.limit.max(initial=1))
    ring = np.full(n + 1, n, dtype=np.int32)

    def none(size: int) -> npt.NDArray[np.int32]:
        return np.full(size, NONE, dtype=np.int32)

    number = np.zeros(10, dtype=np.int64)
    number[FREE] = num_blocks
    number[[PARTIAL, HEAD, TAIL]] = NONE
    zeros = [np.zeros(n, dtype=np.int64) for _ in range(3)]
    return Fleet(
        zeros[0], zeros[1], zeros[2], ring, ring.copy(), none(1 << (longest + 1).bit_length()), none(n), none(n),
        np.zeros(block_size, dtype=np.int64), none(n), number,
    )  # fmt: skip


@inner_njit(inline="always")
def join_queue(fleet: Fleet, request: int) -> None:
    """A new request waits behind all others."""
    number = fleet.number
    fleet.waits[request] = NONE
    if number[HEAD] == NONE:
        number[HEAD] = request
    else:
        fleet.waits[number[TAIL]] = request
    number[TAIL] = request
    number[QUEUED] += 1


@inner_njit(inline="always")
def blocks_needed(fleet: Fleet, steps: int) -> int:
    """How many decoding requests need a block in the step after `steps` ones."""
    return int(fleet.classes[-steps % len(fleet.classes)])


@inner_njit(inline="always")
def enter(settings: Settings, fleet: Fleet, request: int, goal: int) -> None:
    """A running request has computed all it knew and got a token in the step just done: it decodes from here on."""
    number = fleet.number
    step = number[STEPS]
    fleet.entered[request] = step
    place = (step + goal - fleet.outputs[request]) & (len(fleet.bucket) - 1)
    first = fleet.bucket[place]
    fleet.later[request], fleet.sooner[request] = first, NONE
    if first != NONE:
        fleet.sooner[first] = request
    fleet.bucket[place] = request
    size = settings.block_size
    fleet.classes[(fleet.computed[request] - step) % size] += 1
    number[DECODING] += 1
    number[CACHED] += fleet.computed[request]


@inner_njit(inline="always")
def leave(settings: Settings, fleet: Fleet, request: int) -> None:
    """A decoding request runs no longer: its blocks are free; `outputs` and `computed` say where it stopped."""
    number = fleet.number
    size = settings.block_size
    fleet.classes[(fleet.computed[request] - fleet.entered[request]) % size] -= 1
    since = number[STEPS] - fleet.entered[request]
    fleet.computed[request] += since
    fleet.outputs[request] += since
    number[DECODING] -= 1
    number[CACHED] -= fleet.computed[request]
    stop_running(settings, fleet, request)


@inner_njit(inline="always")
def stop_running(settings: Settings, fleet: Fleet, request: int) -> None:
    """Give up all blocks, and the place among the running."""
    size = settings.block_size
    fleet.number[FREE] += (fleet.computed[request] + size - 1) // size
    fleet.number[RUNS] -= 1
    previous, following = fleet.before[request], fleet.after[request]
    fleet.after[previous], fleet.before[following] = following, previous


@inner_njit
def preempt_last(settings: Settings, fleet: Fleet, goal: int, request: int) -> None:
    """The last running request starts anew, before all who wait."""
    number = fleet.number
    if number[PARTIAL] == request:
        number[PARTIAL] = NONE
        stop_running(settings, fleet, request)
    else:
        place = (fleet.entered[request] + goal - fleet.outputs[request]) & (len(fleet.bucket) - 1)
        following, previous = fleet.later[request], fleet.sooner[request]
        if following != NONE:
            fleet.sooner[following] = previous
        if previous == NONE:
            fleet.bucket[place] = following
        else:
            fleet.later[previous] = following
        leave(settings, fleet, request)
    fleet.computed[request] = 0
    number[PREEMPTED] += 1
    fleet.waits[request] = number[HEAD]
    if number[HEAD] == NONE:
        number[TAIL] = request
    number[HEAD] = request
    number[QUEUED] += 1


@inner_njit(inline="always")
def run_next(fleet: Fleet) -> int:
    """Who waited longest runs, as the last of all."""
    number = fleet.number
    request = number[HEAD]
    number[HEAD] = fleet.waits[request]
    if number[HEAD] == NONE:
        number[TAIL] = NONE
    number[QUEUED] -= 1
    number[RUNS] += 1
    anchor = len(fleet.outputs)
    last = fleet.before[anchor]
    fleet.after[last], fleet.before[request] = request, last
    fleet.after[request], fleet.before[anchor] = anchor, request
    return int(request)
