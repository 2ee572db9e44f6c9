"""What prefill workers and decode workers would do with a trace or a made-up load, request by request."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from model.checkpoint.architecture import resolve_model
from model.disagg.pools import Pool, link_bytes_s, moved_bytes
from model.disagg.units import POOLS, Deployments, shared_out
from model.question import Question
from model.simulate.engine import scheduled_by, vllm_settings
from model.simulate.run import summary
from model.tables.said import listening
from model.tables.shelf import NO_TABLES
from perfdb.errors import InputError, RefusedError
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Scalar, Target, Workload
from servecast.kernels.kernel_tables import shelf_of, tables_of
from servecast.pricing import shares_of
from servecast.simulation.engine_overheads import overheads_document, with_fitted
from servecast.simulation.simulating import check_ranks, check_sizes, compile_once, costs_of

if TYPE_CHECKING:
    from model.learning.fitted_overheads import FittedOverheads
    from model.points import Points
    from model.simulate.costs import StepCosts
    from model.simulate.pools import PoolEngines, Pools, PoolsRun
    from model.simulate.together import LockstepCosts
    from model.simulate.trace import Trace
    from perfdb.store import Store
    from servecast.predicting.disagg import DisaggAsked
    from servecast.slo import Slo

_ONE = np.zeros(1, np.int64)
_MOST_ENGINES = 256
"""Engines of a pool, each with its blocks and tables in memory."""


@dataclass(frozen=True)
class PoolSide:
    """The workers of one pool: how many, with what parameters, and what their steps take."""

    points: Points
    config: Mapping[str, Scalar]
    workers: int
    costs: StepCosts | LockstepCosts
    overheads: FittedOverheads

    @property
    def engines(self) -> int:
        """Engines that serve requests of their own."""
        return self.workers * int(self.points.dp[0])

    def pool(self, asked: Trace) -> PoolEngines:
        """The engines, for the requests of a trace as they see it."""
        from model.simulate.pools import PoolEngines

        settings = vllm_settings(self.points, self.config, asked)
        ranks, stages = int(self.points.attention_dp[0]), int(self.points.pp[0])
        return PoolEngines(self.engines, settings, self.costs, ranks, stages)


@dataclass(frozen=True)
class PoolServer:
    """A unit of both pools on their hardware, ready to serve one trace after the other.

    A token of a prompt's cache leaves a prefill engine in `token_s[0]` and enters a decode engine in `token_s[1]`
    seconds, over links of `link_bytes_s`.
    """

    prefill: PoolSide
    decode: PoolSide
    token_s: tuple[float, float]
    link_bytes_s: float
    warnings: tuple[str, ...] = ()

    def run(self, trace: Trace) -> PoolsRun:
        """Serve a trace, as the engines see it.

        Raises:
            InputError: a request cannot be served.
        """
        from model.simulate.pools import simulate_pools

        return simulate_pools(trace, self._pools(trace))

    def _pools(self, trace: Trace) -> Pools:
        from model.simulate.pools import Pools

        first = replace(trace, output=np.ones_like(trace.output))
        return Pools(self.prefill.pool(first), self.decode.pool(trace), *self.token_s)

    def serve(self, trace: Trace, slos: tuple[Slo, ...] = ()) -> dict[str, Any]:
        """What users would have measured and who kept the bounds, what both pools are, what the decode pool held
        meanwhile, and the CPU seconds of the simulation.

        Raises:
            InputError: a request cannot be served, or a bounded metric is not simulated.
        """
        from model.simulate.over_time import over_time
        from servecast.simulation.counted_goodput import judged

        compile_once(self._pools(trace).kernel, lambda: self.run(trace.first()))
        started, added = time.process_time(), self.decode.points.overheads
        run = self.run(trace)
        # a request passes the front ends of both pools
        added = replace(added, request_s=2.0 * added.request_s)
        answer: dict[str, Any] = dict(summary(run.answers, added.request_s, added.token_s))
        moved = run.moved_s - run.prompts.last_s
        answer |= {
            **shares_of(answer, *self._held()),
            "mode": "disagg",
            "prefill": self._told(self.prefill, run.prompts.peak, trace),
            "decode": self._told(self.decode, run.answers.served.peak, trace),
            "transfer_s": float(np.nanmean(moved)) if np.isfinite(moved).any() else 0.0,
            "link_bytes_s": self.link_bytes_s,
            "over_time": over_time(run.answers, self.decode.engines),
            "warnings": list(self.warnings),
        }
        return {**answer, **judged(answer, run.answers, added, slos), "cpu_s": time.process_time() - started}

    def _held(self) -> tuple[int, float | None]:
        """Devices of both pools, and what they cost an hour; None where one has no price."""
        counts = [side.workers * int(side.points.devices[0]) for side in (self.prefill, self.decode)]
        prices = [side.points.platform.usd_per_hour for side in (self.prefill, self.decode)]
        dollars = [count * price for count, price in zip(counts, prices, strict=True) if price]
        return sum(counts), sum(dollars) if len(dollars) == len(counts) else None

    @staticmethod
    def _told(side: PoolSide, peak: int, trace: Trace) -> dict[str, Any]:
        blocks = vllm_settings(side.points, side.config, trace).num_blocks
        return {
            "platform": side.points.platform.name,
            "config": dict(side.config),
            "workers": side.workers,
            "kv_blocks": blocks,
            "kv_peak": peak / blocks,
            "overheads": overheads_document(side.overheads),
        }


def pool_server(asked: DisaggAsked, trace: Trace, store: Store | None = None) -> PoolServer:
    """Both pools of a question that says one value of each parameter. Workers that it does not say are those that the
    closed form matches to a load like the trace's.

    Raises:
        InputError: a parameter cannot be right, a worker does not fit, or a pool is not simulated. UnknownNameError: a
            name is not known.
    """
    asked = replace(asked, asked=replace(asked.asked, workload=_load_of(trace)))
    with listening() as said:
        pools = _pools(asked, store)
        counts = [np.array(asked.workers(name), np.int64) for name in POOLS]
        link = asked.sharing.link or link_bytes_s(*(pool.points.platform for pool in pools))
        shared = shared_out(pools, Deployments(_ONE, _ONE, *counts), asked.sharing, link)
        prefill, decode = (
            _side(asked, name, pool, int(workers), store)
            for name, pool, workers in zip(POOLS, pools, shared.workers[0], strict=True)
        )
    bytes_s = (moved[0] / pools[1].points.load.isl[0] / link for moved in moved_bytes(*pools, _ONE, _ONE))
    send_s, take_s = (float(each) for each in bytes_s)
    told = (*_stands_in(asked.asked.facts.name), *sorted(said))
    return PoolServer(prefill, decode, (send_s, take_s), link, told)


def _stands_in(engine: str) -> tuple[str, ...]:
    if engine == "sglang":
        return ("sglang's scheduler of two pools is not simulated: vLLM's rules stand in for it",)
    return scheduled_by(engine)


def _load_of(trace: Trace) -> Workload:
    # pools cannot be matched to answers of one token, which leave nothing to the decode pool
    isl, osl = float(trace.prompt.mean()), max(float(trace.output.mean()), 2.0)
    came_s = float(trace.arrival_s.max() - trace.arrival_s.min())
    if trace.cap or came_s == 0:
        return Workload(isl, osl, Arrival.CLOSED, trace.cap or len(trace), requests=len(trace))
    return Workload(isl, osl, Arrival.POISSON, None, len(trace) / came_s, requests=len(trace))


def _pools(asked: DisaggAsked, store: Store | None) -> tuple[Pool, Pool]:
    if asked.asked.facts.name == "llamacpp":
        raise InputError.at("--mode disagg", "llama.cpp prefills and decodes in one server", "vllm, sglang or trtllm")
    found = []
    for name in POOLS:
        one = asked.pool(name)
        architecture, hardware = resolve_model(one.model), platform(one.platform)
        target = Target(architecture.name, hardware.name, one.facts.name, 1, one.version)
        shelf = NO_TABLES if store is None else shelf_of(store)
        workload = replace(one.workload, osl=1) if name == "prefill" else one.workload
        pool = Pool.of(Question(target, architecture, hardware, one.workload, one.grid(), shelf), workload)
        _check(name, pool)
        found.append(pool)
    prefill, decode = found
    kept = [pool.points.cache_names[pool.points.cache_row[0]] for pool in found]
    if kept[0] != kept[1]:
        raise RefusedError.at("decode", f"a KV cache in {kept[1]} cannot take over one in {kept[0]}", "one format")
    return prefill, decode


def _check(name: str, pool: Pool) -> None:
    """Refuse what cannot run, and what is not simulated."""
    check_sizes(pool.points)
    if not pool.feasible[0]:
        raise RefusedError(f"{name}: {pool.reasons[0]}")
    check_ranks(pool.points)


def _side(asked: DisaggAsked, name: str, pool: Pool, workers: int, store: Store | None) -> PoolSide:
    one = asked.pool(name)
    config = {parameter: values[0] for parameter, values in one.sets.items()}
    tables = tables_of(pool.points.platform, one.facts.name, one.version, store)
    points, fitted = with_fitted(pool.points, one.version, store)
    side = PoolSide(points, config, workers, costs_of(points, tables), fitted)
    if side.engines > _MOST_ENGINES:
        raise RefusedError.at(
            name, f"{side.engines:,} engines", f"at most {_MOST_ENGINES}: simulate one unit of several"
        )
    return side
