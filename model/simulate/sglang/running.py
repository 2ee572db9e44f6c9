"""Who decodes at an SGLang server, at a cost per event and not per token: joining, leaving, retraction, compiled."""

from __future__ import annotations

import numpy as np

from model.compiled import inner_njit
from model.simulate.blocks import NONE, Ints
from model.simulate.sglang.radix import evict, hold, insert, let_go, touch
from model.simulate.sglang.server import Engine, Flags, Server
from model.simulate.sglang.waiting import wait
from model.simulate.state import Requests

_RETRACT_STEPS = 20
"""Decode steps for which a retraction makes room."""


@inner_njit
def pages_needed(server: Server) -> int:
    """How many of the running need a page in the next decode step."""
    return int(server.classes[-server.status[0].steps % len(server.classes)])


@inner_njit
def join(flags: Flags, server: Server, request: int, is_first: bool) -> None:
    """A request whose tokens are all computed decodes from the next step on, as the last or the first of all."""
    now, seats, anchor = server.status[0], server.seats, len(server.seats) - 1
    seat = seats[request]
    seat.entered = now.steps
    if is_first:
        previous, following = anchor, seats[anchor].after
        now.low -= 1
        seat.rank = now.low
    else:
        previous, following = seats[anchor].before, anchor
        now.high += 1
        seat.rank = now.high
    seats[previous].after, seat.before = request, previous
    seat.after, seats[following].before = following, request
    place = (now.steps + seat.goal - seat.outputs) & (len(server.bucket) - 1)
    first = server.bucket[place]
    seat.later, seat.sooner = first, NONE
    if first != NONE:
        seats[first].sooner = request
    server.bucket[place] = request
    server.classes[(seat.computed - now.steps) % flags.size] += 1
    now.running += 1
    now.cached += seat.computed


@inner_njit
def leave(flags: Flags, server: Server, request: int) -> None:
    """A request decodes no longer; its seat says where it stopped."""
    now, seats = server.status[0], server.seats
    seat = seats[request]
    server.classes[(seat.computed - seat.entered) % flags.size] -= 1
    since = now.steps - seat.entered
    seat.computed += since
    seat.outputs += since
    seat.entered = NONE
    now.running -= 1
    now.cached -= seat.computed
    seats[seat.before].after, seats[seat.after].before = seat.after, seat.before


@inner_njit
def keep(flags: Flags, requests: Requests, engine: Engine, request: int) -> None:
    """Let the tree have the whole pages that a request has computed; those that it had already are free."""
    if not flags.caches:
        return
    server, tree = engine
    seat = server.seats[request]
    node, found = insert(tree, requests, flags.size, request, seat.computed // flags.size)
    touch(tree, node)
    server.status[0].free += found - seat.kept
    let_go(tree, seat.node)
    hold(tree, node)
    seat.node, seat.kept = node, seat.computed // flags.size


@inner_njit
def give_back(flags: Flags, requests: Requests, engine: Engine, request: int, is_done: bool) -> None:
    """A request gives up its pages: the tree gets the whole ones of one that is done, nothing of one retracted."""
    server, tree = engine
    seat, now = server.seats[request], server.status[0]
    pages = (seat.computed + flags.size - 1) // flags.size
    if not flags.caches:
        now.free += pages
        return
    now.free += pages - seat.kept
    if is_done:
        found = insert(tree, requests, flags.size, request, seat.computed // flags.size)[1]
        now.free -= seat.computed // flags.size - found
    let_go(tree, seat.node)
    seat.kept = 0


@inner_njit
def has_pages(flags: Flags, requests: Requests, engine: Engine) -> bool:
    """Whether all who run can decode once more; what the tree alone holds makes room for them."""
    server, tree = engine
    now, tokens = server.status[0], pages_needed(server) * flags.size
    if now.free * flags.size < tokens:
        now.free += evict(tree, requests, flags.size, tokens)
    return bool(now.free * flags.size >= tokens)


@inner_njit
def take_pages(flags: Flags, requests: Requests, engine: Engine) -> bool:
    """The pages of one decode step, with room made as if each of the running needed one; False where some lack."""
    server, tree = engine
    now = server.status[0]
    if now.free < now.running:
        now.free += evict(tree, requests, flags.size, now.running * flags.size)
    pages = pages_needed(server)
    if pages > now.free:
        return False
    now.free -= pages
    return True


@inner_njit
def decode(flags: Flags, requests: Requests, engine: Engine) -> None:
    """A token for all who run; who is done leaves, in the order of the running."""
    server, _ = engine
    now, seats = server.status[0], server.seats
    now.steps += 1
    now.cached += now.running
    place = now.steps & (len(server.bucket) - 1)
    request, count = server.bucket[place], now.finished
    while request != NONE:
        at = count
        while at > now.finished and seats[server.finished[at - 1]].rank > seats[request].rank:
            server.finished[at] = server.finished[at - 1]
            at -= 1
        server.finished[at] = request
        count += 1
        request = seats[request].later
    server.bucket[place] = NONE
    for at in range(now.finished, count):
        leave(flags, server, server.finished[at])
        give_back(flags, requests, engine, server.finished[at], True)
    now.finished = count


@inner_njit
def retract(flags: Flags, requests: Requests, engine: Engine) -> bool:
    """Send back those who generated least, of equals the longest prompts, until the rest can decode; at least one
    stays. The rest is in that order then. Answers False where even one lacks pages."""
    server, tree = engine
    now = server.status[0]
    order = _by_progress(requests, server)
    left = len(order)
    while left > 1 and (left == len(order) or not has_pages(flags, requests, engine)):
        left -= 1
        request = order[left]
        _unchain(server, request)
        leave(flags, server, request)
        give_back(flags, requests, engine, request, False)
        wait(flags, requests, server, request)
        server.retracted[now.retracted] = request
        now.retracted += 1
        if now.free * flags.size < left * _RETRACT_STEPS:
            now.free += evict(tree, requests, flags.size, left * _RETRACT_STEPS)
    outputs, goals = _line_up(server, order[:left])
    now.ratio = min(1.0, (outputs + _RETRACT_STEPS * left) / (goals + 1))
    now.is_full = 0
    return left > 1 or has_pages(flags, requests, engine)


@inner_njit
def _by_progress(requests: Requests, server: Server) -> Ints:
    """The running, most outputs first, of equals the shortest prompt, then as they stand."""
    now, seats, anchor = server.status[0], server.seats, len(server.seats) - 1
    order, keys = np.empty(now.running, dtype=np.int64), np.empty(now.running, dtype=np.int64)
    request = seats[anchor].after
    for place in range(now.running):
        outputs, at = seats[request].outputs + now.steps - seats[request].entered, place
        key = requests.prompt[request] - (outputs << 32)
        while at > 0 and keys[at - 1] > key:
            order[at], keys[at] = order[at - 1], keys[at - 1]
            at -= 1
        order[at], keys[at] = request, key
        request = seats[request].after
    return order


@inner_njit
def _line_up(server: Server, order: Ints) -> tuple[int, int]:
    """Put the running in this order; answers the tokens that they generated, and will have in the end."""
    now, seats, anchor = server.status[0], server.seats, len(server.seats) - 1
    previous, outputs, goals = anchor, 0, 0
    for request in order:
        seat = seats[request]
        now.high += 1
        seat.rank, seat.before, seats[previous].after = now.high, previous, request
        previous = request
        outputs += seat.outputs + now.steps - seat.entered
        goals += seat.goal
    seats[previous].after, seats[anchor].before = anchor, previous
    return outputs, goals


@inner_njit
def _unchain(server: Server, request: int) -> None:
    """Take a request that is not done from its bucket."""
    seats, seat = server.seats, server.seats[request]
    if seat.later != NONE:
        seats[seat.later].sooner = seat.sooner
    if seat.sooner != NONE:
        seats[seat.sooner].later = seat.later
    else:
        server.bucket[(seat.entered + seat.goal - seat.outputs) & (len(server.bucket) - 1)] = seat.later
