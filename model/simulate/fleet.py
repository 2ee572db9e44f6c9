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

from model.compiled import inner_njit
from model.simulate.blocks import NONE, Ints
from model.simulate.records import Records, of_ints
from model.simulate.state import Requests, Settings

_SEAT = of_ints("outputs", "computed", "entered", "before", "after", "later", "sooner", "waits")
_PART = of_ints("request", "tokens")
_STATUS = of_ints(
    "steps", "free", "decoding", "cached", "partial", "head", "tail", "queued", "preempted", "running", "parts",
    "finished",
)  # fmt: skip


class Fleet(NamedTuple):
    """n requests. `seats`, n + 1: tokens that are `outputs` and `computed` as of `entered` (the step count g when a
    request began to decode); `before` and `after` are links of a ring of the running ones in order of admission, with
    seat n as its anchor, `later` and `sooner` of the chain of one bucket, `waits` of the chain of waiting requests.

    `bucket[g mod w]`: first of those done after g steps. `classes[q]`: decoding requests that need a block in the steps
    with (q + g) mod block_size = 0. `parts`: the prompts of one step, so many tokens of each; `finished`: who is done
    after it. `status[0]`: `steps` so far; `free` blocks; how many are `decoding`, with so many tokens `cached`; the
    request whose prompt is computed in parts, `partial` (or NONE); ends and length of the chain of waiting requests,
    `head`, `tail` and `queued`; how many were `preempted`, and are `running`; lengths of `parts` and `finished`.
    """

    seats: Records
    bucket: Ints
    classes: Ints
    parts: Records
    finished: Ints
    status: Records


def new_fleet(requests: Requests, seqs: int, num_blocks: int, block_size: int) -> Fleet:
    """All blocks free, nobody there."""
    n = len(requests.asked)
    longest = int(requests.asked["limit"].max(initial=1))
    seats, status = np.zeros(n + 1, dtype=_SEAT), np.zeros(1, dtype=_STATUS)
    for name in ("later", "sooner", "waits"):
        seats[name] = NONE
    seats["before"] = seats["after"] = n
    status["free"] = num_blocks
    for name in ("partial", "head", "tail"):
        status[name] = NONE
    bucket = np.full(1 << (longest + 1).bit_length(), NONE, dtype=np.int64)
    classes, finished = np.zeros(block_size, dtype=np.int64), np.zeros(seqs + 1, dtype=np.int64)
    return Fleet(seats, bucket, classes, np.zeros(seqs + 1, dtype=_PART), finished, status)


@inner_njit
def join_queue(fleet: Fleet, request: int) -> None:
    """A new request waits behind all others."""
    now, seats = fleet.status[0], fleet.seats
    seats[request].waits = NONE
    if now.head == NONE:
        now.head = request
    else:
        seats[now.tail].waits = request
    now.tail = request
    now.queued += 1


@inner_njit
def blocks_needed(classes: Ints, steps: int) -> int:
    """How many decoding requests need a block in the step after `steps` ones."""
    return int(classes[-steps % len(classes)])


@inner_njit
def enter(settings: Settings, fleet: Fleet, request: int, goal: int) -> None:
    """A running request has computed all it knew and got a token in the step just done: it decodes from here on."""
    now, seats, seat = fleet.status[0], fleet.seats, fleet.seats[request]
    seat.entered = now.steps
    place = (now.steps + goal - seat.outputs) & (len(fleet.bucket) - 1)
    first = fleet.bucket[place]
    seat.later, seat.sooner = first, NONE
    if first != NONE:
        seats[first].sooner = request
    fleet.bucket[place] = request
    fleet.classes[(seat.computed - now.steps) % settings.block_size] += 1
    now.decoding += 1
    now.cached += seat.computed


@inner_njit
def leave(settings: Settings, fleet: Fleet, request: int) -> None:
    """A decoding request runs no longer: its blocks are free; its seat says where it stopped."""
    now, seat = fleet.status[0], fleet.seats[request]
    fleet.classes[(seat.computed - seat.entered) % settings.block_size] -= 1
    since = now.steps - seat.entered
    seat.computed += since
    seat.outputs += since
    now.decoding -= 1
    now.cached -= seat.computed
    stop_running(settings, fleet, request)


@inner_njit
def stop_running(settings: Settings, fleet: Fleet, request: int) -> None:
    """Give up all blocks, and the place among the running."""
    now, seats, seat = fleet.status[0], fleet.seats, fleet.seats[request]
    now.free += (seat.computed + settings.block_size - 1) // settings.block_size
    now.running -= 1
    seats[seat.before].after, seats[seat.after].before = seat.after, seat.before


@inner_njit
def preempt_last(settings: Settings, fleet: Fleet, goal: int, request: int) -> None:
    """The last running request starts anew, before all who wait."""
    now, seats, seat = fleet.status[0], fleet.seats, fleet.seats[request]
    if now.partial == request:
        now.partial = NONE
        stop_running(settings, fleet, request)
    else:
        place = (seat.entered + goal - seat.outputs) & (len(fleet.bucket) - 1)
        if seat.later != NONE:
            seats[seat.later].sooner = seat.sooner
        if seat.sooner == NONE:
            fleet.bucket[place] = seat.later
        else:
            seats[seat.sooner].later = seat.later
        leave(settings, fleet, request)
    seat.computed = 0
    now.preempted += 1
    seat.waits = now.head
    if now.head == NONE:
        now.tail = request
    now.head = request
    now.queued += 1


@inner_njit
def run_next(fleet: Fleet) -> int:
    """Who waited longest runs, as the last of all."""
    now, seats = fleet.status[0], fleet.seats
    request, anchor = now.head, len(seats) - 1
    seat = seats[request]
    now.head = seat.waits
    if now.head == NONE:
        now.tail = NONE
    now.queued -= 1
    now.running += 1
    last = seats[anchor].before
    seats[last].after, seat.before = request, last
    seat.after, seats[anchor].before = anchor, request
    return int(request)
