"""The largest load under an SLO, per config, and what serving a given load takes in replicas, devices and dollars.

A load counts as good when all bounds hold, the config fits its devices, and (for a rate) the offered requests are
answered. Bounds are checked at central values; simulated percentiles are of that many requests.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.prediction import Bools, Floats
from model.simulate.traffic import Traffic
from perfdb.errors import InputError
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid
from perfdb.store import Store
from search.bisect import Bracket, largest_good
from servecast.load_curves import KEEPS_UP, Answers, Curve, ModelCurve, simulated_curve
from servecast.pricing import dollars_per_mtok
from servecast.slo import Slo, met
from servecast.space import devices_of
from servecast.whatif import WhatIf, surrogate

TOLERANCE = 0.02
RATES = tuple(2.0**power for power in range(-10, 15))
LEVELS = tuple(2.0**power for power in range(13))
SHOWN = ("ttft_s", "tpot_s", "output_tps", "request_tps")


@dataclass(frozen=True)
class CapacityQuestion:
    """What is asked: configs (of `asked`, whose load says whether by rate or by concurrency), bounds and prices.

    `traffic` is what is simulated, where `requests` is not None; `devices` how many there are in all, `total_rate` the
    requests/s to be served in all. n replicas serve n · `efficiency` times as much as one.
    """

    asked: WhatIf
    slos: tuple[Slo, ...]
    traffic: Traffic
    requests: int | None = None
    seed: int = 0
    devices: int | None = None
    total_rate: float | None = None
    efficiency: float = 1.0
    usd_per_hour: float | None = None

    @property
    def is_rate(self) -> bool:
        """Whether the load is a rate of requests."""
        return self.asked.workload.request_rate is not None

    @property
    def price(self) -> float | None:
        """Dollars per device and hour: as said, else the platform's list price."""
        return self.usd_per_hour or platform(self.asked.platform).usd_per_hour


def capacity(question: CapacityQuestion, store: Store) -> dict[str, Any]:
    """Find the capacities of the product of the given values; returns the document of the command, best first.

    Raises:
        InputError: a metric cannot be predicted (or simulated), a parameter is wrong, or no devices are enough.
        UnknownNameError: the model, platform, engine or a parameter is not known.
    """
    started = time.process_time()
    grid = question.asked.grid()
    rows: list[dict[str, Any]] = []
    evaluations = 0
    for places, curve in _curves(question, grid, store):
        found = _bracket(question, curve)
        evaluations += found.evaluations
        configs = [dict(grid.config(row)) if question.asked.sets else {} for row in places.tolist()]
        rows += _rows(question, curve, found, configs)
    rows.sort(key=lambda row: _rank(row, question.total_rate is not None))
    return {
        "rows": rows,
        "configs": len(rows),
        "slo": [str(slo) for slo in question.slos],
        "by": "rate" if question.is_rate else "concurrency",
        "method": "model" if question.requests is None else "simulate",
        "tolerance": TOLERANCE,
        "evaluations": evaluations,
        "cpu_s": time.process_time() - started,
    }


def _curves(question: CapacityQuestion, grid: Grid, store: Store) -> Iterator[tuple[npt.NDArray[np.int64], Curve]]:
    """Rows of the grid, and what answers for them: all at once, or one by one where they are simulated."""
    asked = question.asked
    devices = devices_of(grid, asked.facts)
    names = tuple(dict.fromkeys([*(slo.name for slo in question.slos), *SHOWN]))
    if question.requests is None:
        yield np.arange(len(grid)), ModelCurve(asked, grid, surrogate(store), names, devices)
        return
    for row in range(len(grid)):
        config = dict(grid.config(row)) if asked.sets else {}
        size = question.requests, question.seed
        yield np.array([row]), simulated_curve(asked, config, question.traffic, size, names, int(devices[row]), store)


def _bracket(question: CapacityQuestion, curve: Curve) -> Bracket:
    """Where bounds that more load breaks still hold; those that it helps to keep must hold there."""
    slos = [tuple(slo for slo in question.slos if _is_helped(slo) == helped) for helped in (False, True)]

    def meets(loads: Floats) -> Bools:
        answers = curve.at(loads)
        keeps = met(slos[0], answers.metrics) if slos[0] else np.ones(len(loads), dtype=bool)
        return keeps & answers.feasible & (answers.served >= KEEPS_UP)

    rungs = RATES if question.is_rate else LEVELS
    found = largest_good(meets, len(curve.devices), rungs, TOLERANCE, is_whole=not question.is_rate)
    if not slos[1]:
        return found
    kept = met(slos[1], curve.at(np.maximum(found.low, rungs[0])).metrics)
    # what is still too little at the most load that the others allow is too little everywhere
    return replace(found, low=np.where(kept, found.low, 0.0), high=np.where(kept, found.high, found.low))


def _is_helped(slo: Slo) -> bool:
    """Whether more load helps to keep a bound: tokens/s of a whole server, and what a token costs."""
    return slo.name == "cost_per_mtok" or (slo.is_floor and not slo.name.endswith("_per_user"))


def _rows(
    question: CapacityQuestion, curve: Curve, found: Bracket, configs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    least = RATES[0] if question.is_rate else LEVELS[0]
    good = curve.at(np.maximum(found.low, least))
    bad = curve.at(np.where(np.isinf(found.high), np.maximum(found.low, least), np.maximum(found.high, least)))
    return [
        {
            "config": dict(config),
            "feasible": bool(good.feasible[row]),
            "reason": good.reasons.get(row),
            "capacity": float(found.low[row]),
            "binds": None if np.isinf(found.high[row]) else _binding(question.slos, bad, row),
            **_worth(question, good, float(found.low[row]), int(curve.devices[row]), row),
            "provenance": str(good.provenance[row]),
        }
        for row, config in enumerate(configs)
    ]


def _binding(slos: Sequence[Slo], bad: Answers, row: int) -> str | None:
    """What is violated most just above the capacity; nothing where the config does not fit at all."""
    if not bad.feasible[row]:
        return None
    worst = {str(slo): float(slo.violation(bad.metrics[slo.name])[row]) for slo in slos}
    worst["throughput"] = KEEPS_UP / max(float(bad.served[row]), 1e-9)
    return max(worst, key=worst.__getitem__)


def _worth(question: CapacityQuestion, good: Answers, load: float, devices: int, row: int) -> dict[str, Any]:
    """Metrics at the capacity, and what they are worth; None where no load is good."""
    if load == 0:
        total = {"total": None} if question.total_rate or question.devices else {}
        nothing = {"request_tps": 0.0, "output_tps": 0.0, "request_tps_per_device": 0.0, "cost_per_mtok": None}
        return {"at": None, "devices": devices, **nothing, **total}
    at = {name: float(values[row]) for name, values in good.metrics.items()}
    osl = at["output_tps"] / at["request_tps"]
    rate = load if question.is_rate else at["request_tps"]
    price = question.price
    cost = None if price is None else float(dollars_per_mtok(rate * osl, price, devices))
    return {
        "at": at,
        "devices": devices,
        "request_tps": rate,
        "output_tps": rate * osl,
        "request_tps_per_device": rate / devices,
        "cost_per_mtok": cost,
        **_total(question, rate, osl, devices),
    }


def _total(question: CapacityQuestion, rate: float, osl: float, devices: int) -> dict[str, Any]:
    """Replicas for the load in all, as many as it takes or as there are devices for."""
    wanted, there = question.total_rate, question.devices
    if wanted is None and there is None:
        return {}
    most = None if there is None else there // devices
    if wanted is None:
        replicas = most or 0
    else:
        replicas = 1 if wanted <= rate else int(np.ceil(wanted / (rate * question.efficiency) - 1e-9))
    served = rate * replicas * (question.efficiency if replicas > 1 else 1.0)
    price, asked = question.price, served if wanted is None else min(wanted, served)
    used = replicas * devices
    return {
        "total": {
            "replicas": replicas,
            "devices": used,
            "devices_left": None if there is None else there - used,
            "fits": most is None or replicas <= most,
            "request_tps": served,
            "usd_per_hour": None if price is None else price * used,
            "cost_per_mtok": None
            if price is None or not replicas
            else float(dollars_per_mtok(asked * osl, price, used)),
        }
    }


def _rank(row: Mapping[str, Any], has_rate: bool) -> tuple[float, ...]:
    """Fewest devices for the rate in all, most requests of the devices there are, or most per device."""
    total = row.get("total")
    if not row["capacity"]:
        return (2.0, 0.0, 0.0)
    if total is None:
        return (0.0, -row["request_tps_per_device"], 0.0)
    return (0.0 if total["fits"] else 1.0, total["devices"] if has_rate else -total["request_tps"], row["devices"])


def question_of(asked: WhatIf, traffic: Traffic, by: str, slos: tuple[Slo, ...], **more: Any) -> CapacityQuestion:
    """The question of a command: the workload of `asked` with a load of the kind `by`, whose amount does not count.

    Raises:
        InputError: `by` is neither, or a number of the rest is out of range.
    """
    if by not in {"rate", "concurrency"}:
        raise InputError.at("--by", f"{by!r}", "rate or concurrency")
    plain = replace(asked.workload, request_rate=None, concurrency=None, batch_size=None, arrival=None)
    is_constant = traffic.burstiness == np.inf
    loads = {
        "rate": replace(plain, request_rate=1.0, arrival=Arrival.CONSTANT if is_constant else Arrival.POISSON),
        "concurrency": replace(plain, concurrency=1, arrival=Arrival.CLOSED),
    }
    for name, value in more.items():
        if name in {"total_rate", "efficiency", "usd_per_hour"} and value is not None and not 0 < value < 1e9:
            raise InputError.at(f"--{name.replace('_', '-')}", f"{value}", "a number above 0")
    if more.get("efficiency", 1.0) > 1.0:
        raise InputError.at("--efficiency", f"{more['efficiency']}", "at most 1")
    return CapacityQuestion(replace(asked, workload=loads[by]), slos, traffic, **more)
