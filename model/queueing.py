"""Requests that arrive at random: how many are in flight, and how long prompts wait for the step they enter.

A server whose throughput X(n) depends on the requests in flight is a birth-death chain with arrivals at λ and
departures at X(n) (flow-equivalent server; Chandy, Herzog, Woo, IBM J. Res. Dev. 19(1), 1975): the probability of n in
flight is proportional to Π λ/X(k), k = 1 … n.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.loops import loop

Floats = npt.NDArray[np.float64]

_LARGE = 1e200
_NEGLIGIBLE = 1e-9
_VARIATION = 0.5


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


def prompt_wait(rate: Floats, step_s: Floats, fitting: Floats, own: Floats, varied: Floats) -> Floats:
    """Mean seconds that a prompt waits for those before it, `n`, as if the prompts of a step had a server each.

    Sakasegawa's approximation (Ann. Inst. Statist. Math. 29, 1977) with the variance of the service.

    Args:
        rate: prompts per second. step_s: seconds of a step with prompts in it.
        fitting: prompts that a step takes. own: steps of one prompt.
        varied: 1 where lengths differ (they are taken to have a coefficient of variation of a half), 0 where not.
    """
    servers = np.maximum(np.floor(fitting), 1.0)
    service = own * step_s
    busy = np.minimum(rate * service / servers, 0.97)
    spread = (1.0 + _VARIATION**2 * varied) / 2.0
    return np.asarray(spread * service / servers * busy ** (np.sqrt(2.0 * (servers + 1.0)) - 1.0) / (1.0 - busy))
