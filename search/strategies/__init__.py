"""Every strategy by name. One strategy is one file; adding one is that file and a line here."""

from __future__ import annotations

from collections.abc import Callable

from perfdb.errors import UnknownNameError
from search.plan import Strategy


def _grid() -> Strategy:
    from search.strategies.grid import GridSearch

    return GridSearch()


def _random() -> Strategy:
    from search.strategies.random_search import RandomSearch

    return RandomSearch()


def _active() -> Strategy:
    from search.strategies.active import Active

    return Active()


def _tpe() -> Strategy:
    from search.strategies.tpe import Tpe

    return Tpe()


STRATEGIES: dict[str, Callable[[], Strategy]] = {"active": _active, "grid": _grid, "random": _random, "tpe": _tpe}


def strategy(name: str) -> Strategy:
    """Look a strategy up by name; its libraries are imported only now.

    Raises:
        UnknownNameError: no strategy has that name.
    """
    try:
        return STRATEGIES[name]()
    except KeyError:
        raise UnknownNameError.of("strategy", name, STRATEGIES) from None
