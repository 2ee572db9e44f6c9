"""Steps that ranks take together because they share experts, in closed form.

R ranks have requests of their own, A of them any at all, and each step is as long as the slowest rank's own part o,
plus the experts x over the tokens of all. A rank has prompts in the share q of its steps, K of them: as many as came,
min(Poisson(μ), c) where c fit. What a prompt adds to the own part is e, so that with m(n) the mean of the largest of n
such K a step of A ranks takes o + e·m(A) + x. Who has no prompt itself meets those of the others, e·m(A − 1); who has,
e·(m(A) − (1 − q)·m(A − 1))/q. Ranks that are in step have their prompts in the same steps, and take what one takes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.load import VARIATION
from model.ops import StepLoad
from model.points import Points
from model.prediction import Floats
from model.queueing import Prompting, prompting

_ALWAYS = 1.0 - 1e-6
_AT_ONCE = 1e-6
_TAIL = 6.0
"""Standard deviations of a Poisson distribution, beyond which nothing of it counts."""


def joint_s(
    points: Points, loads: tuple[StepLoad, StepLoad], seconds: tuple[Floats, Floats], often: Floats, prompts: Floats,
    most: Floats, alike: Floats,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Seconds of a rank's steps with prompts and of those without, `n`, where all ranks take them together.

    Args:
        points: what they are of.
        loads: of both kinds of steps.
        seconds: of both if all ranks do the same.
        often: q, the share of steps with prompts.
        prompts: of such a step.
        most: c, prompts that fit.
        alike: the share of requests that are in step.
    """
    rows = np.flatnonzero(points.attention_dp > 1.0)
    if points.tables is None or not len(rows):
        return seconds
    part = points.take(rows)
    found = _joint(part, [load.tokens[rows] for load in loads], [each[rows] for each in seconds],
                   often[rows], prompts[rows], most[rows])  # fmt: skip
    told = []
    for before, apart in zip(seconds, found, strict=True):
        after = before.copy()
        after[rows] += (1.0 - alike[rows]) * (apart - before[rows])
        told.append(after)
    return told[0], told[1]


def between_ranks(
    points: Points, found: Prompting, rate: Floats, idle_s: Floats, each_s: Floats, fitting: Floats
) -> Prompting:
    """What is `found` of prompts (arguments as `model.queueing.prompting`), but for those of ranks that have steps of
    their own: a step of `idle_s` is that long for the prompts of other ranks, and none is between those of a prompt."""
    apart = (points.attention_dp > 1.0) & points.prefills_apart
    if not apart.any():
        return found
    alone = prompting(rate, _AT_ONCE * each_s, each_s, fitting, 1.0 - points.load.alike)
    # half of the step under way, and the one that was decided meanwhile
    alone = alone._replace(residual=alone.residual + (0.5 + points.decided_ahead) * idle_s, delay=found.delay)
    return Prompting(*(np.where(apart, *pair) for pair in zip(alone, found, strict=True)))


class _Met(NamedTuple):
    """Of steps of all ranks: the mean of the largest K, the same in steps in which a given rank has none, and the share
    of these in which nobody has any."""

    most: Floats
    others: Floats
    nobody: Floats


def _joint(
    points: Points, tokens: list[Floats], seconds: list[Floats], often: Floats, prompts: Floats, most: Floats
) -> tuple[Floats, Floats]:
    from model.steps.experts import experts_s

    ranks, tables, is_open = points.attention_dp, points.tables, points.load.is_open
    assert tables is not None
    at_work = np.where(is_open, ranks, np.minimum(ranks, points.load.amount))
    share = np.minimum(often, _ALWAYS)
    alone, by_chance = _by_chance(share, prompts, most, at_work)
    in_turn = _in_turn(share * prompts, most, at_work)
    met = _Met(*(np.where(is_open, *pair) for pair in zip(in_turn, by_chance, strict=True)))
    own = [spent - experts_s(points, tables, brought) for spent, brought in zip(seconds, tokens, strict=True)]
    each = np.maximum(own[0] - own[1], 0.0) * share / alone * _longest(points, share, at_work)
    # a rank without requests computes a token of nobody
    idle, more = ranks - at_work, share * (at_work - 1.0) * (tokens[0] - tokens[1])
    mixed, beside, decode = (
        experts_s(points, tables, (brought + (at_work - 1.0) * tokens[1] + prompts_of + idle) / ranks)
        for brought, prompts_of in (
            (tokens[0], more), (tokens[1], more / np.maximum(1.0 - met.nobody, 1e-9)), (tokens[1], np.zeros_like(more)),
        )
    )  # fmt: skip
    itself = (met.most - (1.0 - share) * met.others) / share
    return own[1] + each * itself + mixed, (
        own[1] + each * met.others + met.nobody * decode + (1.0 - met.nobody) * beside
    )


def _by_chance(share: Floats, prompts: Floats, most: Floats, ranks: Floats) -> tuple[Floats, _Met]:
    """The mean K of one rank, and what all meet where each has its own requests."""
    mean = np.maximum(-np.log1p(-share), share * prompts)
    alone, others, of_all = (_largest(mean, most, count) for count in (np.ones_like(ranks), ranks - 1.0, ranks))
    return alone, _Met(of_all, others, (1.0 - share) ** (ranks - 1.0))


def _largest(mean: Floats, most: Floats, count: Floats) -> Floats:
    """Mean of the largest of `count` numbers that are min(Poisson(mean), most), `n`: the sum of 1 − F(k)ⁿ."""
    chance = np.exp(-mean)
    below, found = chance.copy(), np.zeros_like(mean)
    last = np.minimum(most, mean + _TAIL * np.sqrt(mean) + _TAIL).max()
    for k in range(int(np.ceil(last))):
        found += np.clip(most - k, 0.0, 1.0) * (1.0 - below**count)
        chance = chance * mean / (k + 1.0)
        below = np.minimum(below + chance, 1.0)
    return found


def _in_turn(mean: Floats, most: Floats, ranks: Floats) -> _Met:
    """What all meet where the ranks take what comes in turn, Poisson(mean·ranks) in a step."""
    every = mean * ranks
    chance = np.exp(-every)
    of_all, none, others, nobody = np.zeros_like(mean), np.zeros_like(mean), np.zeros_like(mean), chance.copy()
    for count in range(int(np.ceil((every + _TAIL * np.sqrt(every) + _TAIL).max()))):
        largest = np.minimum(np.ceil(count / ranks), most)
        left_out = chance * np.maximum(1.0 - count / ranks, 0.0)
        of_all, none, others = of_all + chance * largest, none + left_out, others + left_out * largest
        chance = chance * every / (count + 1.0)
    return _Met(of_all, others / none, nobody / none)


def _longest(points: Points, share: Floats, count: Floats) -> Floats:
    """How many times the mean the longest prompt is of those that `count` ranks compute at once, `n`, where they vary:
    of j numbers that are uniform, (j − 1)/(j + 1) of the way from the mean to the most."""
    together = np.maximum(count * share / np.maximum(-np.expm1(count * np.log1p(-share)), 1e-9), 1.0)
    return np.asarray(1.0 + (1.0 - points.load.alike) * VARIATION * np.sqrt(3.0) * (together - 1.0) / (together + 1.0))
