"""Budgets: how much a tuning may cost, in experiments, wall time, device hours or dollars. Hard caps, all of them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from perfdb.errors import BudgetError
from perfdb.records import Experiment

_FORM = "a whole number of experiments (12), a time (90s, 90m, 2h), device hours (6gpuh) or dollars ($40)"
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class Unit(StrEnum):
    """What a budget counts."""

    EXPERIMENTS = "experiments"
    SECONDS = "s"
    GPU_HOURS = "gpuh"
    DOLLARS = "$"


@dataclass(frozen=True, slots=True)
class Budget:
    """A hard cap of `amount` in `unit`. Every recorded experiment is charged, whatever its outcome."""

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, text: str | float) -> Budget:
        """Read "12", "90m", "6gpuh" or "$40".

        Raises:
            BudgetError: none of these forms, or not positive.
        """
        found = re.fullmatch(r"(\$?)\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)", str(text).strip())
        if not found:
            raise BudgetError(f"budget {str(text)!r} cannot be read; expected {_FORM}")
        dollar, number, suffix = found.group(1), float(found.group(2)), found.group(3).lower()
        if number <= 0 or not math.isfinite(number):
            raise BudgetError(f"budget {str(text)!r} is not positive; expected {_FORM}")
        if dollar and not suffix:
            return cls(number, Unit.DOLLARS)
        if not dollar and suffix in _SECONDS:
            return cls(number * _SECONDS[suffix], Unit.SECONDS)
        if not dollar and suffix in {"gpuh", "gpuhours"}:
            return cls(number, Unit.GPU_HOURS)
        if not dollar and not suffix and number.is_integer():
            return cls(number, Unit.EXPERIMENTS)
        raise BudgetError(f"budget {str(text)!r} cannot be read; expected {_FORM}")

    def spent(self, experiments: Sequence[Experiment]) -> float:
        """What the recorded experiments cost, in this budget's unit."""
        return math.fsum(self._charge(experiment) for experiment in experiments)

    def _charge(self, experiment: Experiment) -> float:
        if self.unit is Unit.SECONDS:
            return experiment.wall_s
        if self.unit is Unit.GPU_HOURS:
            return experiment.gpu_hours
        return experiment.cost_usd if self.unit is Unit.DOLLARS else 1.0

    def left(self, experiments: Sequence[Experiment]) -> float:
        """What is left, never below zero, in this budget's unit."""
        return max(0.0, self.amount - self.spent(experiments))

    def seconds_left(self, experiments: Sequence[Experiment], devices: int, usd_per_hour: float | None) -> float:
        """Wall seconds that one more experiment may take (inf where the budget does not limit time).

        Raises:
            BudgetError: a dollar budget, and no price is known.
        """
        left = self.left(experiments)
        if self.unit is Unit.EXPERIMENTS:
            return math.inf if left >= 1 else 0.0
        if self.unit is Unit.SECONDS:
            return left
        if self.unit is Unit.GPU_HOURS:
            return left * 3600 / devices
        if usd_per_hour is None:
            raise BudgetError("a budget in dollars needs a price: set usd_per_hour in the task")
        return left / usd_per_hour / devices * 3600

    def __str__(self) -> str:
        """The budget as a user would write it."""
        if self.unit is Unit.DOLLARS:
            return f"${self.amount:g}"
        if self.unit is Unit.SECONDS:
            return f"{self.amount / 60:g}m" if self.amount >= 60 else f"{self.amount:g}s"
        suffix = "gpuh" if self.unit is Unit.GPU_HOURS else ""
        return f"{self.amount:g}{suffix}"
