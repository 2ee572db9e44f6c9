"""One engine, one file. To add one: write it, add it to `_ADAPTERS`, and set `launches` in `perfdb.facts.engines`."""

from __future__ import annotations

from perfdb.errors import EngineError
from perfdb.facts.engines import engine
from runner.engines.base import Engine
from runner.engines.llamacpp import LlamaCpp

_ADAPTERS: dict[str, Engine] = {"llamacpp": LlamaCpp()}


def engine_adapter(name: str) -> Engine:
    """The adapter that launches this engine.

    Raises:
        UnknownNameError: no engine is called so.
        EngineError: the engine is known, but this product cannot launch it.
    """
    facts = engine(name)
    if facts.name not in _ADAPTERS:
        raise EngineError(
            f"engine {facts.name!r} cannot be launched by servecast, it launches {', '.join(sorted(_ADAPTERS))}; "
            "run it yourself and hand its results in with `servecast record` or `servecast import`"
        )
    return _ADAPTERS[facts.name]
