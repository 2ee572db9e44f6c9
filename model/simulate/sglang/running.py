"""Who decodes at an SGLang server, at a cost per event and not per token: joining, leaving, retraction, compiled."""

from __future__ import annotations

import numpy as np

from model.compiled import inner_njit
from model.simulate.blocks import NONE, Ints
from model.simulate.sglang.radix import evict, hold, insert, let_go, touch
from model.simulate.sglang.server import Engine, Flags, Server
from model.simulate.sglang.waiting import wait
from model.simulate.speculation import accepted
from model.simulate.state import Requests

_RETRACT_STEPS = 20
"""Decode steps for which a retraction makes room."""


@inner_njit
def pages_needed(flags: Flags, server: Server) -> int:
    """Pages that the running need in the next decode step; where tokens are drafted, what they may need at most."""
    now = server.status[0]
    if flags.drafts.tokens > 0:
        return int(now.running * ((flags.drafts.tokens + flags.size) // flags.size))
    return int(server.classes[-now.steps % len(server.classes)])


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
    _chain(server, request)
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
    now, tokens = server.status[0], pages_needed(flags, server) * flags.size
    if now.free * flags.size < tokens:
        now.free += evict(tree, requests, flags.size, tokens)
    return bool(now.free * flags.size >= tokens)


@inner_njit
def take_pages(flags: Flags, requests: Requests, engine: Engine) -> bool:
    """The pages of one decode step, with room made as if each of the running needed one; False where some lack."""
    server, tree = engine
    now = server.status[0]
    wanted = now.running * flags.size
    if flags.drafts.tokens > 0:
        wanted = now.running * (1 + flags.drafts.tokens + (flags.size if flags.size > 1 else 0))
    if now.free * flags.size < wanted:
        now.free += evict(tree, requests, flags.size, wanted)
    pages = pages_needed(flags, server) if flags.drafts.tokens == 0 else _pages_drafted(flags, server)
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
def keep_drafts(flags: Flags, server: Server) -> None:
    """Of the tokens that were drafted for each of the running those that are right are its own; pages that the others
    took are free."""
    now, seats, anchor, size = server.status[0], server.seats, len(server.seats) - 1, flags.size
    request = np.int64(seats[anchor].after)
    while request != anchor:
        seat, since = seats[request], now.steps - seats[request].entered
        outputs, computed = seat.outputs + since, seat.computed + since
        right = min(accepted(flags.drafts, request, outputs, flags.drafts.tokens), seat.goal - outputs - 1)
        most = computed + 1 + flags.drafts.tokens
        now.free += (most + size - 1) // size - (computed + right + size) // size
        if right > 0:
            _unchain(server, request)
            server.classes[(seat.computed - seat.entered) % size] -= 1
            seat.outputs += right
            seat.computed += right
            server.classes[(seat.computed - seat.entered) % size] += 1
            now.cached += right
            _chain(server, request)
        request = np.int64(seats[request].after)


@inner_njit
def _pages_drafted(flags: Flags, server: Server) -> int:
    """Pages for a token of each of the running, and for those drafted after it."""
    now, seats, anchor, size, pages = server.status[0], server.seats, len(server.seats) - 1, flags.size, 0
    request = seats[anchor].after
    while request != anchor:
        computed = seats[request].computed + now.steps - seats[request].entered
        pages += (computed + flags.drafts.tokens + size) // size - (computed + size - 1) // size
        request = seats[request].after
    return pages


@inner_njit
def retract(flags: Flags, requests: Requests, engine: Engine) -> bool:
    """Send back those who generated least, of equals the longest prompts, until the rest can decode; at least one
    stays. The rest is in that order then. Where tokens are drafted the last ones go, whatever they generated. Answers
    False where even one lacks pages."""
    server, tree = engine
    now = server.status[0]
    order = _by_progress(flags, requests, server)
    left = len(order)
    while left > 1 and (left == len(order) or not has_pages(flags, requests, engine)):
        left -= 1
        request = order[left]
        _unchain(server, request)
        leave(flags, server, request)
        give_back(flags, requests, engine, request, False)
        wait(flags, requests, server, request)
        server.lists[now.retracted].retracted = request
        now.retracted += 1
        if now.free * flags.size < left * _RETRACT_STEPS:
            now.free += evict(tree, requests, flags.size, left * _RETRACT_STEPS)
    outputs, goals = _line_up(server, order[:left])
    now.ratio = min(1.0, (outputs + _RETRACT_STEPS * left) / (goals + 1))
    now.is_full = 0
    return left > 1 or has_pages(flags, requests, engine)


@inner_njit
def _by_progress(flags: Flags, requests: Requests, server: Server) -> Ints:
    """The running, most outputs first, of equals the shortest prompt, then as they stand; where tokens are drafted, as
    they stand."""
    now, seats, anchor = server.status[0], server.seats, len(server.seats) - 1
    order, keys = np.empty(now.running, dtype=np.int64), np.empty(now.running, dtype=np.int64)
    request = seats[anchor].after
    for place in range(now.running):
        outputs, at = seats[request].outputs + now.steps - seats[request].entered, place
        key = requests.asked[request].prompt - (outputs << 32) if flags.drafts.tokens == 0 else 0
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
def _chain(server: Server, request: int) -> None:
    """Put a request where those stand who are done after as many decode steps, a token each."""
    seats, seat = server.seats, server.seats[request]
    place = (seat.entered + seat.goal - seat.outputs) & (len(server.bucket) - 1)
    first = server.bucket[place]
    seat.later, seat.sooner = first, NONE
    if first != NONE:
        seats[first].sooner = request
    server.bucket[place] = request


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
