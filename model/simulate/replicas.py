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
from model.simulate.lockstep_clock import LockstepCosts, serve_together
from model.simulate.log import Served, closed, new_book
from model.simulate.pipeline_clock import PipelineCosts, new_pipe, serve_pipeline
from model.simulate.ranks import new_ranks
from model.simulate.replicas_clock import new_watch, serve_apart
from model.simulate.routing import new_desk
from model.simulate.run import Run, check, finished, is_plain, served_alone
from model.simulate.sglang.clock import serve_sglang
from model.simulate.sglang.server import AnySettings, SglangSettings
from model.simulate.state import EngineSettings, compiled, new_state
from model.simulate.trace import Trace
from perfdb.errors import InputError


@dataclass(frozen=True)
class Replicas:
    """`count` replicas; requests go to the least loaded (`by_load`), or in turn; `costs` of each by itself (a
    pipeline's, too), or of all of them where they take their steps together."""

    count: int
    costs: StepCosts | LockstepCosts | PipelineCosts
    by_load: bool = False


def simulate_replicas(trace: Trace, settings: AnySettings, replicas: Replicas, is_skipping: bool = True) -> Run:
    """Serve a trace; `settings` are those of each replica.

    Raises:
        InputError: a request can never be served: its prompt is longer than the model's context or the cache.
    """
    check(trace, settings)
    costs, count = replicas.costs, replicas.count
    if not isinstance(costs, LockstepCosts) and not replicas.by_load:
        is_one_by_one = isinstance(settings, SglangSettings) or isinstance(costs, PipelineCosts)
        if count == 1:
            return finished(trace, settings, _served_by_one(trace, settings, costs, is_skipping))
        if trace.turns is None and (trace.cap == 0 or is_one_by_one):
            return finished(trace, settings, _served_in_turn(trace, settings, costs, count, is_skipping))
    if isinstance(settings, SglangSettings) or isinstance(costs, PipelineCosts):
        what = "conversations that replicas of SGLang or of a pipeline share are not simulated"
        raise InputError.at(f"dp {count}", what, "one replica with its share of the load")
    return finished(trace, settings, _served_by_many(trace, settings, replicas, is_skipping))


def kernel_of(trace: Trace, settings: AnySettings, replicas: Replicas) -> Any:
    """The compiled loop that `simulate_replicas` calls first."""
    costs, count = replicas.costs, replicas.count
    if isinstance(costs, LockstepCosts):
        return serve_together
    if isinstance(settings, SglangSettings):
        return serve_sglang
    if isinstance(costs, PipelineCosts):
        return serve_pipeline
    if replicas.by_load or (count > 1 and (trace.turns is not None or trace.cap)):
        return serve_apart
    return serve_fleet if is_plain(trace, settings) else serve


def _served_by_one(trace: Trace, settings: AnySettings, costs: StepCosts | PipelineCosts, is_skipping: bool) -> Served:
    if not isinstance(costs, PipelineCosts):
        return served_alone(trace, settings, costs, is_skipping)
    if isinstance(settings, SglangSettings):
        raise InputError.at("pp_size", "SGLang's pipelines are not simulated", "1; whatif answers for them")
    pipe = new_pipe(costs.stages, settings.max_num_seqs, len(trace))
    flags, engine, book = compiled(settings), new_state(settings, len(trace)), new_book(len(trace))
    return closed(serve_pipeline(flags, trace.requests(), costs, trace.arrivals(), engine, pipe, book))


def _served_in_turn(
    trace: Trace, settings: AnySettings, costs: StepCosts | PipelineCosts, count: int, is_skipping: bool
) -> Served:
    """Every count-th request to one replica, whatever becomes of the others: each is served by itself, in a closed loop
    with its share of the places."""
    most = min(count, len(trace), trace.cap or count)
    shares = [np.arange(first, len(trace), most) for first in range(most)]
    caps = [trace.cap // most + (first < trace.cap % most) for first in range(most)]
    parts = [_part(trace, rows, cap) for rows, cap in zip(shares, caps, strict=True)]
    return merged([_served_by_one(part, settings, costs, is_skipping) for part in parts], shares)


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
