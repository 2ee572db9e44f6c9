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

_ALONE = 16
_GROUP = 1.2
"""Prefixes that stand for themselves; of further ones as many together as make their places so many times larger."""
_MOST_STEPS = 100
_AT_ONCE = 1 << 20
"""Rows times groups of prefixes that are looked at together."""


@dataclass(frozen=True)
class SharedPrefixes:
    """A request begins with any of the `counts[i]` prefixes of group i with probability `chances[i]`; a prefix has
    `tokens` on average."""

    chances: tuple[float, ...]
    tokens: float
    counts: tuple[float, ...]

    @classmethod
    def by_rank(cls, share: float, count: int, tokens: float, skew: float = 0.0) -> SharedPrefixes:
        """The `share` of all requests begin with one of `count` prefixes, the i-th chosen in proportion to i^-skew."""
        ends = _ends(count) if skew else np.array([count], np.float64)
        begins = np.concatenate([[0.0], ends[:-1]])
        counts = ends - begins
        weights = np.where(counts > 1.0, _sum_of_powers(begins, ends, skew) / counts, ends**-skew)
        chances = share * weights / (weights * counts).sum()
        return cls(tuple(chances.tolist()), tokens, tuple(counts.tolist()))

    def bounded(self, points: Points) -> Points:
        """The same with what is left of the tokens reused where a cache has not room for all, and with what of these
        prefixes the requests hold that run."""
        load, room = points.load, memory(points).blocks * points.block_size
        share = float(np.dot(self.chances, self.counts))
        own = np.maximum(load.isl - share * self.tokens, 1.0) + load.osl
        reused = points.reused * self.held(room, own, np.full(len(points), np.inf)) / share
        running = load.isl - reused + load.osl / 2.0
        most = np.where(load.is_open, np.inf, load.amount / points.dp)
        held = np.where(points.reused > 0, self.held(room, running, most, evenly=True) * self.tokens, 0.0)
        return replace(points, reused=reused, shared=held)

    def held(self, room: Floats, own: Floats, most: Floats, evenly: bool = False) -> Floats:
        """Prefixes that are held, each counted by its chance or `evenly`, `n`, of so many requests with `own` tokens as
        find room, but for `most`."""
        rows, which = np.unique(np.column_stack([room, own, most]), axis=0, return_inverse=True)
        chances, counts = np.array(self.chances), np.array(self.counts)
        each, found = counts if evenly else counts * chances, np.empty(len(rows))
        some = max(_AT_ONCE // len(chances), 1)
        for first in range(0, len(rows), some):
            part = rows[first : first + some]
            requests = np.minimum(self._window(part[:, 0], part[:, 1]), part[:, 2])
            found[first : first + some] = -np.expm1(-requests[:, None] * chances) @ each
        return found[which.ravel()]

    def _window(self, room: Floats, own: Floats) -> Floats:
        """Requests that fill so much `room`, `m`: by Newton's steps, which never go too far, for what they fill grows
        ever more slowly."""
        chances, counts, requests = np.array(self.chances), np.array(self.counts), np.zeros_like(room)
        for _ in range(_MOST_STEPS):
            missing = np.exp(-requests[:, None] * chances)
            fills = requests * own + self.tokens * ((1.0 - missing) @ counts)
            step = (room - fills) / (own + self.tokens * (missing @ (chances * counts)))
            requests = requests + np.maximum(step, 0.0)
            if (step <= 1e-9 * requests).all():
                break
        return requests


def _ends(count: int) -> Floats:
    """Places at which groups of `count` prefixes end: one each first, then ever larger ones."""
    ends = list(range(1, min(count, _ALONE) + 1))
    while ends[-1] < count:
        ends.append(min(int(ends[-1] * _GROUP), count))
    return np.array(ends, np.float64)


def _sum_of_powers(begins: Floats, ends: Floats, skew: float) -> Floats:
    """The sum of i^-skew over begin < i ≤ end: the integral between the middles, within 0.1 % beyond `_ALONE`."""
    first, wide = begins + 0.5, np.log((ends + 0.5) / (begins + 0.5))
    growth = 1.0 - skew
    return np.asarray(first**growth * (np.expm1(growth * wide) / growth if growth else wide))
