"""Requests that arrive at random: how many are in flight, and how long prompts wait for the step they enter.

A server whose throughput X(n) depends on the requests in flight is a birth-death chain with arrivals at λ and
departures at X(n) (flow-equivalent server; Chandy, Herzog, Woo, IBM J. Res. Dev. 19(1), 1975): the probability of n in
flight is proportional to Π λ/X(k), k = 1 … n.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.load import VARIATION
from model.loops import loop

Floats = npt.NDArray[np.float64]

_LARGE = 1e200
_NEGLIGIBLE = 1e-9
MOST_LOAD = 0.98
"""Share of the capacity beyond which a run is too short to come to rest: its backlog is counted instead."""


@loop(nogil=True)
def in_flight(levels: Floats, rates: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """Mean number of requests in flight and, of these, beyond the last level (waiting for a slot), both `n`.

    Args:
        levels: `n x l`, ascending numbers in flight from 1 up to the slots.
        rates: `n x l`, requests per second there; between them linear in logarithms, beyond the last constant.
        wanted: `n`, arrivals per second, below the last rate.
    """
    n = len(wanted)
    mean, waiting = np.empty(n), np.empty(n)
    for row in range(n):
        mean[row], waiting[row] = _row(levels[row], rates[row], wanted[row])
    return mean, waiting


@loop(nogil=True)
def _row(levels: Floats, rates: Floats, wanted: float) -> tuple[float, float]:
    total, weighted, weight = 1.0, 0.0, 1.0
    place, last = 0, len(levels) - 1
    top = int(levels[last])
    for k in range(1, top + 1):
        while place < last - 1 and levels[place + 1] < k:
            place += 1
        weight *= wanted / _rate(levels, rates, place, float(k))
        total += weight
        weighted += k * weight
        if total > _LARGE:
            total, weighted, weight = total / _LARGE, weighted / _LARGE, weight / _LARGE
        if weight < _NEGLIGIBLE * total and k * total > weighted:
            return weighted / total, 0.0
    # beyond the slots each further request is as likely as the one before times this
    ratio = wanted / rates[last]
    beyond = weight * ratio / (1.0 - ratio)
    waiting = beyond / (1.0 - ratio)
    total += beyond
    weighted += top * beyond + waiting
    return weighted / total, waiting / total


@loop(nogil=True)
def _rate(levels: Floats, rates: Floats, place: int, k: float) -> float:
    low, high = levels[place], levels[place + 1]
    if k <= low or high <= low:
        return float(rates[place])
    share = np.log(k / low) / np.log(high / low)
    return float(rates[place] * (rates[place + 1] / rates[place]) ** share)


class Prompting(NamedTuple):
    """Of prompts that arrive at random, all `n` seconds: until the step under way ends (`residual`), for the prompts
    before (`wait`), from then to the first token (`own`); and by how much those that came meanwhile, which are computed
    while this one's answer is made, hold that up before the load they are of stretches it (`delay`)."""

    residual: Floats
    wait: Floats
    own: Floats
    delay: Floats


def prompting(rate: Floats, idle_s: Floats, each_s: Floats, fitting: Floats, varied: Floats) -> Prompting:
    """Prompts at an engine whose steps follow each other without pause, T = idle + each·k with k prompts.

    A step takes the prompts that came during the one before: E[T] = idle/(1 − ρ), ρ = λ·each, and with E[k²] = λE[T] +
    λ²E[T²], E[T²] = (idle² + 2·idle·ρ·E[T] + each·ρ·E[T])/(1 − ρ²). Who arrives meets E[T²]/E[T], waits for half of it
    and shares the next step with λ·E[T²]/E[T] others. No more than K fit: beyond them prompts wait as in M/G/1, with
    Sakasegawa's exponent of 2K servers (Ann. Inst. Statist. Math. 29, 1977). Those that come until the first token of
    one are computed in steps of its answer, which are longer by that than a mean step is.

    Args:
        rate: prompts per second. idle_s: seconds of a step without prompts. each_s: what one adds, in all its steps.
        fitting: K, prompts that fit a step; below 1 the share of a prompt that does.
        varied: 1 where lengths differ, 0 where not.
    """
    load = np.minimum(rate * each_s, MOST_LOAD)
    spread = 1.0 + VARIATION**2 * varied
    mean = idle_s / (1.0 - load)
    square = (idle_s**2 + 2.0 * idle_s * load * mean + each_s * load * mean * spread) / (1.0 - load**2)
    full, wide = idle_s + each_s * fitting, np.maximum(fitting, 1.0)
    met = np.minimum(square / mean, np.maximum(full, idle_s + each_s))
    alone = np.ceil(1.0 / np.minimum(fitting, 1.0)) * idle_s + each_s
    own = np.maximum(idle_s + each_s * np.minimum(1.0 + rate * met, fitting), alone)
    one = full / fitting
    busy = np.minimum(rate * one, MOST_LOAD)
    queue = busy ** (2.0 * wide) * one / (1.0 - busy)
    # what is left of a prompt under way is more than what is left of its step
    rest = busy * (one - full)
    wait = np.where(fitting >= 1.0, queue, queue + rest) / 2.0 * spread
    return Prompting(met / 2.0, wait, own, (own + wait) * np.maximum(1.0 - mean / np.minimum(own, full), 0.0))
