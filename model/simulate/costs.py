"""Seconds of one step for the simulator: tables made once per config, looked up in a few nanoseconds.

Notation: a step computes T tokens of S sequences. Of them pc are of prompts (√Σ chunk² where several prompts share the
step: attention is quadratic in a chunk), kp the tokens before these chunks; nd sequences decode, their caches hold kd
tokens on average (n · mean is what is read).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.loops import loop

Floats = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float64]
Cube = npt.NDArray[np.float64]


class Apart(NamedTuple):
    """Attention measured apart: prompts in `context`, `batch x chunk x past`, and `generation`, `decodes x cached`.

    Prompts of different chunks count as C²/Σ chunk² alike ones of Σ chunk²/C tokens (C = Σ chunk): that keeps what
    grows with C and what grows with the squares. Knots of `chunk` are in `chunk_coordinate`.
    """

    batch: Floats
    chunk: Floats
    past: Floats
    context: Cube
    decodes: Floats
    cached: Floats
    generation: Plane


_TURN = 1024.0
TOGETHER = Apart(
    np.zeros(2), np.zeros(2), np.zeros(2), np.zeros((0, 0, 0)), np.zeros(2), np.array([0.0, 1.0]), np.zeros((0, 0))
)
"""Nothing measured apart: all of attention stands in the joint table."""
APART = np.zeros((0, 0, 0, 0))
"""No joint table: all of attention was measured apart."""


class StepCosts(NamedTuple):
    """`tokens[T]` (all that grows with tokens), `sequences[S]` (head, sampler, per-sequence overhead), in seconds.

    `attention` is `pc x kp x nd x kd` over ascending knots, linear between them; beyond the last knot it grows as
    between the last two. `step` is added to every step. What was measured `apart` is added to the joint attention.
    """

    tokens: Floats
    sequences: Floats
    pc: Floats
    kp: Floats
    nd: Floats
    kd: Floats
    attention: npt.NDArray[np.float64]
    step: float
    apart: Apart = TOGETHER


@loop()
def step_s(costs: StepCosts, tokens: int, sequences: int, pc: float, kp: float, nd: float, kd: float) -> float:
    """Seconds of one step."""
    fixed = costs.step + costs.tokens[tokens] + costs.sequences[sequences]
    return float(fixed + attention_s(costs, float(tokens) - nd, pc, kp, nd, kd))


@loop()
def attention_s(costs: StepCosts, chunks: float, pc: float, kp: float, nd: float, kd: float) -> float:
    """Seconds of the attention of one step whose prompts compute `chunks` tokens in all."""
    seconds = 0.0
    if costs.apart.generation.shape[0] > 0:
        if nd > 0.0:
            seconds += generation_s(costs.apart, nd, kd)
        if pc > 0.0:
            batch = max(chunks * chunks / (pc * pc), 1.0)
            seconds += context_s(costs.apart, batch, chunks / batch, kp / batch)
    if costs.attention.shape[0] > 0:
        seconds += _together(costs, pc, kp, nd, kd)
    return float(seconds)


@loop()
def generation_s(apart: Apart, nd: float, kd: float) -> float:
    """Seconds of `nd` sequences that decode with `kd` tokens each in the cache."""
    c, w = _place(apart.decodes, nd)
    d, x = _place(apart.cached, kd)
    return float(_plane(apart.generation, c, w, d, x))


@loop()
def context_s(apart: Apart, batch: float, chunk: float, past: float) -> float:
    """Seconds of `batch` prompts of `chunk` new tokens after `past` others each."""
    a, u = _place(apart.batch, batch)
    b, v = _place(apart.chunk, chunk_coordinate(chunk))
    c, w = _place(apart.past, past)
    near = _plane(apart.context[a], b, v, c, w)
    if u == 0.0:
        return float(near)
    return float((1.0 - u) * near + u * _plane(apart.context[a + 1], b, v, c, w))


@loop()
def chunk_coordinate(chunk: float) -> float:
    """What the time of a prompt is nearly linear in."""
    return chunk + chunk * chunk / _TURN


@loop()
def _together(costs: StepCosts, pc: float, kp: float, nd: float, kd: float) -> float:
    a, u = _place(costs.pc, pc)
    b, v = _place(costs.kp, kp)
    c, w = _place(costs.nd, nd)
    d, x = _place(costs.kd, kd)
    if a == 0 and u == 0.0:
        return float(_plane(costs.attention[0, 0], c, w, d, x))
    low = (1.0 - v) * _plane(costs.attention[a, b], c, w, d, x) + v * _plane(costs.attention[a, b + 1], c, w, d, x)
    high = (1.0 - v) * _plane(costs.attention[a + 1, b], c, w, d, x)
    high += v * _plane(costs.attention[a + 1, b + 1], c, w, d, x)
    return float((1.0 - u) * low + u * high)


@loop()
def decode_segment(costs: StepCosts, kd: float) -> float:
    """Up to which mean cache length the time of decoding stays linear."""
    end = np.inf
    if costs.attention.shape[0] > 0:
        d, _ = _place(costs.kd, kd)
        end = costs.kd[d + 1] if d + 2 < len(costs.kd) else np.inf
    if costs.apart.generation.shape[0] > 0:
        d, _ = _place(costs.apart.cached, kd)
        end = min(end, costs.apart.cached[d + 1] if d + 2 < len(costs.apart.cached) else np.inf)
    return float(end)


@loop()
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


@loop()
def _plane(table: Floats, c: int, w: float, d: int, x: float) -> float:
    near = (1.0 - x) * table[c, d] + x * table[c, d + 1]
    far = (1.0 - x) * table[c + 1, d] + x * table[c + 1, d + 1]
    return float((1.0 - w) * near + w * far)
