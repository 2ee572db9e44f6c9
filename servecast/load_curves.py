"""What a config does under a load, by the closed form for a whole grid at once, or by simulating one config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from model.load import load_of
from model.prediction import Bools, Floats
from model.simulate.trace import Trace
from model.simulate.traffic import Traffic, sampled
from model.surrogate import Surrogate
from perfdb.errors import InputError
from perfdb.records import Grid, Scalar
from perfdb.store import Store
from servecast.simulating import Server, server_of
from servecast.whatif import WhatIf

KEEPS_UP = 0.98
"""Share of the offered requests that must be answered for a rate to count as served."""
_WAVES = 10
"""A closed loop is simulated for so many requests per place in it."""
_LEAST_S = 60.0
"""A rate is simulated for so many seconds: in less time an overload builds up no queue."""
_MOST_REQUESTS = 200_000


@dataclass(frozen=True)
class Answers:
    """n configs, each under its own load: metrics (`n` each, NaN where unknown), which fit, and where it is from.

    `served` is the share of the offered requests that are answered: 1 in a closed loop.
    """

    metrics: Mapping[str, Floats]
    served: Floats
    feasible: Bools
    reasons: Mapping[int, str]
    provenance: npt.NDArray[Any]


class Curve(Protocol):
    """Answers n configs, whose numbers of devices are known, under any loads."""

    @property
    def devices(self) -> npt.NDArray[np.int64]:
        """Devices of each config, n."""
        ...

    def at(self, loads: Floats) -> Answers:
        """Every config under its load (requests/s, or requests in flight), n."""
        ...


@dataclass(frozen=True)
class ModelCurve:
    """The closed form with what the database taught."""

    asked: WhatIf
    grid: Grid
    model: Surrogate
    names: Sequence[str]
    devices: npt.NDArray[np.int64]

    def at(self, loads: Floats) -> Answers:
        """See `Curve`.

        Raises:
            InputError: a metric cannot be predicted, or a parameter's value cannot be right.
        """
        n = len(self.grid)
        metrics = {name: np.full(n, np.nan) for name in self.names}
        served, feasible, reasons = np.ones(n), np.zeros(n, dtype=bool), dict[int, str]()
        provenance = np.empty(n, dtype=object)
        for rows, question in self.asked.questions(self.grid):
            load = replace(load_of(question.workload, len(rows)), amount=loads[rows])
            found = self.model.predict(question, tuple(self.names), load=load)
            for name in self.names:
                metrics[name][rows] = found.metrics[name].mean
            feasible[rows], provenance[rows] = found.feasible, found.provenance
            reasons |= {int(rows[row]): why for row, why in found.reasons.items()}
            if self.asked.workload.request_rate is not None:
                served[rows] = found.metrics["request_tps"].mean / loads[rows]
        return Answers(metrics, served, feasible, reasons, provenance)


@dataclass(frozen=True)
class SimulatedCurve:
    """One config with all its replicas, request by request; the same requests and gaps (scaled) under every load."""

    server: Server
    traffic: Traffic
    requests: int
    seed: int
    is_rate: bool
    names: Sequence[str]
    devices: npt.NDArray[np.int64]
    _known: dict[float, dict[str, Any]] = field(default_factory=dict)

    def at(self, loads: Floats) -> Answers:
        """See `Curve`; of one config.

        Raises:
            InputError: a metric is not simulated.
        """
        load = float(loads[0])
        if load not in self._known:
            self._known[load] = self._run(load)
        answer = self._known[load]
        refused, provenance = answer.get("refused"), np.array(["simulated"], dtype=object)
        if refused is not None:
            nothing = dict.fromkeys(self.names, np.full(1, np.nan))
            return Answers(nothing, np.ones(1), np.zeros(1, dtype=bool), {0: refused}, provenance)
        metrics = {name: np.array([_value(answer, name)]) for name in self.names}
        return Answers(metrics, np.array([answer["served"]]), np.ones(1, dtype=bool), {}, provenance)

    def _run(self, load: float) -> dict[str, Any]:
        if self.is_rate:
            count = min(max(self.requests, round(load * _LEAST_S)), _MOST_REQUESTS)
            trace = sampled(self.traffic.under(rate=load), count, self.seed)
        else:
            places = max(round(load), 1)
            trace = sampled(self.traffic.under(concurrency=places), max(self.requests, _WAVES * places), self.seed)
        try:
            answer = self.server.serve(trace)
        except InputError as error:  # this config can never serve these requests; others may
            return {"refused": str(error)}
        return {**answer, "served": _kept_up(trace, answer) if self.is_rate else 1.0}


def _kept_up(trace: Trace, answer: Mapping[str, Any]) -> float:
    """Share of the offered requests that were answered while they came; the last one takes its time anyway."""
    came = float(trace.arrival_s.max() - trace.arrival_s.min())
    took = float(answer["duration_s"]) - answer["e2e_s"]["p99"]
    return min(came / took, 1.0) if took > 0 else 1.0


def _value(answer: Mapping[str, Any], name: str) -> float:
    found = answer.get(name)
    base, _, statistic = name.rpartition("_")
    if isinstance(found, Mapping):
        return float(found["mean"])
    if found is not None:
        return float(found)
    spread = answer.get(base)
    if isinstance(spread, Mapping) and statistic in spread:
        return float(spread[statistic])
    known = [key for key, value in answer.items() if isinstance(value, Mapping) or key.endswith("_tps")]
    expected = f"one of {', '.join(known)}; latencies also with _p50, _p90, _p95 or _p99"
    raise InputError.at(f"metric {name}", "not simulated", expected)


def simulated_curve(
    asked: WhatIf, config: Mapping[str, Scalar], traffic: Traffic, size: tuple[int, int], names: Sequence[str],
    devices: int, store: Store,
) -> SimulatedCurve:  # fmt: skip
    """A config to be simulated, with (requests, seed) of each run.

    Raises:
        See `servecast.simulating.server_of`.
    """
    requests, seed = size
    is_rate = asked.workload.request_rate is not None
    trace = sampled(traffic.under(concurrency=1), min(requests, 2000), seed)
    server = server_of(asked.model, asked.platform, asked.engine, config, trace, store)
    return SimulatedCurve(server, traffic, requests, seed, is_rate, names, np.array([devices]))
