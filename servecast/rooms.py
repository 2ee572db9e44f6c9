"""Guard of the generic room names: `model`, `search` and `runner` of somebody else must not stand in for ours."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOMS = ("perfdb", "model", "search", "runner")
HOME = Path(__file__).resolve().parent.parent


def strangers() -> list[str]:
    """One sentence per room that Python would import from somewhere else than beside this package."""
    found = []
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        origin = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if origin != HOME / room / "__init__.py":
            where = origin or "nowhere"
            found.append(f"module {room!r} comes from {where}; expected {HOME / room} (is PYTHONPATH set?)")
    return found
