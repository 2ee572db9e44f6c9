"""A KV cache of SGLang that is full: how many requests run in it, and how many are sent back. In closed form.

A request is let in where the cache has room for its prompt and its whole answer, beside the tokens of those who run and
the share r of what they have yet to generate. At the end of one request the next comes, so that on average about a
half to the whole of a request is free: of n that run

    n·(isl + g + r·g) + a·isl + b·osl = tokens of the cache,    g = tokens that one has, and has yet to generate.

Where all tokens are taken those who generated least are sent back, to the end of the queue. What is free when somebody
was let in lies evenly between a least, f answers, and a whole request more; the tokens of n requests grow beyond it
with a logistic chance of σ answers, so that one is sent back about

    α·σ·[log(1 + exp(−f/σ)) − log(1 + exp(−(f + 1 + isl/osl)/σ))]/(1 + isl/osl)

times. σ goes with the root of n where requests come and go by chance, and with n where they do so in waves. r begins at
0.7, falls to 0.098 in 600 decode steps and rises anew with each retraction.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.points import Points
from model.prediction import Floats

_FREE_ISL, _FREE_OSL, _LEAST_OSL = 0.65, 1.08, 0.7
"""a and b, and of b what lies above f. With the constants below of 2,274 runs of the event simulator: osl/isl .01 to
40, 3 to 150 active, up to 50 times as many in flight."""
_FIRST, _LEAST, _DECAY_STEPS = 0.7, 0.098, 600.0
RANKS_CONSERVATIVE = 0.3
"""How many times as much SGLang reserves where ranks of attention share experts."""
_RISES, _MOST_RATIO = 55.0, 0.52
"""By how much r is more for each retraction in a decode step, and the most that it is on average."""
_RETRACTED = 0.78
_ONE, _CHANCE, _WAVES, _LONGER = 0.44, 0.107, 0.173, 0.44
"""σ of one request; what each adds to its square by chance; what each adds in waves; the exponent of 1 + osl/isl."""
_WIDTH = 0.145
"""Scale of the logistic distribution of how many find room, over the root of how many do."""
_ROUNDS = 8


class Reserved(NamedTuple):
    """Of n rows: requests that are `active`, and how often one is `retracted`."""

    active: Floats
    retracted: Floats


def reserved(points: Points, wanted: Floats, tokens: Floats, requests: Floats, waves: Floats) -> Reserved:
    """What becomes of the `wanted` requests in a cache of so many `tokens`, in a run of so many `requests` (inf: it
    never ends) that come in waves of this height (1: all as one); all `n`."""
    prompt, osl, grown = points.computed, points.load.osl, points.generated
    scale = points.conservativeness * np.where(points.attention_dp > 1.0, RANKS_CONSERVATIVE, 1.0)
    first = np.minimum(_FIRST * scale, 1.0)
    least, active = first * (_LEAST / _FIRST), wanted
    ratio, retracted = least, np.zeros(len(points))
    for _ in range(_ROUNDS):
        fitting = (tokens - _FREE_ISL * prompt - _FREE_OSL * osl) / (prompt + grown * (1.0 + ratio))
        fitting = np.maximum(fitting, 1.0)
        width = _WIDTH * np.sqrt(fitting)
        active = np.maximum(wanted - width * np.logaddexp(0.0, (wanted - fitting) / width), 1.0)
        free = (tokens - active * (prompt + grown) - _FREE_ISL * prompt) / osl - _LEAST_OSL
        varies = _ONE * np.sqrt(1.0 + _CHANCE * fitting + waves * (_WAVES * fitting) ** 2)
        retracted = _RETRACTED * _falls_short(free, varies * (1.0 + osl / prompt) ** _LONGER, 1.0 + prompt / osl)
        retracted = retracted * (1.0 - 1.0 / active)
        often = active / points.answer_steps
        risen = (first - least) * _at_start(requests / often) + _RISES * retracted * often
        # by halves, for more is let in where fewer were sent back
        ratio = (ratio + np.minimum(least + risen, _MOST_RATIO)) / 2.0
    return Reserved(active, retracted)


def _falls_short(least: Floats, varies: Floats, wide: Floats) -> Floats:
    """How likely less than nothing is left of what lies evenly between `least` and so much more, `n`, and varies."""
    ends = (np.logaddexp(0.0, -free / varies) for free in (least, least + wide))
    return np.asarray(varies / wide * (next(ends) - next(ends)))


def _at_start(steps: Floats) -> Floats:
    """How much is left, on average over so many decode steps, of what r falls by, `n`."""
    rounds = np.maximum(steps, 1.0) / _DECAY_STEPS
    return np.where(rounds > 1.0, 0.5 / rounds, 1.0 - rounds / 2.0)
