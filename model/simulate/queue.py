"""Who waits, in order: a chain under first come first served, a binary heap by (priority, arrival) under priorities."""

from __future__ import annotations

from model.compiled import inner_njit
from model.simulate.blocks import NONE, Ints
from model.simulate.records import Records
from model.simulate.state import Requests, Settings, State


@inner_njit
def chain_back(state: State, request: int) -> None:
    """Join the end of the chain."""
    seats, now = state.seats, state.status[0]
    seats[request].next = NONE
    if now.head == NONE:
        now.head = request
    else:
        seats[now.tail].next = request
    now.tail = request
    now.waiting += 1


@inner_njit
def chain_front(state: State, request: int) -> None:
    """Go before all others, as a preempted request does."""
    now = state.status[0]
    state.seats[request].next = now.head
    if now.head == NONE:
        now.tail = request
    now.head = request
    now.waiting += 1


@inner_njit
def push_heap(requests: Requests, state: State, request: int) -> None:
    """Join the heap."""
    heap, now = state.heap, state.status[0]
    place = now.waiting
    now.waiting += 1
    while place > 0:
        parent = (place - 1) >> 1
        if not _precedes(requests.asked, request, heap[parent]):
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = request


@inner_njit
def peek(settings: Settings, state: State) -> int:
    """Who is next."""
    return int(state.heap[0] if settings.is_priority else state.status[0].head)


@inner_njit
def pop(settings: Settings, requests: Requests, state: State) -> None:
    """Who was next waits no longer."""
    now = state.status[0]
    now.waiting -= 1
    if settings.is_priority:
        _sift_down(requests.asked, state.heap[: now.waiting + 1])
        return
    now.head = state.seats[now.head].next
    if now.head == NONE:
        now.tail = NONE


@inner_njit
def _sift_down(asked: Records, heap: Ints) -> None:
    """The first of a heap is gone: the last takes a place before it."""
    size = len(heap) - 1
    request, place = heap[size], 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and _precedes(asked, heap[child + 1], heap[child]):
            child += 1
        if not _precedes(asked, heap[child], request):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = request


@inner_njit
def _precedes(asked: Records, left: int, right: int) -> bool:
    return (asked[left].priority, left) < (asked[right].priority, right)
