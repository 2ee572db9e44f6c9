"""A trace served by prefill engines and decode engines of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from model.simulate.arrivals import as_due
from model.simulate.costs import Floats, StepCosts
from model.simulate.log import Served, closed, new_book
from model.simulate.pools_clock import Link, Side, serve_pools
from model.simulate.ranks import new_ranks
from model.simulate.replicas_clock import new_watch
from model.simulate.run import Run, check, finished
from model.simulate.staged_pools_clock import Staged, new_pipes, serve_staged_pools
from model.simulate.stages import PipelineCosts
from model.simulate.state import EngineSettings, compiled
from model.simulate.together import LockstepCosts, by_itself
from model.simulate.trace import Trace


@dataclass(frozen=True)
class PoolEngines:
    """`count` engines of a pool, each with these settings; `costs` of each by itself, or of so many `ranks` of a worker
    which take their steps together. The layers of each are divided into `stages`."""

    count: int
    settings: EngineSettings
    costs: StepCosts | LockstepCosts
    ranks: int = 1
    stages: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether each engine takes one step after the other, by itself."""
        return isinstance(self.costs, StepCosts) and self.stages == 1

    @property
    def pipeline(self) -> PipelineCosts:
        """What steps of a worker take, in stages."""
        return PipelineCosts(by_itself(self.costs) if isinstance(self.costs, StepCosts) else self.costs, self.stages)


@dataclass(frozen=True)
class Pools:
    """Both pools. A token of a prompt's cache leaves a prefill engine in `send_s` seconds and enters a decode engine in
    `take_s`: the slower end says how long the move takes."""

    prefill: PoolEngines
    decode: PoolEngines
    send_s: float
    take_s: float

    @property
    def kernel(self) -> Any:
        """The compiled loop that serves them."""
        return serve_pools if self.prefill.is_plain and self.decode.is_plain else serve_staged_pools


@dataclass(frozen=True)
class PoolsRun:
    """A trace that was served: what its users saw (`answers`), what happened in the prefill pool (`prompts`), and when
    each cache had moved, n (NaN: an answer of one token needs none)."""

    answers: Run
    prompts: Served
    moved_s: Floats


def simulate_pools(trace: Trace, pools: Pools, is_skipping: bool = True) -> PoolsRun:
    """Serve a trace. First tokens show where their requests have a place in the decode pool.

    Raises:
        InputError: a request can never be served: it is longer than a model's context or than a cache.
    """
    first = replace(trace, output=np.ones_like(trace.output))
    check(first, pools.prefill.settings)
    check(trace, pools.decode.settings)
    prompts, answers = _served(trace, first, pools, is_skipping)
    is_short = answers.arrived == 0.0
    moved = np.where(is_short, np.nan, answers.arrived)
    whole = answers._replace(
        arrived=prompts.arrived,
        first_s=np.where(is_short, prompts.first_s, answers.first_s),
        last_s=np.where(is_short, prompts.last_s, answers.last_s),
    )
    return PoolsRun(finished(trace, pools.decode.settings, whole), prompts, moved)


def _served(trace: Trace, first: Trace, pools: Pools, is_skipping: bool) -> tuple[Served, Served]:
    """Where nothing is shared, only who was preempted finds anything in a cache: that is known once one was."""
    caches = pools.prefill.settings.enable_prefix_caching or pools.decode.settings.enable_prefix_caching
    if caches and not trace.shares:
        without = _together(trace, first, _without_caches(pools), is_skipping)
        if not without[0].preemptions:
            return without
    return _together(trace, first, pools, is_skipping)


def _without_caches(pools: Pools) -> Pools:
    prefill, decode = (
        replace(pool, settings=replace(pool.settings, enable_prefix_caching=False))
        for pool in (pools.prefill, pools.decode)
    )
    return replace(pools, prefill=prefill, decode=decode)


def _together(trace: Trace, first: Trace, pools: Pools, is_skipping: bool) -> tuple[Served, Served]:
    n, engines = len(trace), (pools.prefill.count, pools.decode.count)
    link = Link(
        pools.send_s, pools.take_s, np.zeros(engines[0]), np.zeros(engines[1]), np.zeros(n, dtype=np.int64), as_due(n)
    )
    sides, empty = ((first, pools.prefill), (trace, pools.decode)), (new_book(n), new_book(n))
    if pools.kernel is serve_pools:
        one, other = (_side(*side) for side in sides)
        books = serve_pools(one, other, link, trace.arrivals(), is_skipping, *empty)
    else:
        prefill, decode = (_staged(*side) for side in sides)
        books = serve_staged_pools(prefill, decode, link, trace.arrivals(), *empty)
    prompts, answers = (closed(book) for book in books)
    preemptions = prompts.preemptions + answers.preemptions
    return prompts._replace(preemptions=preemptions), answers._replace(preemptions=preemptions)


def _side(trace: Trace, pool: PoolEngines) -> Side:
    ranks, watch = new_ranks(pool.settings, len(trace), pool.count), new_watch(pool.count, len(trace))
    to_do = np.zeros(pool.count, dtype=np.int64)
    return Side(compiled(pool.settings), trace.requests(), pool.pipeline.whole.own, ranks, watch, to_do)


def _staged(trace: Trace, pool: PoolEngines) -> Staged:
    plain, seqs = _side(trace, pool), pool.settings.max_num_seqs
    pipes = new_pipes(pool.stages, seqs, len(trace), pool.ranks, pool.count // pool.ranks)
    return Staged(
        plain.settings, plain.requests, pool.pipeline, plain.ranks, pipes, plain.watch, plain.to_do, pool.ranks
    )
