"""Prefill and decode on devices of their own, in closed form, for a whole product of both pools' configs at once.

A *unit* is x prefill workers and y decode workers; as many units as there are devices for share the load. A request is
prefilled, its KV cache moves over the link, and it decodes: its first token shows when it has a place in the decode
pool. Throughput is that of the slowest of prefill, link and decode; see `model.disagg.flow` for what is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.closed_form.convoy import DEFAULT_WAVES
from model.closed_form.queueing import MOST_LOAD, in_flight
from model.derived import can_predict, percentile
from model.disagg.decoding import Spent, spent
from model.disagg.feasibility import feasibility
from model.disagg.flow import (
    ACTIVE,
    MOVE_S,
    PROMPT_S,
    RATE,
    STEP_S,
    WAIT_S,
    Units,
    before_decode,
    closed_loop,
    steps_at,
)
from model.disagg.lessons import correction
from model.disagg.metrics import Analytic, estimates
from model.disagg.pools import LEVELS, Pool, link_bytes_s
from model.disagg.units import ALONE, STAGES, Deployments, Shared, Sharing, shared_out
from model.learning.lessons import Lessons
from model.learning.scenario import ScenarioIndex
from model.load import VARIATION, Load
from model.prediction import Bools, Estimate, Floats
from model.question import Question
from perfdb.errors import InputError

Ints = npt.NDArray[np.int64]
_UNTOLD = 1000.0
"""Requests that come at a rate, where nobody says how many are sent."""
_ROW_S = 3e-3
"""What a row takes in plain Python at most; see `model.loops`."""


@dataclass(frozen=True)
class Asked:
    """n deployments of a prefill pool, of configs of one grid, and a decode pool, of configs of another.

    Both questions are of one model, engine and workload; a config is that of one worker. `amounts` are requests/s or in
    flight of each deployment, n, where they are not the workload's own.
    """

    prefill: Question
    decode: Question
    deployments: Deployments
    sharing: Sharing = ALONE
    amounts: Floats | None = None

    @property
    def link_bytes_s(self) -> float:
        """Bytes/s from a device of one pool to one of the other: as said, else as the platforms have it."""
        return self.sharing.link or link_bytes_s(self.prefill.platform, self.decode.platform)


@dataclass(frozen=True)
class Answer:
    """What n deployments do. `metrics` as of a grid; `replicas` of the unit, `gpus` they take and `left_over`; `stages`
    the analytic seconds of a request (`prefill`, `transfer`, `wait`, `decode`: `n` each), `utilisation` of each of
    `STAGES`, and of the router where it is limited, `active` the sequences in each decode engine; `learned` whether
    runs of whole servers corrected it."""

    deployments: Deployments
    metrics: Mapping[str, Estimate]
    feasible: Bools
    reasons: Mapping[int, str]
    replicas: Ints
    gpus: Ints
    left_over: Ints
    stages: Mapping[str, Floats]
    utilisation: Mapping[str, Floats]
    active: Floats
    learned: bool

    def estimate(self, name: str) -> Estimate:
        """A metric, with a statistic or without.

        Raises:
            InputError: it is not predicted of two pools.
        """
        if not self.predicts(name):
            right = f"one of {', '.join(self.metrics)}; latencies also with a statistic"
            raise InputError.at(f"metric {name}", "not predicted of two pools", right)
        return self.metrics[name] if name in self.metrics else percentile(self.metrics, name)

    def predicts(self, name: str) -> bool:
        """Whether there is an estimate of that name."""
        return name in self.metrics or (can_predict(name) and name.rpartition("_")[0] in self.metrics)

    @cached_property
    def limits(self) -> npt.NDArray[np.str_]:
        """Which part of `utilisation` is the busiest, by name, `n`."""
        busiest = np.argmax(np.stack(list(self.utilisation.values())), axis=0)
        return np.asarray(np.array([*self.utilisation])[busiest], dtype=np.str_)


def disaggregated(asked: Asked, lessons: Lessons | None = None, index: ScenarioIndex | None = None) -> Answer:
    """Predict n deployments; `lessons` are of whole servers of this model, and so are the runs of an `index`, of which
    those count that failed.

    Raises:
        InputError: the workload cannot be served so, or a parameter's value cannot be right.
    """
    pools = _pools(asked)
    shared = shared_out(pools, asked.deployments, asked.sharing, asked.link_bytes_s, asked.amounts)
    rows_s = _ROW_S * len(shared.load)
    flow = _open(shared) if shared.is_open else closed_loop.taking(rows_s)(shared.units, shared.load)
    return _answer(asked, pools, shared, flow, lessons, index)


def filled(asked: Asked) -> tuple[Deployments, Ints]:
    """The deployments with workers that are not given matched to more requests than can be served, and the devices of
    either pool of a unit, `n x 2`.

    Raises:
        See `disaggregated`.
    """
    endless = np.full(len(asked.deployments.prefill), np.inf)
    shared = shared_out(_pools(asked), asked.deployments, asked.sharing, asked.link_bytes_s, endless)
    x, y = shared.workers.T
    return replace(asked.deployments, prefill_workers=x, decode_workers=y), shared.device_counts


def _pools(asked: Asked) -> tuple[Pool, Pool]:
    workload = asked.decode.workload
    pools = Pool.of(asked.prefill, replace(workload, osl=1)), Pool.of(asked.decode, workload)
    _check(pools[1].points.load)
    return pools


def _check(load: Load) -> None:
    if load.is_batch.any():
        raise InputError.at("load", "one static batch passes two pools once", "--concurrency or --rate")
    if load.osl[0] < 2:
        raise InputError.at("osl", f"{load.osl[0]:g}: nothing is left to the decode pool", "2 or more")


def _open(shared: Shared) -> Floats:
    """The flow of units at which requests arrive at random, `n x 6`."""
    units, held = shared.units, np.minimum(shared.load, MOST_LOAD * shared.capacity)
    flow = before_decode.taking(_ROW_S * len(held))(units, held)
    # many deployments have the same decode pool at the same rate
    key = np.stack([units.place, units.decode_engines, held], axis=1)
    _, first, which = np.unique(key, axis=0, return_index=True, return_inverse=True)
    active, waiting = (found[which.ravel()] for found in _decoding(units, first, held))
    flow[:, ACTIVE] = active / units.decode_engines
    flow[:, STEP_S] = active / (held * units.steps)
    alone = steps_at.taking(1e-5 * len(held))(units, flow[:, ACTIVE])
    flow[:, WAIT_S] = waiting / held + alone / 2.0 * np.minimum(flow[:, ACTIVE], 1.0)
    flow[:, RATE] = np.minimum(shared.load, shared.capacity)
    return flow


def _decoding(units: Units, rows: Ints, rate: Floats) -> tuple[Floats, Floats]:
    """Requests in all decode engines, and waiting for a place there, of some rows: engines that share evenly are one
    chain. Where all take about as long, half as many wait as if their times were exponential (Allen and Cunneen)."""
    engines, top = units.decode_engines[rows, None], units.top[rows, None]
    each = top ** np.linspace(0.0, 1.0, LEVELS)
    alone = 1.0 / (units.steps[rows, None] * units.curves[units.place[rows], :1])
    levels = np.hstack([np.ones_like(alone), engines * each])
    curves = engines * each / (units.steps[rows, None] * units.curves[units.place[rows]])
    rates = np.maximum.accumulate(np.hstack([alone, curves]), axis=1)
    wanted = np.minimum(rate[rows], MOST_LOAD * rates[:, -1])
    mean, waiting = in_flight.taking(_ROW_S * len(rows))(levels, rates, wanted)
    return mean - waiting, waiting * (1.0 + VARIATION**2 * units.varied[rows]) / 2.0


def _answer(
    asked: Asked,
    pools: tuple[Pool, Pool],
    shared: Shared,
    flow: Floats,
    lessons: Lessons | None,
    index: ScenarioIndex | None,
) -> Answer:
    points = pools[1].points
    tokens, added = float(points.load.osl[0]) - 1.0, points.overheads
    behind = _behind(shared, flow)
    answered = _answered(pools[1], asked.deployments.decode, shared, flow, behind[2])
    behind[2] = answered.wait_s
    decode = answered.answer_s + tokens * added.token_s
    stages = {"prefill": flow[:, PROMPT_S], "transfer": flow[:, MOVE_S], "wait": behind.sum(axis=0)}
    prompt, move, place = behind + np.stack(
        [flow[:, PROMPT_S] + 2.0 * added.request_s, flow[:, MOVE_S], np.zeros(len(decode))]
    )
    analytic = Analytic(prompt, move, place, decode / tokens, flow[:, RATE])
    prompting = flow[:, RATE] * flow[:, PROMPT_S] / shared.workers[:, 0]
    decoding = answered.active * points.dp[asked.deployments.decode]
    told = (
        correction("ttft_s", asked.prefill, asked.deployments.prefill, prompting, lessons),
        correction("tpot_s", asked.decode, asked.deployments.decode, decoding, lessons),
    )
    replicas = np.maximum(shared.replicas, 1)
    gpus = replicas * shared.size
    devices = asked.sharing.devices
    feasible, reasons = feasibility(asked, pools, shared, index)
    return Answer(
        deployments=replace(
            asked.deployments, prefill_workers=shared.workers[:, 0], decode_workers=shared.workers[:, 1]
        ),
        metrics=estimates(asked, shared, analytic, told, gpus),
        feasible=feasible,
        reasons=reasons,
        replicas=replicas,
        gpus=gpus,
        left_over=np.zeros_like(gpus) if devices is None else np.maximum(devices - gpus, 0),
        stages={**stages, "decode": decode},
        utilisation=_busy(asked.sharing, shared, flow[:, RATE]),
        active=answered.active,
        learned=all(part.learned for part in told),
    )


def _answered(pool: Pool, rows: Ints, shared: Shared, flow: Floats, behind: Floats) -> Spent:
    """What requests do in the decode pool, of kinds of engines at `rows`; in a run beyond its capacity they wait so
    many seconds `behind` others, and in a closed loop half as long in the burst at the start."""
    units, active, step_s = shared.units, flow[:, ACTIVE], flow[:, STEP_S]
    enters = step_s / 2.0 * np.minimum(active, 1.0)
    waits = np.maximum(flow[:, WAIT_S] - enters, behind)
    # what is full may be another stage, for which those wait who have no place
    decodes = np.argmin(np.stack([shared.rates[stage] for stage in STAGES]), axis=0) == STAGES.index("decode")
    decodes &= shared.rates["decode"] <= units.limit
    queued = np.where(decodes, waits, 0.0)
    waiting = flow[:, RATE] * queued / units.decode_engines
    found = spent(pool, rows, active, waiting, units.steps * step_s + queued)
    burst = 0.0 if shared.is_open else shared.load / np.maximum(_requests(shared), shared.load)
    ahead = 1.0 + 2.0 * pool.points.decided_ahead[rows]
    wait = (found.wait_s + waits - queued) * (1.0 - burst / 2.0) + enters * ahead
    return found._replace(wait_s=wait)


def _requests(shared: Shared) -> Floats:
    """Requests that are sent to a unit, `n`, or as many as a run has."""
    most = np.full(len(shared.load), _UNTOLD) if shared.is_open else DEFAULT_WAVES * shared.load
    return np.where(np.isfinite(shared.requests), shared.requests, most)


def _busy(sharing: Sharing, shared: Shared, rate: Floats) -> dict[str, Floats]:
    """How busy the stages of a unit are at requests/s of it, and the router, through which those of all units pass."""
    found = {stage: rate / most for stage, most in shared.rates.items()}
    if np.isfinite(sharing.router_limit):
        found["router"] = np.minimum(rate * shared.worth / sharing.router_limit, 1.0)
    return found


def _behind(shared: Shared, flow: Floats) -> Floats:
    """Seconds that a request of the middle of the run waits besides, by the one of `STAGES` that it waits for, `3 x n`:
    at a rate beyond the capacity for those before it; in a closed loop, whose requests all come at once at the start,
    for its turn then at the slower of prefill and link."""
    rates = np.stack([shared.rates[stage] for stage in STAGES])
    if shared.is_open:
        seconds = _requests(shared) / 2.0 * np.maximum(1.0 / shared.capacity - 1.0 / shared.load, 0.0)
    else:
        rates = rates[:2]
        burst = np.minimum(shared.load / np.maximum(_requests(shared), 1.0), 1.0)
        turn = shared.load / 2.0 / rates.min(axis=0)
        seconds = burst * np.maximum(turn - flow[:, PROMPT_S] - flow[:, WAIT_S], 0.0)
    return np.where(np.arange(len(STAGES))[:, None] == np.argmin(rates, axis=0), seconds, 0.0)
