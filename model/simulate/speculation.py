"""Speculative decoding as a scheduler sees it: tokens drafted for the next step, of which the first few turn out right.

A sequence that got a token has `tokens` more drafted for it. Its next step verifies them in one chain: of k drafts the
first i are right with probability acceptance^i, and i + 1 tokens come at once (arXiv 2211.17192, eq. 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from model.compiled import inner_njit


class Drafts(NamedTuple):
    """`tokens` drafted for the next step of a sequence, each right with probability `acceptance` where those before it
    are; slots of the cache kept `ahead` of them for the layers that draft; and the seconds of drafting over those of a
    step that only decodes (`share`)."""

    tokens: int
    acceptance: float
    ahead: int
    share: float


NO_DRAFTS = Drafts(0, 0.0, 0, 0.0)


@dataclass(frozen=True, slots=True)
class Speculation:
    """`tokens` are drafted a step, each accepted with probability `acceptance`, by layers that keep keys and values of
    their own (`has_layers`; n-grams do not), in `share` of the time of a step that only decodes."""

    tokens: int
    acceptance: float
    has_layers: bool
    share: float

    @property
    def drafts(self) -> Drafts:
        """As compiled code takes it."""
        return Drafts(self.tokens, self.acceptance, self.tokens if self.has_layers else 0, self.share)


def speculation_of(given: Mapping[str, Any], name: str) -> Speculation | None:
    """What a scheduler's scenario says of it, the number of drafted tokens by `name`; no times."""
    tokens = int(given.get(name, 0))
    if tokens == 0:
        return None
    return Speculation(tokens, float(given.get("acceptance_rate", 0.7)), given.get("draft_layers", 1) > 0, 0.0)


_OF_REQUEST = np.uint64(0x9E3779B97F4A7C15)
_OF_TOKEN = np.uint64(0xD1B54A32D192ED03)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@inner_njit
def accepted(drafts: Drafts, request: int, generated: int, drafted: int) -> int:
    """How many of `drafted` tokens are right: drawn anew for each request and number of tokens that it `generated`, and
    the same whenever it comes to that, so that two configs differ by nothing but themselves."""
    drawn, reached, right = _uniform(request, generated), drafts.acceptance, 0
    while right < drafted and drawn < reached:
        right += 1
        reached *= drafts.acceptance
    return right


@inner_njit
def _uniform(request: int, generated: int) -> float:
    """A number in [0, 1) that two whole numbers stand for (SplitMix64's mixing: Steele et al., OOPSLA 2014)."""
    bits = np.uint64(request) * _OF_REQUEST + np.uint64(generated) * _OF_TOKEN
    bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
    bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
    bits ^= bits >> np.uint64(31)
    return float(np.float64(bits >> np.uint64(11)) * 2.0**-53)
