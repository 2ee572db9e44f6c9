"""Requests of a closed loop that stay in step: all begin at once, and as many as end in a step begin together again.

Per replica, of A requests with prompts of `isl` tokens, a step of B tokens takes a convoy of M = A·isl/B steps to
prefill. Answers of equal lengths end as their prompts did, so the convoy comes round again and again. Where an answer
takes a number of steps with standard deviation σ, W rounds move its request by σ·√W steps to either side, and of the
convoy remains 1/(1 + σ·√W/M). Where prompts have steps of their own (SGLang) nobody decodes until the last of them is
computed, and all end in one step: M = 1. Against vLLM's rules in the event simulator, over lengths that vary by 0.2 to
50 %, that is within 0.12 (root mean square) of the share at which TTFT agrees, without a constant of its own.
"""

from __future__ import annotations

import numpy as np

from model.points import Points
from model.prediction import Floats

DEFAULT_WAVES = 10.0
"""Requests sent over requests in flight, where nobody says how many are sent."""
_UNKNOWN = 0.5
"""Share in step where nothing is known of the lengths but their means."""


def burst_share(points: Points, in_flight: Floats) -> Floats:
    """Share of requests that arrive in the burst at the start of a closed loop or batch, `n`; 0 where at a rate."""
    load = points.load
    sent = np.where(load.is_open, 1.0, in_flight)
    requests = np.where(np.isfinite(load.requests), load.requests / points.dp, DEFAULT_WAVES * sent)
    share = np.minimum(sent / np.maximum(requests, 1.0), 1.0)
    return np.where(load.is_batch, 1.0, np.where(load.is_open, 0.0, share))


def in_step(points: Points, group: Floats, burst: Floats) -> Floats:
    """Share of `group` requests that stay in step, `n`: 1 in a batch, 0 at a rate of their own; `burst` of all come at
    the start."""
    load = points.load
    if load.is_open.all():
        return np.zeros(len(points))
    together = load.is_batch | (points.continuous_batching <= 0)
    rounds = 1.0 / np.maximum(burst, 1e-9)
    steps = 1.0 if points.prefills_apart else group * points.computed / points.max_num_batched_tokens
    known = np.where(np.isnan(load.deviation), _UNKNOWN, 1.0)
    share = known / (1.0 + points.answer_deviation * np.sqrt(rounds) / np.maximum(steps, 1.0))
    return np.where(together, 1.0, np.where(load.is_open, 0.0, share))


def ahead(points: Points, group: Floats, burst: Floats, alike: Floats, prompts: Floats) -> Floats:
    """Steps decided before a request of a closed loop came, for which it waits, `n`: one, but none in the burst at the
    start, nor where all of a `group` that is in step end together, as `prompts` of them begin."""
    if points.load.is_open.all() or not points.decided_ahead.any():
        return np.zeros(len(points))
    takes_turns = (prompts < group) & (not points.prefills_apart)
    parted = np.minimum(group - 1.0, 1.0) * (1.0 - alike) + np.where(takes_turns, alike, 0.0)
    follows = np.where(points.load.is_open, 0.0, 1.0 - burst)
    return np.asarray(points.decided_ahead * parted * follows)
