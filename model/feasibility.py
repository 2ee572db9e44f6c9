"""Which configs cannot serve the load, and why: memory, a model that does not divide, requests that are too long."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from model.knobs import Points
from model.memory import GIB, RESERVES_SLOTS, Memory
from model.prediction import Bools, Floats


def feasibility(points: Points, found: Memory) -> tuple[Bools, Mapping[int, str]]:
    """Which of n configs can serve their load, `n`, and for each other row why not, in one sentence with the sizes."""
    checks = (
        (_undivided(points), _says_undivided),
        (_longest(points) < points.load.isl + points.load.osl, _says_too_long),
        (~found.feasible, _says_memory),
    )
    feasible = np.ones(len(points), bool)
    reasons: dict[int, str] = {}
    for wrong, says in checks:
        reasons |= {int(row): says(points, found, int(row)) for row in np.flatnonzero(wrong & feasible)}
        feasible &= ~wrong
    return feasible, reasons


def _undivided(points: Points) -> Bools:
    """Engines refuse to start where devices would get unequal numbers of attention heads."""
    return np.asarray(points.architecture.heads % points.tp != 0)


def _longest(points: Points) -> Floats:
    """Most tokens of one sequence, `n`; inf where the engine is not told. llama.cpp divides them among its slots."""
    share = points.max_num_seqs if points.engine.name == RESERVES_SLOTS else 1.0
    return np.where(points.max_model_len > 0, np.floor(points.max_model_len / share), np.inf)


def _says_undivided(points: Points, _found: Memory, row: int) -> str:
    return f"{points.architecture.heads} attention heads cannot be divided among tp {points.tp[row]:.0f}"


def _says_too_long(points: Points, _found: Memory, row: int) -> str:
    need = points.load.isl[row] + points.load.osl[row]
    return f"a request has {need:.0f} tokens, a sequence of this config holds at most {_longest(points)[row]:.0f}"


def _says_memory(points: Points, found: Memory, row: int) -> str:
    device = "host" if points.platform.kind == "cpu" else "device"
    parts = (found.weights[row], found.kv_needed[row], found.overhead[row])
    weights, kv, other = (part / GIB for part in parts)
    return (
        f"needs {sum(parts) / GIB:.1f} GiB per {device} (weights {weights:.1f}, KV cache {kv:.1f}, "
        f"other {other:.1f}), {found.available[row] / GIB:.1f} GiB are available"
    )
