"""The largest load under an SLO, per config, and what serving a given load takes in replicas, devices and dollars.

A load counts as good when all bounds hold, the config fits its devices, and (for a rate) the offered requests are
answered. Bounds are checked at central values; simulated percentiles are of that many requests.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any

import numpy as np

from model.prediction import Bools, Floats
from model.simulate.run import KEEPS_UP
from model.simulate.traffic import Traffic
from model.tables.said import listening
from perfdb.errors import InputError
from perfdb.facts.platforms import platform
from perfdb.records import Arrival
from perfdb.store import Store
from search.bisect import Bracket, largest_good
from servecast.predicting.disagg import DisaggAsked
from servecast.predicting.load_curves import Answers, Curve, ModelCurve, Part, Simulated
from servecast.predicting.modes import AGGREGATED, Mode
from servecast.predicting.parameters import unseen_parameters
from servecast.predicting.pool_curves import pool_parts
from servecast.predicting.whatif import WhatIf, surrogate
from servecast.pricing import dollars_per_mtok
from servecast.simulation.simulating import server_of
from servecast.slo import Slo, check_gaps, met
from servecast.tuning.space import devices_of

TOLERANCE = 0.02
RATES = tuple(2.0**power for power in range(-10, 15))
LEVELS = tuple(2.0**power for power in range(13))
SHOWN = ("ttft_s", "tpot_s", "output_tps", "request_tps")


@dataclass(frozen=True)
class CapacityQuestion:
    """What is asked: configs (of `asked`, whose load says whether by rate or by concurrency), bounds and prices.

    `traffic` is what is simulated, where `requests` is not None; `devices` how many there are in all, `total_rate` the
    requests/s to be served in all. n replicas serve n · `efficiency` times as much as one. In the `mode` of two pools a
    replica is one unit of them.
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
    mode: Mode = AGGREGATED

    @property
    def pools(self) -> DisaggAsked | None:
        """The question about one unit of two pools; None about whole servers."""
        if self.mode.sharing is None:
            return None
        return DisaggAsked(self.asked, self.mode.decode, replace(self.mode.sharing, devices=self.devices))

    @property
    def is_rate(self) -> bool:
        """Whether the load is a rate of requests."""
        return self.asked.workload.request_rate is not None


def capacity(question: CapacityQuestion, store: Store) -> dict[str, Any]:
    """Find the capacities of the product of the given values; returns the document of the command, best first.

    Raises:
        InputError: a metric cannot be predicted (or simulated), a parameter is wrong, or no devices are enough.
        UnknownNameError: the model, platform, engine or a parameter is not known.
    """
    started = time.process_time()
    rows: list[dict[str, Any]] = []
    evaluations, said = 0, set[str]()
    with question.asked.telling_rows():
        for part in _parts(question, store):
            with listening() as heard:
                found = _bracket(question, part.curve)
                rows += _rows(question, part, found)
            evaluations += found.evaluations
            said |= heard | set(part.curve.warnings)
    rows.sort(key=lambda row: _rank(row, question.total_rate is not None))
    return {
        "mode": question.mode.name,
        "rows": rows,
        "configs": len(rows),
        "slo": [str(slo) for slo in question.slos],
        "by": "rate" if question.is_rate else "concurrency",
        "method": "model" if question.requests is None else "simulate",
        "tolerance": TOLERANCE,
        "evaluations": evaluations,
        "warnings": sorted(said),
        **({} if question.pools is None else {"link_bytes_s": question.pools.link_bytes_s}),
        "cpu_s": time.process_time() - started,
    }


def _parts(question: CapacityQuestion, store: Store) -> Iterator[Part]:
    """All that is asked about at once, or one by one where it is simulated."""
    asked, requests, pools = question.asked, question.requests, question.pools
    names = tuple(dict.fromkeys([*(slo.name for slo in question.slos), *SHOWN]))
    how = requests and Simulated(question.traffic, requests, question.seed, question.is_rate, names)
    if pools is not None:
        yield from pool_parts(pools, names, how or None, question.usd_per_hour, store)
        return
    grid = asked.grid()
    devices = devices_of(grid, asked.facts)
    price = question.usd_per_hour or platform(asked.platform).usd_per_hour
    hourly: Floats | None = None if price is None else price * devices.astype(np.float64)
    configs = [asked.said(grid.config(row)) for row in range(len(grid))]
    if not how:
        unseen = [*unseen_parameters(asked.facts, asked.settings), *asked.notes]
        curve = ModelCurve(asked, grid, surrogate(store), names, devices, unseen)
        yield Part([{"config": config} for config in configs], curve, hourly)
        return
    for row, config in enumerate(configs):
        server = partial(server_of, asked.model, asked.platform, asked.engine, config, store=store)
        usd = None if hourly is None else hourly[row : row + 1]
        yield Part([{"config": config}], how.curve(int(devices[row]), server), usd)


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


def _rows(question: CapacityQuestion, part: Part, found: Bracket) -> list[dict[str, Any]]:
    curve, least = part.curve, RATES[0] if question.is_rate else LEVELS[0]
    good = curve.at(np.maximum(found.low, least))
    bad = curve.at(np.where(np.isinf(found.high), np.maximum(found.low, least), np.maximum(found.high, least)))
    return [
        {
            **label,
            "feasible": bool(good.feasible[row]),
            "reason": good.reasons.get(row),
            "capacity": float(found.low[row]),
            "binds": None if np.isinf(found.high[row]) else _binding(question.slos, bad, row),
            **({} if good.limits is None else {"limits": str(good.limits[row])}),
            **_worth(question, good, float(found.low[row]), part, row),
            "provenance": str(good.provenance[row]),
        }
        for row, label in enumerate(part.labels)
    ]


def _binding(slos: Sequence[Slo], bad: Answers, row: int) -> str | None:
    """What is violated most just above the capacity; nothing where the config does not fit at all."""
    if not bad.feasible[row]:
        return None
    worst = {str(slo): float(slo.violation(bad.metrics[slo.name])[row]) for slo in slos}
    worst["throughput"] = KEEPS_UP / max(float(bad.served[row]), 1e-9)
    return max(worst, key=worst.__getitem__)


def _worth(question: CapacityQuestion, good: Answers, load: float, part: Part, row: int) -> dict[str, Any]:
    """Metrics at the capacity, and what they are worth; None where no load is good."""
    devices = int(part.curve.devices[row])
    if load == 0:
        total = {"total": None} if question.total_rate or question.devices else {}
        nothing = {"request_tps": 0.0, "output_tps": 0.0, "request_tps_per_device": 0.0, "cost_per_mtok": None}
        return {"at": None, "devices": devices, **nothing, **total}
    at = {name: float(values[row]) for name, values in good.metrics.items()}
    osl = at["output_tps"] / at["request_tps"]
    rate = load if question.is_rate else at["request_tps"]
    replica = _Replica(rate, osl, devices, None if part.hourly is None else float(part.hourly[row]))
    return {
        "at": at,
        "devices": devices,
        "request_tps": rate,
        "output_tps": rate * osl,
        "request_tps_per_device": rate / devices,
        "cost_per_mtok": replica.cost_per_mtok(rate, 1),
        **_total(question, replica),
    }


@dataclass(frozen=True)
class _Replica:
    """What one config serves: requests/s, each of `osl` tokens; its devices, and dollars per hour for all of them."""

    rate: float
    osl: float
    devices: int
    usd_per_hour: float | None

    def cost_per_mtok(self, rate: float, count: int) -> float | None:
        """Dollars per million output tokens of so many replicas that serve a rate together."""
        if self.usd_per_hour is None or not count:
            return None
        return float(dollars_per_mtok(rate * self.osl, self.usd_per_hour, count))


def _total(question: CapacityQuestion, replica: _Replica) -> dict[str, Any]:
    """Replicas for the load in all, as many as it takes or as there are devices for."""
    wanted, there = question.total_rate, question.devices
    if wanted is None and there is None:
        return {}
    most = None if there is None else there // replica.devices
    if wanted is None:
        replicas = most or 0
    else:
        replicas = 1 if wanted <= replica.rate else ceil(wanted / (replica.rate * question.efficiency) - 1e-9)
    served = replica.rate * replicas * (question.efficiency if replicas > 1 else 1.0)
    used, usd = replicas * replica.devices, replica.usd_per_hour
    return {
        "total": {
            "replicas": replicas,
            "devices": used,
            "devices_left": None if there is None else there - used,
            "fits": most is None or 0 < replicas <= most,
            "request_tps": served,
            "usd_per_hour": None if usd is None else usd * replicas,
            "cost_per_mtok": replica.cost_per_mtok(served if wanted is None else min(wanted, served), replicas),
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
        InputError: `by` is neither, a number of the rest is out of range, or what is bounded is not there.
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
            raise InputError.at(f"--{name.replace('_', '-')}", f"{value:g}", "a number above 0 and below 1e9")
    if more.get("efficiency", 1.0) > 1.0:
        raise InputError.at("--efficiency", f"{more['efficiency']}", "at most 1")
    check_gaps(slos, (plain.osl or 0.0) > 1)
    return CapacityQuestion(replace(asked, workload=loads[by]), slos, traffic, **more)
