"""Requests that come to a pipeline at a rate: into how many groups they part.

Who comes while a batch is under way waits for the next one that is made, of those whose batch comes back: all that come
to a pipeline are in one group, its stages take turns, and no more tokens come from it than from one stage with all
layers. Only prompts that do not fit into a batch with the others are left for the next one, and begin a group behind.
Sources: vllm's EngineCore.step_with_batch_queue (github.com/vllm-project/vllm/issues/41682 has it measured), and
sglang's event_loop_pp, whose micro-batches take those who wait in turn.

Of P stages with g groups each passes one batch after the other, and the first of them has the other P − g + 1 stages'
time: it meets the share s = (P − g + 1)/P of those who come, and who is in it as many of all. A step of it takes
T = d/(1 − ρ) seconds, ρ = s·λ·e, as in `model.closed_form.queueing.prompting`, and more prompts than fit come in it
with the tail of a Poisson distribution that is wider by 1/(1 − ρ²): by then groups are one more.

A new group is small and its steps are short, so that it meets few who come, until it is as large as the others. Who
answers for N steps, each k seconds longer for it, makes the difference smaller at 1/(N·T) times
(1 − w)/(1 − ρ), w = s·λ·(e + k·N). Beyond what one group can serve (w > 1) it has all until its prompts do not fit: of
those who come in a step the share u is left to others, which evens the groups out at 2·u/(1 − u).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.closed_form.queueing import MOST_LOAD
from model.load import VARIATION
from model.points import Points
from model.prediction import Floats

_LEAST = 1e-3
"""The least share of those who come in a step that stays in the group."""
_SOON = 10.0
"""Times in which a request is served, over that in which groups get even: beyond it they are."""
_MOST_GROUPS = 64
"""Groups that are told apart; no model has enough layers for many more stages."""


class OneGroup(NamedTuple):
    """Requests that are all in one group of `sizes`, ascending: they are turned over in `seconds`, in steps of
    `decode_s`, to which each prompt adds `each_s`, and `fitting` of them fit; all `l x n`."""

    sizes: Floats
    seconds: Floats
    decode_s: Floats
    each_s: Floats
    fitting: Floats

    def at(self, rate: Floats) -> OneGroup:
        """The same, `n`, where so many requests per second are served."""
        flow = np.maximum.accumulate(self.sizes / self.seconds, axis=0)
        return OneGroup(*(at(flow, values, rate) for values in self))


def apart(points: Points, rate: Floats, requests: Floats, one: OneGroup) -> Floats:
    """Groups of equal size, `n`, as good as those into which so many `requests` part that come at `rate`, on average
    over their run; `one` tells of a single one."""
    begun, behind = np.ones(len(points)), np.zeros(len(points))
    for groups in range(1, int(min(points.pp.max(), _MOST_GROUPS))):
        share = np.maximum(points.pp - groups + 1.0, 1.0) / points.pp
        met, now = rate * share, one.at(rate * share)
        step_s, chance = _overflows(points, met, now)
        most = one.sizes[-1] / one.seconds[-1]
        if not points.prefills_apart:
            chance = np.where(now.fitting < one.sizes[-1], chance, 0.0)
        left = np.maximum(chance / np.maximum(met * step_s, 1.0), 1.0 - now.fitting / (met * step_s))
        if points.prefills_apart:
            # each micro-batch has its own places; who finds none is let in by the next
            chance, left = np.where(met > most, 1.0, chance), np.maximum(left, 1.0 - most / met)
        batches = requests * share / (np.minimum(met, most) * step_s)
        begun = begun * _risen(batches * chance) * (groups < points.pp)
        even = _evened(points, met, one, now) + 2.0 * left / np.maximum(1.0 - left, _LEAST)
        # the parts of a prompt are in one batch after the other, and who it is of ends up in any
        behind += begun * np.where(now.fitting < 1.0, 1.0, _risen(even * requests * share / now.sizes)) / points.pp
    return 1.0 / (1.0 - behind)


def _overflows(points: Points, rate: Floats, now: OneGroup) -> tuple[Floats, Floats]:
    """Seconds of a step where requests come to a group at `rate`, and the chance that it leaves some out; both `n`."""
    load = np.minimum(rate * now.each_s, MOST_LOAD)
    step_s = now.decode_s / (1.0 - load)
    wide = (1.0 + VARIATION**2 * (1.0 - points.load.alike)) / (1.0 - load**2)
    mean, many = rate * step_s / wide, (np.floor(now.fitting) + 1.0) / wide
    return step_s, np.where(mean < many, poisson_tail(np.minimum(mean, many), many), 1.0)


def poisson_tail(mean: Floats, many: Floats) -> Floats:
    """The chance of so `many` or more, `n`, of a Poisson distribution whose `mean` is no greater: of just so many by
    Stirling's formula, and the others as a geometric series."""
    log = many - mean - many * np.log(many / mean) - 0.5 * np.log(2.0 * np.pi * many + 1.0)
    return np.asarray(np.minimum(np.exp(log) / (1.0 - mean / (many + 1.0)), 1.0))


def _evened(points: Points, rate: Floats, one: OneGroup, now: OneGroup) -> Floats:
    """How fast groups get even, over the time in which a request is served, `n`; 0 where they do not."""
    longer_s = np.maximum(one.decode_s[-1] - one.decode_s[0], 0.0) / np.maximum(one.sizes[-1] - one.sizes[0], 1.0)
    prompts = 1.0 - rate * now.each_s
    whole = prompts - rate * longer_s * points.answer_steps
    return np.where(whole * prompts > 0.0, np.minimum(np.abs(whole), _SOON * np.abs(prompts)) / np.abs(prompts), 0.0)


def _risen(times: Floats) -> Floats:
    """The mean of 1 − exp(−`times`·t) over t from 0 to 1, `n`."""
    several = np.maximum(times, 1e-9)
    return np.asarray(np.maximum(1.0 + np.expm1(-several) / several, 0.0))


def at(places: Floats, values: Floats, place: Floats) -> Floats:
    """`values` (`l x n`, at ascending `places`) at a `place` between them or at an end, `n`."""
    high = np.clip((places < place).sum(axis=0), 1, len(places) - 1)[None]
    low, top = (np.take_along_axis(places, side, axis=0)[0] for side in (high - 1, high))
    below, above = (np.take_along_axis(values, side, axis=0)[0] for side in (high - 1, high))
    share = np.clip((place - low) / np.maximum(top - low, 1e-9), 0.0, 1.0)
    return np.asarray(below + (above - below) * share)
