"""How much of what prompts share a prefix cache still holds that has no room for all of it.

A cache throws out what was used longest ago: of W requests that came last it holds all that is their own, and prefix i
if one of them began with it. With its chance pᵢ that is 1 − exp(−pᵢ·W), and W follows from the room: W·own + Σ tᵢ·(1 −
exp(−pᵢ·W)) tokens fill it (Che, Tung, Wang, IEEE JSAC 20(7), 2002).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from model.memory import memory
from model.points import Points
from model.prediction import Floats

_HALVINGS = 50


@dataclass(frozen=True)
class SharedPrefixes:
    """A request begins with prefix i with probability `chances[i]`; a prefix has `tokens` on average."""

    chances: tuple[float, ...]
    tokens: float

    def bounded(self, points: Points) -> Points:
        """The same with what is left of the tokens reused where a cache has not room for all, and with what of these
        prefixes the requests hold that run."""
        load, room = points.load, memory(points).blocks * points.block_size
        own = np.maximum(load.isl - sum(self.chances) * self.tokens, 1.0) + load.osl
        reused = points.reused * self._held(room, own, np.full(len(points), np.inf)) / sum(self.chances)
        running = load.isl - reused + load.osl / 2.0
        most = np.where(load.is_open, np.inf, load.amount / points.dp)
        held = np.where(points.reused > 0, self._held(room, running, most, evenly=True) * self.tokens, 0.0)
        return replace(points, reused=reused, shared=held)

    def _held(self, room: Floats, own: Floats, most: Floats, evenly: bool = False) -> Floats:
        """Prefixes that are held, each counted by its chance or `evenly`, `n`, of so many requests with `own` tokens as
        find room, but for `most`."""
        rows, which = np.unique(np.column_stack([room, own, most]), axis=0, return_inverse=True)
        chances = np.array(self.chances)
        found = [-np.expm1(-chances * min(self._window(*row[:2]), row[2])) for row in rows.tolist()]
        return np.array([(held if evenly else chances * held).sum() for held in found])[which]

    def _window(self, room: float, own: float) -> float:
        chances, low, high = np.array(self.chances), 0.0, room / own
        for _ in range(_HALVINGS):
            requests = (low + high) / 2.0
            takes = requests * own - self.tokens * np.expm1(-chances * requests).sum()
            low, high = (requests, high) if takes < room else (low, requests)
        return low
