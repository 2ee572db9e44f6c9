"""Who computes prompts in the next step of an SGLang server: its prefill batch, compiled.

A batch has room for so many tokens of prompts, and the cache for what they and everyone who runs may come to: of the
tokens that the running can still generate, only the share `ratio` is counted, which falls while all goes well.
"""

from __future__ import annotations

import numpy as np

from model.compiled import inner_njit
from model.simulate.blocks import NONE
from model.simulate.records import Record, Records
from model.simulate.sglang.radix import ROOT, evict, hold, match, pages_held_by_none
from model.simulate.sglang.server import Engine, Flags, Server
from model.simulate.sglang.waiting import drop_first, order
from model.simulate.state import Requests

GOES_ON, NO_ROOM, ENDS = range(3)
_MOST_PROMISED = 4096
"""Tokens to come beyond so many are not counted."""


@inner_njit
def gather(flags: Flags, requests: Requests, engine: Engine) -> bool:
    """Make a prefill batch of the prompt under way and of who waits; answers whether there is one."""
    server, tree = engine
    now = server.status[0]
    now.prefills = 0
    if (now.is_full or now.head == now.tail) and now.partial == NONE:
        return False
    seats_left = flags.seqs - now.running - now.gone
    if now.partial != NONE and seats_left <= 0:  # another micro-batch began it
        now.is_full = 1
        return False
    order(flags, requests, server, tree)
    _open(flags, server.seats, now)
    if now.partial != NONE:
        prompt = requests.asked[now.partial].prompt
        _go_on(flags.size, prompt, server, _room(flags.size, now, tree.status[0]))
    _let_in(flags, requests, engine, seats_left)
    return bool(now.prefills > 0)


@inner_njit
def _let_in(flags: Flags, requests: Requests, engine: Engine, seats_left: int) -> None:
    """Those who wait, in order, up to the first that does not fit."""
    server, _ = engine
    now = server.status[0]
    begun, place = now.prefills, now.head
    while place < now.tail:
        if now.prefills >= seats_left:
            now.is_full = 1
        if now.is_full:
            break
        answer = _add(flags, requests, engine, server.waiting[place])
        place += 1
        if answer == NO_ROOM:
            now.is_full = 1
        if answer != GOES_ON:
            break
    drop_first(server, now.prefills - begun)


@inner_njit
def allot(flags: Flags, requests: Requests, engine: Engine) -> bool:
    """Pages for the prefill batch; answers False where the cache has not as many."""
    server, tree = engine
    now, seats, size = server.status[0], server.seats, flags.size
    wanted, pages = now.prefills * size if size > 1 else 0, 0
    for place in range(now.prefills):
        request, tokens = server.lists[place].prefill, server.lists[place].tokens
        past = seats[request].computed
        wanted += tokens
        pages += _pages(size, past + tokens) - _pages(size, past)
    if now.free * size < wanted:
        now.free += evict(tree, requests, size, wanted)
    if pages > now.free:
        return False
    now.free -= pages
    for place in range(now.prefills):
        seats[server.lists[place].prefill].computed += server.lists[place].tokens
    return True


@inner_njit
def _open(flags: Flags, seats: Records, now: Record) -> None:
    """What a batch may take at most; those who decode along with it count from the start."""
    mixed = now.running + now.gone if flags.mixes else 0
    now.rem_input, now.rem_chunk, now.taken, now.planned = flags.prefill - mixed, flags.chunk - mixed, mixed, NONE
    anchor, promised = len(seats) - 1, 0.0
    request = seats[anchor].after
    while request != anchor:
        promised += min(seats[request].goal - _outputs(seats[request], now.steps), _MOST_PROMISED) * now.ratio
        request = seats[request].after
    now.promised = mixed + promised


@inner_njit
def _outputs(seat: Record, steps: int) -> int:
    """Tokens that one who decodes has generated after so many decode steps."""
    return int(seat.outputs + steps - seat.entered)


@inner_njit
def _room(size: int, now: Record, tree: Record) -> int:
    """Tokens that the cache can hold beside what is in use, by the status of the server and of its tree."""
    return int((now.free + tree.idle) * size)


@inner_njit
def _go_on(size: int, prompt: int, server: Server, room: int) -> None:
    """The next part of the prompt that was begun, which has a place whatever is left; `room` is in the cache."""
    now = server.status[0]
    request = now.partial
    seat = server.seats[request]
    left = prompt + seat.outputs - seat.computed
    most = min(now.rem_chunk, np.int64(room - now.promised))
    most = most if most > 0 else now.rem_chunk
    promised = min(seat.goal, _MOST_PROMISED) if left <= most else 0
    if left <= most:
        now.partial = NONE
    _take(size, server.lists, now, request, min(left, most), promised)


@inner_njit
def _add(flags: Flags, requests: Requests, engine: Engine, request: int) -> int:
    """Let a waiting request in if it fits, in part where the chunk is too small; answers how the batch goes on."""
    server, tree = engine
    now, seat, size = server.status[0], server.seats[request], flags.size
    known = requests.asked[request].prompt + seat.outputs
    if not flags.caches:
        return int(_add_uncached(flags, requests.asked, server, request, _room(size, now, tree.status[0])))
    node, found = match(tree, requests, size, request, (known - 1) // size)
    tokens = known - found * size
    pages = _pages(size, tokens) * size
    total = tokens + min(seat.goal - seat.outputs, _MOST_PROMISED)
    room = _room(size, now, tree.status[0])
    if total >= room - now.promised:
        return NO_ROOM
    if pages >= now.rem_input and now.prefills > 0:
        return ENDS
    if total >= room - pages_held_by_none(tree, node) * size - now.promised:
        return NO_ROOM
    part = now.rem_chunk // size * size
    is_whole = flags.chunk == 0 or pages <= now.rem_chunk
    if not is_whole and part <= 0:
        return ENDS
    hold(tree, node)
    seat.node, seat.kept, seat.computed = node, found, found * size
    _admit(size, server, request, tokens if is_whole else part, is_whole)
    return int(_state(flags.chunk, _room(size, now, tree.status[0]), now))


@inner_njit
def _add_uncached(flags: Flags, asked: Records, server: Server, request: int, room: int) -> int:
    """As `_add`, where all tokens to come are known and nothing can be evicted: let it in if all will fit to their
    end, each one's tokens being free once it is done."""
    now, seat = server.status[0], server.seats[request]
    known = asked[request].prompt + seat.outputs
    seat.node, seat.kept, seat.computed = ROOT, 0, 0
    pages = _pages(flags.size, known) * flags.size
    if pages > min(float(room - now.taken), room - now.promised):
        return NO_ROOM
    _plan(asked, server, request)
    left = room - now.taken - pages
    for place in range(now.planned):
        others = now.planned - place
        if left - server.plan[place].left * others <= others:
            return NO_ROOM
        left += server.plan[place].held
    is_whole = flags.chunk == 0 or known <= now.rem_chunk
    if not is_whole and now.rem_chunk <= 0:
        return ENDS
    _admit(flags.size, server, request, known if is_whole else now.rem_chunk, is_whole)
    return int(_state(flags.chunk, room, now))


@inner_njit
def _plan(asked: Records, server: Server, request: int) -> None:
    """Note when a request will be done, among all who run and those let in before it."""
    now, seats, plan = server.status[0], server.seats, server.plan
    if now.planned != NONE:
        at = 0
        while at < now.planned - 1 and seats[request].goal - seats[request].outputs > plan[at].left:
            at += 1
        _insert_plan(asked, server, request, at, seats[request].outputs)
        return
    now.planned = 0
    _sort_in(asked, server, request, seats[request].outputs)
    anchor = len(seats) - 1
    other = np.int64(seats[anchor].after)
    while other != anchor:
        _sort_in(asked, server, other, _outputs(seats[other], now.steps))
        other = seats[other].after
    for place in range(now.prefills):
        _sort_in(asked, server, server.lists[place].prefill, seats[server.lists[place].prefill].outputs)


@inner_njit
def _sort_in(asked: Records, server: Server, request: int, outputs: int) -> None:
    at, left = server.status[0].planned, server.seats[request].goal - outputs
    while at > 0 and server.plan[at - 1].left > left:
        at -= 1
    _insert_plan(asked, server, request, at, outputs)


@inner_njit
def _insert_plan(asked: Records, server: Server, request: int, at: int, outputs: int) -> None:
    now, plan = server.status[0], server.plan
    for other in range(now.planned, at, -1):
        plan[other].left, plan[other].held = plan[other - 1].left, plan[other - 1].held
    plan[at].left, plan[at].held = server.seats[request].goal - outputs, asked[request].prompt + outputs
    now.planned += 1


@inner_njit
def _admit(size: int, server: Server, request: int, tokens: int, is_whole: bool) -> None:
    """A request starts with so many tokens; where these are not all, it is the one under way."""
    now, seat = server.status[0], server.seats[request]
    server.lists[now.prefills].hit = seat.computed
    if not is_whole:
        now.partial = request
    _take(size, server.lists, now, request, tokens, min(seat.goal, _MOST_PROMISED) if is_whole else 0)


@inner_njit
def _take(size: int, lists: Records, now: Record, request: int, tokens: int, promised: int) -> None:
    """Tokens of a request for the batch, and tokens that it may generate."""
    lists[now.prefills].prefill, lists[now.prefills].tokens = request, tokens
    now.prefills += 1
    pages = _pages(size, tokens) * size
    now.promised += pages + promised
    now.taken += pages
    now.rem_input -= pages
    now.rem_chunk -= pages


@inner_njit
def _state(chunk: int, room: int, now: Record) -> int:
    """Whether there is room for more; so much is in the cache."""
    if room - now.promised <= 0 or room - now.taken <= 0:
        return NO_ROOM
    if now.rem_input <= 0 or (chunk > 0 and now.rem_chunk <= 0):
        return ENDS
    return GOES_ON


@inner_njit
def _pages(size: int, tokens: int) -> int:
    return (tokens + size - 1) // size
