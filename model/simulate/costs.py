"""Seconds of one step for the simulator: tables made once per config, looked up in a few nanoseconds.

Notation: a step computes T tokens of S sequences. Of them pc are of prompts (√Σ chunk² where several prompts share the
step: attention is quadratic in a chunk), kp the tokens before these chunks; nd sequences decode, their caches hold kd
tokens on average (n · mean is what is read).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]


class StepCosts(NamedTuple):
    """`tokens[T]` (all that grows with tokens), `sequences[S]` (head, sampler, per-sequence overhead), in seconds.

    `attention` is `pc x kp x nd x kd` over ascending knots, linear between them; beyond the last knot it grows as
    between the last two. `step` is added to every step.
    """

    tokens: Floats
    sequences: Floats
    pc: Floats
    kp: Floats
    nd: Floats
    kd: Floats
    attention: npt.NDArray[np.float64]
    step: float


@njit(cache=True)
def step_s(costs: StepCosts, tokens: int, sequences: int, pc: float, kp: float, nd: float, kd: float) -> float:
    """Seconds of one step."""
    fixed = costs.step + costs.tokens[tokens] + costs.sequences[sequences]
    a, u = _place(costs.pc, pc)
    b, v = _place(costs.kp, kp)
    c, w = _place(costs.nd, nd)
    d, x = _place(costs.kd, kd)
    if a == 0 and u == 0.0:
        return float(fixed + _plane(costs.attention[0, 0], c, w, d, x))
    low = (1.0 - v) * _plane(costs.attention[a, b], c, w, d, x) + v * _plane(costs.attention[a, b + 1], c, w, d, x)
    high = (1.0 - v) * _plane(costs.attention[a + 1, b], c, w, d, x)
    high += v * _plane(costs.attention[a + 1, b + 1], c, w, d, x)
    return float(fixed + (1.0 - u) * low + u * high)


@njit(cache=True)
def decode_segment(costs: StepCosts, kd: float) -> float:
    """Up to which mean cache length the time of decoding stays linear."""
    d, _ = _place(costs.kd, kd)
    return costs.kd[d + 1] if d + 2 < len(costs.kd) else np.inf


@njit(cache=True)
def _place(knots: Floats, at: float) -> tuple[int, float]:
    """(interval, how far in it) of `at`; the last interval goes on for ever."""
    low, high = 0, len(knots) - 2
    while low < high:
        middle = (low + high + 1) >> 1
        if knots[middle] <= at:
            low = middle
        else:
            high = middle - 1
    return low, (at - knots[low]) / (knots[low + 1] - knots[low])


@njit(cache=True)
def _plane(table: Floats, c: int, w: float, d: int, x: float) -> float:
    near = (1.0 - x) * table[c, d] + x * table[c, d + 1]
    far = (1.0 - x) * table[c + 1, d] + x * table[c + 1, d + 1]
    return float((1.0 - w) * near + w * far)
