"""Service-level objectives: "ttft_s<0.5, tpot_s_p99<0.05"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model.prediction import Bools, Floats
from perfdb.errors import InputError, UnknownNameError
from perfdb.metrics import METRICS, Direction, Statistic
from servecast.tuning.spec import OBJECTIVE_ALIASES, split_statistic

_FORM = re.compile(r"\s*([a-z]\w*)\s*(<=?|>=?)\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*(ms|s)?\s*")


@dataclass(frozen=True, slots=True)
class Slo:
    """One bound: `name` is a metric, perhaps with a statistic ("ttft_s_p99"), of which the mean is meant without one.

    `limit` is the most that is allowed, or the least where `is_floor`.
    """

    name: str
    limit: float
    is_floor: bool = False

    @classmethod
    def parse(cls, text: str) -> Slo:
        """Read one bound.

        Raises:
            InputError: it is no bound, or bounds a metric from the wrong side. UnknownNameError: no such metric.
        """
        found = _FORM.fullmatch(text)
        if not found or not 0 < float(found[3]) < np.inf:
            raise InputError.at(f"SLO {text.strip()[:60]!r}", "not a bound", "METRIC<VALUE, such as ttft_s_p99<0.5")
        name = OBJECTIVE_ALIASES.get(found[1], found[1])
        try:
            metric, statistic = split_statistic(name)
        except ValueError:
            raise UnknownNameError.of("metric", found[1], [*OBJECTIVE_ALIASES, *METRICS]) from None
        is_floor = found[2].startswith(">")
        if METRICS[metric].better is not (Direction.MAX if is_floor else Direction.MIN):
            raise InputError.at(f"SLO {text.strip()!r}", f"{metric} is bounded on its better side", "the other side")
        if found[4] and METRICS[metric].unit != "s":
            raise InputError.at(f"SLO {text.strip()!r}", f"a time for {metric}", METRICS[metric].unit)
        plain = metric if statistic in {Statistic.MEAN, Statistic.VALUE} else name
        return cls(plain, float(found[3]) * (1e-3 if found[4] == "ms" else 1.0), is_floor)

    def violation(self, values: Floats) -> Floats:
        """How many times the limit the values are, n, so that 1 is just good; what is not known is bad."""
        with np.errstate(over="ignore"):
            ratio = self.limit / np.maximum(values, 1e-300) if self.is_floor else values / self.limit
        return np.where(np.isfinite(values), ratio, np.inf)

    def __str__(self) -> str:
        return f"{self.name}{'>' if self.is_floor else '<'}{self.limit:g}"


def parse_slos(text: str) -> tuple[Slo, ...]:
    """Bounds with commas between; each metric once.

    Raises:
        InputError: none, one that cannot be read, or one twice. UnknownNameError: no such metric.
    """
    slos = tuple(Slo.parse(part) for part in text.split(","))
    names = [slo.name for slo in slos]
    if len(set(names)) < len(names):
        raise InputError.at("--slo", "a metric stands twice", "each once")
    return slos


def check_gaps(slos: tuple[Slo, ...], has_gaps: bool) -> None:
    """Refuse bounds on the time between tokens where answers have but one.

    Raises:
        InputError: there is one.
    """
    gaps = [str(slo) for slo in slos if slo.name.startswith(("tpot_s", "itl_s", "output_tps_per_user"))]
    if gaps and not has_gaps:
        raise InputError.at(f"--slo {gaps[0]}", "answers of one token have no time between tokens", "other bounds")


def met(slos: tuple[Slo, ...], metrics: Mapping[str, Floats]) -> Bools:
    """Whether n rows keep all bounds."""
    worst = np.max([slo.violation(metrics[slo.name]) for slo in slos], axis=0)
    return np.asarray(worst <= 1.0, dtype=bool)
