"""Loops over many rows, compiled where that pays.

To load the compiler and what it compiled before takes a second, a few rows in plain Python take milliseconds: a new
process that answers one question never needs it. Rows give the same answer either way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import cached_property, update_wrapper
from types import FunctionType
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

_WORTH_S = 0.3
"""Seconds of plain Python, over all calls of a process, that are still less than what loading the compiler takes."""
_is_plain: ContextVar[bool] = ContextVar("_is_plain", default=False)


def is_loaded() -> bool:
    """Whether the compiler is there already."""
    return "numba" in sys.modules


class Loop(Generic[P, R]):
    """A function that is compiled when it is first called, with the options of `numba.njit`.

    Compiled functions may call it, and it other loops.
    """

    _spent_s: ClassVar[float] = 0.0

    def __init__(self, function: Callable[P, R], **options: Any) -> None:
        self._function, self._options = function, options
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The compiled answer; the plain one within a plain call."""
        return (self._function if _is_plain.get() else self._compiled)(*args, **kwargs)

    def taking(self, seconds: float) -> Callable[P, R]:
        """This loop for a call that takes so many seconds in plain Python: plain where that is less than to load the
        compiler, with all that was asked for before."""
        if is_loaded() or Loop._spent_s + seconds > _WORTH_S:
            return self
        Loop._spent_s += seconds
        return self._in_python

    def _in_python(self, *args: P.args, **kwargs: P.kwargs) -> R:
        before = _is_plain.set(True)
        try:
            with np.errstate(all="ignore"):  # as compiled code does
                return self._function(*args, **kwargs)
        finally:
            _is_plain.reset(before)

    @cached_property
    def _compiled(self) -> Callable[P, R]:
        from model.compiled import njit

        compiled: Callable[P, R] = njit(cache=True, **self._options)(self._function)
        return compiled

    @cached_property
    def _inner(self) -> Callable[P, R]:
        """For compiled functions, under a name of its own: without what it takes to call it from Python."""
        from model.compiled import inner_njit

        own = self._function
        function = FunctionType(own.__code__, own.__globals__, own.__name__, own.__defaults__, own.__closure__)
        function.__qualname__ = f"{own.__qualname__}.inner"
        inner: Callable[P, R] = inner_njit(function, **{"error_model": "python", **self._options})
        return inner

    @property
    def _numba_type_(self) -> object:
        """What the compiler takes this for where a compiled function calls it."""
        from numba import types

        return types.Dispatcher(self._inner)


def loop(**options: Any) -> Callable[[Callable[P, R]], Loop[P, R]]:
    """A decorator: `Loop` with these options."""

    def decorate(function: Callable[P, R]) -> Loop[P, R]:
        return Loop(function, **options)

    return decorate
