"""Steps that ranks take together because they share experts, in closed form.

R ranks have requests of their own, A of them any at all, and each step is as long as the slowest rank's own part o,
plus the experts x over the tokens of all. A rank has prompts in the share q of its steps, K of them: as many as came,
min(Poisson(μ), c) where c fit. What a prompt adds to the own part is e, so that with m(n) the mean of the largest of n
such K a step of A ranks takes o + e·m(A) + x. Who has no prompt itself meets those of the others, e·m(A − 1); who has,
e·(m(A) − (1 − q)·m(A − 1))/q. Ranks that are in step have their prompts in the same steps, and take what one takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from model.closed_form.queueing import Prompting, prompting
from model.load import VARIATION
from model.points import Points
from model.prediction import Floats
from model.steps.ops import StepLoad

_ALWAYS = 1.0 - 1e-6
_AT_ONCE = 1e-6
_TAIL = 6.0
"""Standard deviations of a Poisson distribution, beyond which nothing of it counts."""
_PARTS = 256
"""Parts that a Poisson distribution is taken in at most: up to a mean of some 400 each is one number."""


def in_step_s(points: Points, loads: tuple[StepLoad, StepLoad], seconds: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Seconds of both kinds of steps, `n`, where every rank that has requests does what `loads` say, by the `seconds`
    where all ranks do."""
    from model.steps.experts import experts_s

    told, rows = (seconds[0], seconds[1]), np.flatnonzero(_at_work(points) < points.attention_dp)
    if points.tables is None or not len(rows):
        return told
    part = points.take(rows)
    for load, spent in zip(loads, told, strict=True):
        every = load.tokens[rows]
        all_s, some_s = (experts_s(part, points.tables, tokens) for tokens in (every, _on_average(part, every)))
        spent[rows] += some_s - all_s
    return told


def joint_s(
    points: Points, loads: tuple[StepLoad, StepLoad], seconds: tuple[Floats, Floats], often: Floats, prompts: Floats,
    most: Floats, alike: Floats,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Seconds of a rank's steps with prompts and of those without, `n`, where all ranks take them together.

    Args:
        points: what they are of.
        loads: of both kinds of steps.
        seconds: of both if all ranks that have requests do the same (see `in_step_s`).
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
    """What is `found` of prompts (arguments as `model.closed_form.queueing.prompting`), but for those of ranks that
    have steps of their own: a step of `idle_s` is that long for the prompts of other ranks, and none is between those
    of a prompt."""
    apart = (points.attention_dp > 1.0) & points.prefills_apart
    if not apart.any():
        return found
    alone = prompting(rate, _AT_ONCE * each_s, each_s, fitting, 1.0 - points.load.alike)
    # half of the step under way, and the one that was decided meanwhile
    alone = alone._replace(residual=alone.residual + (0.5 + points.decided_ahead) * idle_s, delay=found.delay)
    return Prompting(*(np.where(apart, *pair) for pair in zip(alone, found, strict=True)))


class Met(NamedTuple):
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
    at_work = _at_work(points)
    share = np.minimum(often, _ALWAYS)
    alone, by_chance = _by_chance(share, prompts, most, at_work)
    in_turn = met_in_turn(share * prompts, most, at_work)
    met = Met(*(np.where(is_open, *pair) for pair in zip(in_turn, by_chance, strict=True)))
    own = [
        spent - experts_s(points, tables, _on_average(points, brought))
        for spent, brought in zip(seconds, tokens, strict=True)
    ]
    each = np.maximum(own[0] - own[1], 0.0) * share / alone * _longest(points, share, at_work)
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


def _at_work(points: Points) -> Floats:
    """Ranks that have requests of their own, `n`."""
    ranks, load = points.attention_dp, points.load
    return np.where(load.is_open, ranks, np.minimum(ranks, load.amount))


def _on_average(points: Points, tokens: Floats) -> Floats:
    """Tokens that a rank brings, `n`, if each that has requests brings so many: the others compute one of nobody."""
    share = _at_work(points) / points.attention_dp
    return np.asarray(share * tokens + (1.0 - share))


def _by_chance(share: Floats, prompts: Floats, most: Floats, ranks: Floats) -> tuple[Floats, Met]:
    """The mean K of one rank, and what all meet where each has its own requests."""
    mean = np.maximum(-np.log1p(-share), share * prompts)
    alone, others, of_all = (largest(mean, most, count) for count in (np.ones_like(ranks), ranks - 1.0, ranks))
    return alone, Met(of_all, others, (1.0 - share) ** (ranks - 1.0))


def largest(mean: Floats, most: Floats, count: Floats) -> Floats:
    """Mean of the largest of `count` numbers that are min(Poisson(mean), most), `n`: the sum of 1 − F(k)ⁿ."""
    found = np.zeros_like(mean)
    for first, width, below, chance in _parts(mean):
        # the mean of F over a part, and F(k) itself where that is one number
        reached = below + chance * (width + 1.0) / (2.0 * np.maximum(width, 1.0))
        found += np.clip(most - first, 0.0, width) * (1.0 - reached**count)
    return found


def met_in_turn(mean: Floats, most: Floats, ranks: Floats) -> Met:
    """What all meet where the ranks take what comes in turn, Poisson(mean·ranks) in a step: a rank that has none leaves
    one at most to each of the others."""
    of_all, nobody = np.zeros_like(mean), _nobody(mean * ranks, ranks)
    for first, width, _, chance in _parts(mean * ranks):
        ends = np.ceil(first / ranks), np.ceil((first + width - 1.0) / ranks)
        of_all += chance * np.minimum((ends[0] + ends[1]) / 2.0, most)
    return Met(of_all, 1.0 - nobody, nobody)


def _nobody(mean: Floats, ranks: Floats) -> Floats:
    """Of the steps in which one of the `ranks` has no prompt the share in which none has, `n`, where Poisson(mean) come
    in a step: one over the sum of meanᵏ/k!·(1 − k/R), k < R."""
    log_of, total = np.zeros_like(mean), np.zeros_like(mean)
    for count in range(1, int(np.ceil(ranks.max()))):
        log_of = log_of + np.log(mean / count)
        left_out = np.log1p(-np.minimum(count / ranks, _ALWAYS))
        total = np.where(count < ranks, np.logaddexp(total, log_of + left_out), total)
    return np.exp(-total)


def _parts(mean: Floats) -> Iterator[tuple[Floats, Floats, Floats, Floats]]:
    """Poisson(mean) in parts, from the lowest on, each `n`: their first number, how many numbers they hold, the chance
    of lower ones and their own. A number each where there are `_PARTS` at most; else as many times as likely as the one
    amid them. The first part holds all that never come."""
    reach = _TAIL * np.sqrt(mean) + _TAIL
    first = np.floor(np.maximum(mean - reach, 0.0))
    width = np.ceil((mean + reach - first) / _PARTS)
    below, none, amid = np.zeros_like(mean), np.zeros_like(mean), first + (width - 1.0) / 2.0
    yield none, first, none, none
    log_of = amid * np.log(mean) - mean - _log_factorial(amid)
    for _ in range(int(np.ceil(((mean + reach - first) / width).max()))):
        chance = np.minimum(width * np.exp(log_of), 1.0 - below)
        yield first, width, below, chance
        below, first = below + chance, first + width
        log_of = log_of + width * np.log(mean / first)


def _log_factorial(number: Floats) -> Floats:
    """Stirling's series, and 0 of 0."""
    some = np.maximum(number, 1.0)
    series = some * (np.log(some) - 1.0) + np.log(2.0 * np.pi * some) / 2.0 + 1.0 / (12.0 * some)
    return np.where(number > 0, series, 0.0)


def _longest(points: Points, share: Floats, count: Floats) -> Floats:
    """How many times the mean the longest prompt is of those that `count` ranks compute at once, `n`, where they vary:
    of j numbers that are uniform, (j − 1)/(j + 1) of the way from the mean to the most."""
    together = np.maximum(count * share / np.maximum(-np.expm1(count * np.log1p(-share)), 1e-9), 1.0)
    return np.asarray(1.0 + (1.0 - points.load.alike) * VARIATION * np.sqrt(3.0) * (together - 1.0) / (together + 1.0))
