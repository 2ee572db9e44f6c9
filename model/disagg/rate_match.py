"""How many workers of each pool go together: the smallest whole numbers whose capacities match best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.disagg.flow import Floats, Unit, Units, step_at, unit_of
from model.loops import loop

Ints = npt.NDArray[np.int64]

MOST_WORKERS = 16
"""Largest number of workers of a pool that is tried."""
NEAR = 0.98
"""Share of the best throughput per device from which on the smallest unit is taken."""
FILLED = 0.9
"""Share of its capacity up to which a unit carries a rate: beyond, waits grow out of hand."""


@loop(nogil=True)
def matched(units: Units, devices: Ints, there: int, amount: Floats, wanted: Floats, fixed: Ints) -> Ints:
    """Workers of both pools, `n x 2`: the unit of fewest devices that carries the rate that is wanted, else whose
    throughput per device is near the best.

    Throughput is bounded by the slower pool and, in a closed loop, by the time of a request that never waits.

    Args:
        units: of one worker in each pool.
        devices: of a worker of each pool, `n x 2`.
        there: devices there are, 0 where as many as it takes; whole units of them are used.
        amount: requests in flight in all, `n`, inf for requests that come at a rate.
        wanted: requests per second that all units are to carry together, `n`, inf for those of a closed loop.
        fixed: workers that are given, `n x 2`, 0 where they are not.
    """
    found = np.ones((len(devices), 2), dtype=np.int64)
    for row in range(len(devices)):
        unit, one = unit_of(units, row), (units.sends[row], units.takes[row])
        ones, others = _tried(fixed[row, 0]), _tried(fixed[row, 1])
        worth = np.empty((len(ones), len(others)))
        for i in range(len(ones)):
            for j in range(len(others)):
                worth[i, j] = _worth(unit, one, devices[row], there, amount[row], ones[i], others[j])
        found[row, 0], found[row, 1] = ones[0], others[0]
        size = _sizes(ones, others, devices[row])
        carries = worth * (size if there == 0 else np.full_like(size, float(there))) * FILLED >= wanted[row]
        good = carries if carries.any() else worth >= max(NEAR * worth.max(), 1e-300)
        least = np.inf
        for i in range(len(ones)):
            for j in range(len(others)):
                if good[i, j] and size[i, j] < least:
                    least = size[i, j]
                    found[row, 0], found[row, 1] = ones[i], others[j]
    return found


@loop(nogil=True)
def _tried(fixed: int) -> Ints:
    return np.arange(1, MOST_WORKERS + 1) if fixed == 0 else np.array([fixed])


@loop(nogil=True)
def _sizes(ones: Ints, others: Ints, devices: Ints) -> Floats:
    """Devices of units of so many workers of either pool."""
    size = np.empty((len(ones), len(others)))
    for i in range(len(ones)):
        for j in range(len(others)):
            size[i, j] = ones[i] * devices[0] + others[j] * devices[1]
    return size


@loop(nogil=True)
def _worth(unit: Unit, link: tuple[float, float], devices: Ints, there: int, amount: float, x: int, y: int) -> float:
    """Requests/s per device of units of x prefill and y decode workers, 0 where there are not devices for one."""
    size = x * devices[0] + y * devices[1]
    count = there // size if there > 0 else 1
    if count == 0:
        return 0.0
    engines = y * unit.decode_engines
    active = min(amount / (count * engines), unit.top)
    step = step_at(unit.curve, unit.top, active)
    rate = min(x * unit.prompt_engines * unit.most / unit.full, engines * active / (unit.steps * step))
    rate = min(rate, x * link[0], y * link[1])
    rate = min(rate, amount / count / (unit.alone + unit.once + unit.steps * step + unit.think))
    return float(rate * count / (there if there > 0 else size))
