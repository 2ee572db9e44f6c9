"""What is being optimised: metrics with their native directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.prediction import Bools, Floats
from perfdb.errors import InputError
from perfdb.metrics import METRICS, Direction, Statistic


@dataclass(frozen=True, slots=True)
class Objective:
    """One quantity to maximise or minimise. `statistic` None: the mean, or the plain value of a metric without one."""

    name: str
    direction: Direction
    statistic: Statistic | None = None

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read "x:max" or "y:min"; a metric of ours may leave its direction out.

        Raises:
            InputError: the direction is missing or is neither max nor min.
        """
        name, _, way = text.rpartition(":")
        if not name and text in METRICS and METRICS[text].better is not Direction.NONE:
            return cls(text, METRICS[text].better)
        if not name or way not in {"max", "min"}:
            raise InputError.at(f"objective {text!r}", "no direction", "NAME:max or NAME:min")
        return cls(name, Direction(way))


def to_loss(values: Floats, objectives: Sequence[Objective]) -> Floats:
    """Log losses, `n x k`, smaller is better: log x for min, -log x for max. Empty, zero or negative values become NaN.

    Args:
        values: native values, `n x k`.
        objectives: the k objectives, in the order of the columns.
    """
    signs = np.array([-1.0 if o.direction is Direction.MAX else 1.0 for o in objectives])
    positive = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    return signs * np.log(positive)


def complete(losses: Floats) -> Bools:
    """Which rows have every objective, `n`: the ones that may stand on a front."""
    return np.asarray(np.isfinite(losses).all(axis=1))


def to_values(losses: Floats, objectives: Sequence[Objective]) -> Floats:
    """Native values of log losses, `n x k`: the inverse of `to_loss`."""
    signs = np.array([-1.0 if o.direction is Direction.MAX else 1.0 for o in objectives])
    values: Floats = np.exp(signs * losses)
    return values
