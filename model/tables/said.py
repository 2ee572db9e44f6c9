"""What stood in for operations that were not measured, told to whoever asked the question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[set[str] | None] = ContextVar("_listener", default=None)


@contextmanager
def listening() -> Iterator[set[str]]:
    """The sentences that tables say within the block, each once; a block around this one does not hear them."""
    heard: set[str] = set()
    before = _listener.set(heard)
    try:
        yield heard
    finally:
        _listener.reset(before)


def say(sentences: Iterable[str]) -> None:
    """Tell the innermost listener, if there is one."""
    heard = _listener.get()
    if heard is not None:
        heard.update(sentences)
