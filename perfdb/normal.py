"""Moments of normal numbers that are rounded and cut."""

from __future__ import annotations

import math

_NARROW = 16.0
"""Deviation below which rounding matters, and whole numbers are few enough to be added up."""
_FAR = 9.0
"""Deviations from the mean beyond which nothing lies."""


def cut_normal(mean: float, deviation: float, most: int) -> tuple[float, float]:
    """Mean and mean square of max(1, min(round(x), most)) for a normal x; of a wide one to 1e-3 of a whole number.

    Of wide ones by the moments of a normal number cut at both ends (Johnson, Kotz, Balakrishnan, Continuous Univariate
    Distributions I, 13.10.1), and Sheppard's correction for the rounding.
    """
    if deviation == 0.0:
        only = max(1.0, float(round(mean)))
        return only, only**2
    if deviation < _NARROW:
        return _added_up(mean, deviation, most)
    low, high = (1.0 - mean) / deviation, (most - mean) / deviation
    below, above = _below(low), _below(-high)
    inside = 1.0 - below - above
    at_low, at_high = deviation * _density(low), deviation * _density(high)
    first = below + most * above + mean * inside + at_low - at_high
    square = below + most**2 * above + (mean**2 + deviation**2) * inside
    square += (mean + 1.0) * at_low - (mean + most) * at_high
    return first, square + inside / 12.0


def _added_up(mean: float, deviation: float, most: int) -> tuple[float, float]:
    """By the chance of every whole number to be exceeded."""
    least = max(1, min(most, math.floor(mean - _FAR * deviation)))
    first, square = float(least), float(least) ** 2
    for number in range(least, most):
        chance = _below((mean - number - 0.5) / deviation)
        first += chance
        square += (2 * number + 1) * chance
    return first, square


def _below(z: float) -> float:
    """The chance that a standard normal number is less."""
    return math.erfc(-z / math.sqrt(2.0)) / 2.0


def _density(z: float) -> float:
    return math.exp(-z * z / 2.0) / math.sqrt(2.0 * math.pi)
