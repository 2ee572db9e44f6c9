"""Who waits, in order: a chain under first come first served, a binary heap by (priority, arrival) under priorities."""

from __future__ import annotations

from model.compiled import inner_njit
from model.simulate.blocks import NONE
from model.simulate.state import HEAD, TAIL, WAITING, Requests, Settings, State


@inner_njit
def chain_back(state: State, request: int) -> None:
    """Join the end of the chain."""
    count = state.counts
    state.next_waiting[request] = NONE
    if count[HEAD] == NONE:
        count[HEAD] = request
    else:
        state.next_waiting[count[TAIL]] = request
    count[TAIL] = request
    count[WAITING] += 1


@inner_njit
def chain_front(state: State, request: int) -> None:
    """Go before all others, as a preempted request does."""
    count = state.counts
    state.next_waiting[request] = count[HEAD]
    if count[HEAD] == NONE:
        count[TAIL] = request
    count[HEAD] = request
    count[WAITING] += 1


@inner_njit
def push_heap(requests: Requests, state: State, request: int) -> None:
    """Join the heap."""
    place = state.counts[WAITING]
    state.counts[WAITING] += 1
    while place > 0:
        parent = (place - 1) >> 1
        if not _precedes(requests, request, state.heap[parent]):
            break
        state.heap[place] = state.heap[parent]
        place = parent
    state.heap[place] = request


@inner_njit
def peek(settings: Settings, state: State) -> int:
    """Who is next."""
    return int(state.heap[0] if settings.is_priority else state.counts[HEAD])


@inner_njit
def pop(settings: Settings, requests: Requests, state: State) -> None:
    """Who was next waits no longer."""
    count = state.counts
    count[WAITING] -= 1
    if settings.is_priority:
        _sift_down(requests, state, state.heap[count[WAITING]])
        return
    count[HEAD] = state.next_waiting[count[HEAD]]
    if count[HEAD] == NONE:
        count[TAIL] = NONE


@inner_njit
def _sift_down(requests: Requests, state: State, request: int) -> None:
    size = state.counts[WAITING]
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and _precedes(requests, state.heap[child + 1], state.heap[child]):
            child += 1
        if not _precedes(requests, state.heap[child], request):
            break
        state.heap[place] = state.heap[child]
        place = child
    state.heap[place] = request


@inner_njit
def _precedes(requests: Requests, left: int, right: int) -> bool:
    return (requests.priority[left], left) < (requests.priority[right], right)
