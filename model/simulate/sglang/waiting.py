"""Who waits at an SGLang server, and in which order they are looked at, compiled.

Requests come to the end, retracted ones too. The policies order what is there whenever a prefill batch is made, and
leave equals as they stood.
"""

from __future__ import annotations

import numpy as np

from model.compiled import inner_njit
from model.simulate.names import block_name
from model.simulate.sglang.radix import Tree, match
from model.simulate.sglang.server import LOF, LPM, Flags, Server
from model.simulate.state import Requests

_MOST_MATCHED = 128
"""With more waiting, none is looked up and lpm leaves the order alone."""
_SHORT = 32
"""Tokens: of the waiting that found no more than so many and begin with as many equal ones, only the first is due."""
_LAST = np.int64(1) << 60


@inner_njit
def wait(flags: Flags, requests: Requests, server: Server, request: int) -> None:
    """A request comes, or comes back."""
    now, waiting = server.status[0], server.waiting
    server.seats[request].goal = min(requests.asked[request].limit, flags.model_len - requests.asked[request].prompt)
    if now.tail == len(waiting):
        count = now.tail - now.head
        for place in range(count):
            waiting[place] = waiting[now.head + place]
        now.head, now.tail = 0, count
    waiting[now.tail] = request
    now.tail += 1


@inner_njit
def drop_first(server: Server, count: int) -> None:
    """So many wait no longer."""
    now = server.status[0]
    now.head += count
    now.sorted = max(now.sorted - count, 0)


@inner_njit
def order(flags: Flags, requests: Requests, server: Server, tree: Tree) -> None:
    """Order the waiting by the policy."""
    if flags.policy == LOF:
        _by_answer(server)
    elif flags.policy == LPM and server.status[0].tail - server.status[0].head <= _MOST_MATCHED:
        _by_prefix(flags, requests, server, tree)


@inner_njit
def _by_answer(server: Server) -> None:
    """Longest answer first: those that came since are put where they belong among those in order."""
    now, waiting, seats = server.status[0], server.waiting, server.seats
    for place in range(now.head + now.sorted, now.tail):
        request = waiting[place]
        low, high = now.head, place
        while low < high:
            middle = (low + high) >> 1
            if seats[waiting[middle]].goal >= seats[request].goal:
                low = middle + 1
            else:
                high = middle
        for other in range(place, low, -1):
            waiting[other] = waiting[other - 1]
        waiting[low] = request
    now.sorted = now.tail - now.head


@inner_njit
def _by_prefix(flags: Flags, requests: Requests, server: Server, tree: Tree) -> None:
    """Most tokens found in the cache first; last of all who will find more once one before it was computed."""
    now, waiting = server.status[0], server.waiting
    count = now.tail - now.head
    keys, names, named = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64), 0
    for place in range(count):
        request = waiting[now.head + place]
        known = requests.asked[request].prompt + server.seats[request].outputs
        found = match(tree, requests, flags.size, request, known // flags.size)[1] * flags.size
        keys[place] = -found
        if found <= _SHORT:
            name = block_name(requests, 1, request, _SHORT - 1) if known >= _SHORT else np.int64(-2 - place)
            first = 0
            while first < named and names[first] != name:
                first += 1
            if first < named:
                keys[place] = _LAST
            else:
                names[named] = name
                named += 1
    for place in range(1, count):
        key, request, at = keys[place], waiting[now.head + place], place
        while at > 0 and keys[at - 1] > key:
            keys[at], waiting[now.head + at] = keys[at - 1], waiting[now.head + at - 1]
            at -= 1
        keys[at], waiting[now.head + at] = key, request
