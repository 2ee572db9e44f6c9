"""What a config does under a load, by the closed form for a whole grid at once, or by simulating one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from model.load import load_of
from model.prediction import Bools, Floats
from model.simulate.run import KEEPS_UP
from model.simulate.trace import Trace
from model.simulate.traffic import Traffic, sampled
from model.surrogate import Surrogate
from perfdb.errors import InputError, RefusedError
from perfdb.records import Grid
from servecast.predicting.whatif import WhatIf

_WAVES = 10
"""A closed loop is simulated for so many requests per place in it."""
_LEAST_S, _LIVES = 60.0, 10.0
"""A rate is simulated for so many seconds, and times as long as half of the requests take: in less time an overload
builds up no queue, but fills places that are still free."""
_CONVERSATIONS = 100.0
"""And for so many times as long as a conversation takes: a cache that pauses leave full is thrown over by a burst after
a long time only, and then what was said is no longer in it, so that all takes longer."""
_LONGER = 4
"""A run that tells nothing is followed by one of so many times the requests at most: most overloads show early."""
_NEARLY = 0.8
"""Share of what is enough that will do: requests take a little longer in each longer run."""
_MOST_REQUESTS = 200_000
SIMULATED = np.array(["simulated"], dtype=object)
GAPS = ("tpot_s", "itl_s")
"""Metrics of the time between tokens, which answers of one token have not."""


@dataclass(frozen=True)
class Answers:
    """n configs, each under its own load: metrics (`n` each, NaN where unknown), which fit, and where it is from.

    `served` is the share of the offered requests that are answered: 1 in a closed loop. `limits` is the busiest stage
    of two pools, None where that is not asked or not known.
    """

    metrics: Mapping[str, Floats]
    served: Floats
    feasible: Bools
    reasons: Mapping[int, str]
    provenance: npt.NDArray[Any]
    limits: npt.NDArray[Any] | None = None

    @classmethod
    def refused(cls, names: Sequence[str], reason: str) -> Answers:
        """Of one config that cannot serve its load."""
        nothing = dict.fromkeys(names, np.full(1, np.nan))
        return cls(nothing, np.ones(1), np.zeros(1, dtype=bool), {0: reason}, SIMULATED)


class Curve(Protocol):
    """Answers n configs, whose numbers of devices are known, under any loads."""

    @property
    def devices(self) -> npt.NDArray[np.int64]:
        """Devices of each config, n."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What stands in for what in the answers so far."""
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
    warnings: Sequence[str] = ()

    def at(self, loads: Floats) -> Answers:
        """See `Curve`.

        Raises:
            InputError: a metric cannot be predicted, or a parameter's value cannot be right.
        """
        n = len(self.grid)
        metrics = {name: np.full(n, np.nan) for name in self.names}
        served, feasible, reasons = np.ones(n), np.zeros(n, dtype=bool), dict[int, str]()
        provenance = np.empty(n, dtype=object)
        for rows, question in self.asked.questions(self.grid, self.model.scenarios):
            load = replace(load_of(question.workload, len(rows)), amount=loads[rows])
            found = self.model.predict(question, tuple(self.names), load=load)
            for name in self.names:
                has_none = name.startswith(GAPS) and not load.osl[0] > 1
                metrics[name][rows] = np.nan if has_none else found.metrics[name].mean
            feasible[rows], provenance[rows] = found.feasible, found.provenance
            reasons |= {int(rows[row]): why for row, why in found.reasons.items()}
            if self.asked.workload.request_rate is not None:
                served[rows] = found.metrics["request_tps"].mean / loads[rows]
        return Answers(metrics, served, feasible, reasons, provenance)


class Part(NamedTuple):
    """n of what is asked about: what each is called in a document, what it does, and dollars per hour (`n`; None: the
    price is not known)."""

    labels: Sequence[Mapping[str, Any]]
    curve: Curve
    hourly: Floats | None


class Serving(Protocol):
    """A deployment that serves one trace after the other."""

    @property
    def warnings(self) -> Sequence[str]:
        """What stands in for what."""
        ...

    def serve(self, trace: Trace) -> dict[str, Any]:
        """What users would have measured.

        Raises:
            InputError: a request cannot be served.
        """
        ...


@dataclass(frozen=True)
class RefusedCurve:
    """One config that serves no load at all."""

    reason: str
    names: Sequence[str]
    devices: npt.NDArray[np.int64]
    warnings: Sequence[str] = ()

    def at(self, loads: Floats) -> Answers:
        """See `Curve`."""
        return Answers.refused(self.names, self.reason)


@dataclass(frozen=True)
class Simulated:
    """How deployments are simulated: what is sent, at least so many `requests` a run, the `seed`, whether a rate or a
    number of requests in flight is sought, and the metrics that are asked for."""

    traffic: Traffic
    requests: int
    seed: int
    is_rate: bool
    names: Sequence[str]

    def curve(self, devices: int, server_for: Callable[[Trace], Serving]) -> Curve:
        """A deployment of so many devices, made by `server_for` for requests such as those of a trace.

        Raises:
            See `server_for`; what no server would do is a curve, too.
        """
        trace = sampled(self.traffic.under(concurrency=1), min(self.requests, 2000), self.seed)
        count = np.array([devices])
        try:
            return SimulatedCurve(server_for(trace), self, count)
        except RefusedError as error:
            return RefusedCurve(str(error), self.names, count)

    def under(self, load: float, seconds: float = _LEAST_S) -> Trace:
        """The same requests and gaps (scaled) under every load; a rate for so many seconds."""
        if self.is_rate:
            count = min(max(self.requests, round(load * seconds)), _MOST_REQUESTS)
            return sampled(self.traffic.under(rate=load), count, self.seed)
        places = max(round(load), 1)
        return sampled(self.traffic.under(concurrency=places), max(self.requests, _WAVES * places), self.seed)

    def enough(self, load: float, answer: Mapping[str, Any]) -> int:
        """How many requests tell whether a load is served, by the `answer` of those that were; any of them tell that it
        is not, and of a closed loop that it is."""
        if not self.is_rate or answer["kept_up"] < KEEPS_UP:
            return 0
        talk, e2e = self.traffic.conversations, answer["e2e_s"]
        seconds = _LIVES * e2e["p50"] if talk is None else _CONVERSATIONS * talk.life_s(e2e["mean"])
        return min(round(load * seconds), _MOST_REQUESTS)


@dataclass(frozen=True)
class SimulatedCurve:
    """One deployment, request by request."""

    server: Serving
    how: Simulated
    devices: npt.NDArray[np.int64]
    _known: dict[float, dict[str, Any]] = field(default_factory=dict)

    @property
    def warnings(self) -> Sequence[str]:
        """See `Curve`."""
        return self.server.warnings

    def at(self, loads: Floats) -> Answers:
        """See `Curve`; of one deployment.

        Raises:
            InputError: a metric is not simulated.
        """
        load = float(loads[0])
        if load not in self._known:
            self._known[load] = self._run(load)
        answer = self._known[load]
        if "refused" in answer:
            return Answers.refused(self.how.names, answer["refused"])
        metrics = {name: np.array([simulated_value(answer, name)]) for name in self.how.names}
        return Answers(metrics, np.array([answer["served"]]), np.ones(1, dtype=bool), {}, SIMULATED)

    def _run(self, load: float) -> dict[str, Any]:
        try:
            answer = self.server.serve(self.how.under(load))
            while answer["requests"] < _NEARLY * self.how.enough(load, answer):
                seconds = min(_LONGER * answer["requests"], self.how.enough(load, answer)) / load
                answer = self.server.serve(self.how.under(load, seconds))
        except InputError as error:  # this config can never serve these requests; others may
            return {"refused": str(error)}
        return {**answer, "served": answer["kept_up"] if self.how.is_rate else 1.0}


def simulated_value(answer: Mapping[str, Any], name: str) -> float:
    """One metric of the document of a simulated run; of a latency its mean, or the percentile that is asked for.

    Raises:
        InputError: it is not simulated.
    """
    found = answer.get(name)
    base, _, statistic = name.rpartition("_")
    if "mean" in _spread(found):
        return float(_spread(found)["mean"])
    if isinstance(found, int | float):
        return float(found)
    if statistic in _spread(answer.get(base)):
        return float(answer[base][statistic])
    known = [key for key, value in answer.items() if key.endswith("_tps") or "mean" in _spread(value)]
    expected = f"one of {', '.join(known)}; latencies also with _p50, _p90, _p95 or _p99"
    raise InputError.at(f"metric {name}", "not simulated", expected)


def _spread(value: object) -> Mapping[str, float]:
    """Mean and percentiles of a metric; of anything else nothing."""
    return value if isinstance(value, Mapping) else {}
