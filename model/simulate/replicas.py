"""A trace served by several replicas of an engine behind one front end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.simulate.clock import serve
from model.simulate.costs import StepCosts
from model.simulate.fleet_clock import serve_fleet
from model.simulate.lockstep_clock import serve_together
from model.simulate.log import Served, closed, new_book
from model.simulate.pipeline_clock import new_pipe, serve_pipeline
from model.simulate.ranks import new_ranks
from model.simulate.replicas_clock import new_watch, serve_apart
from model.simulate.routing import new_desk
from model.simulate.run import Run, check, finished, is_plain, served_alone
from model.simulate.sglang.clock import serve_sglang
from model.simulate.sglang.ranks_clock import serve_ranks
from model.simulate.sglang.server import AnySettings, SglangSettings
from model.simulate.sglang.serving import served_by_ranks
from model.simulate.stages import PipelineCosts
from model.simulate.state import EngineSettings, compiled
from model.simulate.together import LockstepCosts, by_itself
from model.simulate.trace import Trace
from perfdb.errors import InputError


@dataclass(frozen=True)
class Replicas:
    """`count` replicas; requests go to the least loaded (`by_load`), or in turn; `costs` of each by itself, or of all
    of them where they take their steps together. The layers of each are divided into `stages`."""

    count: int
    costs: StepCosts | LockstepCosts
    by_load: bool = False
    stages: int = 1

    @property
    def is_together(self) -> bool:
        """Whether they take their steps together."""
        return isinstance(self.costs, LockstepCosts)

    @property
    def pipeline(self) -> PipelineCosts:
        """What their steps take, in stages."""
        return PipelineCosts(
            self.costs if isinstance(self.costs, LockstepCosts) else by_itself(self.costs), self.stages
        )


def simulate_replicas(trace: Trace, settings: AnySettings, replicas: Replicas, is_skipping: bool = True) -> Run:
    """Serve a trace; `settings` are those of each replica.

    Raises:
        InputError: a request can never be served: its prompt is longer than the model's context or the cache.
    """
    check(trace, settings)
    count, is_pipeline = replicas.count, replicas.stages > 1
    if replicas.is_together:
        return finished(trace, settings, _served_in_step(trace, settings, replicas, is_skipping))
    if not replicas.by_load:
        is_one_by_one = isinstance(settings, SglangSettings) or is_pipeline
        if count == 1:
            return finished(trace, settings, _served_by_one(trace, settings, replicas, is_skipping))
        if trace.turns is None and (trace.cap == 0 or is_one_by_one):
            return finished(trace, settings, _served_in_turn(trace, settings, replicas, is_skipping))
    if isinstance(settings, SglangSettings) or is_pipeline:
        what = "conversations that replicas of SGLang or of a pipeline share are not simulated"
        raise InputError.at(f"dp {count}", what, "one replica with its share of the load")
    return finished(trace, settings, _served_by_many(trace, settings, replicas, is_skipping))


def kernel_of(trace: Trace, settings: AnySettings, replicas: Replicas) -> Any:
    """The compiled loop that `simulate_replicas` calls first."""
    if isinstance(settings, SglangSettings):
        return serve_ranks if replicas.is_together or replicas.stages > 1 else serve_sglang
    if replicas.stages > 1:
        return serve_pipeline
    if replicas.is_together:
        return serve_together
    if replicas.by_load or (replicas.count > 1 and (trace.turns is not None or trace.cap)):
        return serve_apart
    return serve_fleet if is_plain(trace, settings) else serve


def _served_in_step(trace: Trace, settings: AnySettings, replicas: Replicas, is_skipping: bool) -> Served:
    if isinstance(settings, SglangSettings):
        return served_by_ranks(trace, settings, replicas.pipeline, replicas.count)
    if replicas.stages > 1:
        return _served_in_stages(trace, settings, replicas, replicas.count)
    return _served_by_many(trace, settings, replicas, is_skipping)


def _served_by_one(trace: Trace, settings: AnySettings, replicas: Replicas, is_skipping: bool) -> Served:
    if replicas.stages == 1 and isinstance(replicas.costs, StepCosts):
        return served_alone(trace, settings, replicas.costs, is_skipping)
    if isinstance(settings, SglangSettings):
        return served_by_ranks(trace, settings, replicas.pipeline, 1)
    return _served_in_stages(trace, settings, replicas, 1)


def _served_in_stages(trace: Trace, settings: EngineSettings, replicas: Replicas, count: int) -> Served:
    pipe = new_pipe(replicas.stages, settings.max_num_seqs, len(trace), count)
    ranks, desk = new_ranks(settings, len(trace), count), new_desk(count, replicas.by_load)
    flags, requests, arrivals, book = compiled(settings), trace.requests(), trace.arrivals(), new_book(len(trace))
    return closed(serve_pipeline(flags, requests, replicas.pipeline, arrivals, ranks, pipe, desk, book))


def _served_in_turn(trace: Trace, settings: AnySettings, replicas: Replicas, is_skipping: bool) -> Served:
    """Every count-th request to one replica, whatever becomes of the others: each is served by itself, in a closed loop
    with its share of the places."""
    most = min(replicas.count, len(trace), trace.cap or replicas.count)
    shares = [np.arange(first, len(trace), most) for first in range(most)]
    caps = [trace.cap // most + (first < trace.cap % most) for first in range(most)]
    parts = [_part(trace, rows, cap) for rows, cap in zip(shares, caps, strict=True)]
    return merged([_served_by_one(part, settings, replicas, is_skipping) for part in parts], shares)


def _served_by_many(trace: Trace, settings: EngineSettings, replicas: Replicas, is_skipping: bool) -> Served:
    """All replicas together. Where nothing is shared, only a request that was preempted finds anything in the cache:
    its own blocks; that is known once one was."""
    if settings.enable_prefix_caching and not trace.shares:
        without = _served_together(trace, replace(settings, enable_prefix_caching=False), replicas, is_skipping)
        if not without.preemptions:
            return without
    return _served_together(trace, settings, replicas, is_skipping)


def _served_together(trace: Trace, settings: EngineSettings, replicas: Replicas, is_skipping: bool) -> Served:
    flags, requests, arrivals = compiled(settings), trace.requests(), trace.arrivals()
    ranks, desk = new_ranks(settings, len(trace), replicas.count), new_desk(replicas.count, replicas.by_load)
    costs, book = replicas.costs, new_book(len(trace))
    if isinstance(costs, LockstepCosts):
        return closed(serve_together(flags, requests, costs, arrivals, is_skipping, ranks, desk, book))
    watch = new_watch(replicas.count, len(trace))
    return closed(serve_apart(flags, requests, costs, arrivals, is_skipping, (ranks, watch), desk, book))


def _part(trace: Trace, rows: npt.NDArray[np.integer], cap: int) -> Trace:
    return replace(
        trace,
        cap=cap,
        arrival_s=trace.arrival_s[rows],
        prompt=trace.prompt[rows],
        output=trace.output[rows],
        shared=trace.shared[rows],
        first_chunk=trace.first_chunk[rows],
    )


def merged(found: Sequence[Served], shares: Sequence[npt.NDArray[np.integer]]) -> Served:
    """What happened to all requests, of which each replica served its share (their rows)."""
    order = np.argsort(np.concatenate(shares), kind="stable")
    of_requests = {
        name: np.concatenate([getattr(served, name) for served in found])[order]
        for name in ("arrived", "first_s", "last_s")
    }
    names = ("end_s", "steps", "gap_first", "gap_last", "emitted", "used", "late")
    of_steps = {name: np.concatenate([getattr(served, name) for served in found]) for name in names}
    preemptions = sum(served.preemptions for served in found)
    return Served(**of_requests, **of_steps, preemptions=preemptions, peak=max(served.peak for served in found))
