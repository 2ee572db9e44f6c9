"""Work whose kernels let others run, in several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import chain, islice
from typing import TypeVar

from perfdb.facts.local import usable_cores

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[R]:
    """The answers for all items, in order, each within the caller's context; `most` of them are worked on at once.

    Raises:
        What the function raises for the first item at which it does.
    """
    rest = iter(items)
    begun = list(islice(rest, 2))
    if len(begun) < 2:
        yield from map(function, begun)
        return
    with ThreadPoolExecutor(min(most, round(usable_cores()))) as threads:
        working = [threads.submit(copy_context().run, function, item) for item in chain(begun, rest)]
        yield from (future.result() for future in working)
