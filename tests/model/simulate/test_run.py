"""Which way a trace is served: all requests together, or block by block where blocks can be found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.simulate.clock import serve
from model.simulate.costs import StepCosts
from model.simulate.fleet_clock import serve_fleet
from model.simulate.lockstep_clock import serve_together
from model.simulate.log import closed, new_book
from model.simulate.pipeline_clock import serve_pipeline
from model.simulate.replicas import Replicas, kernel_of
from model.simulate.replicas_clock import serve_apart
from model.simulate.run import PERCENTILES, simulate, summary
from model.simulate.sglang.clock import serve_sglang
from model.simulate.sglang.ranks_clock import serve_ranks
from model.simulate.sglang.server import SglangSettings
from model.simulate.state import EngineSettings, compiled, new_state
from model.simulate.together import LockstepCosts
from model.simulate.trace import Trace, Turns, unshared

KNOTS = np.array([0.0, 1.0, 4096.0])
COSTS = StepCosts(1e-3 + 1e-5 * np.arange(2049), np.zeros(65), KNOTS, KNOTS, KNOTS, KNOTS, np.zeros((3, 3, 3, 3)), 0.0)
SGLANG = SglangSettings(64, 9000, 1, 4096)
ONE = EngineSettings(2048, 1, 16, 2000, 4096, False)
COLUMNS = ("arrival_s", "prompt", "output", "shared", "first_chunk")
TRACE = unshared(np.linspace(0.0, 0.2, 40), np.full(40, 200), np.full(40, 150))


def settings(blocks: int, caches: bool) -> EngineSettings:
    return EngineSettings(2048, 64, 16, blocks, 4096, caches)


def test_a_preempted_request_finds_its_own_blocks_again() -> None:
    """Though nothing is shared between requests: what a preempted one had computed may still be in the cache."""
    few = settings(120, caches=True)
    found = simulate(TRACE, few, COSTS)
    assert found.served.preemptions > 0
    engine, book = new_state(few, len(TRACE)), new_book(len(TRACE))
    exact = closed(serve(compiled(few), TRACE.requests(), COSTS, TRACE.arrivals(), True, engine, book))
    np.testing.assert_array_equal(found.served.last_s, exact.last_s)
    without = simulate(TRACE, settings(120, caches=False), COSTS)
    assert found.served.last_s.mean() < without.served.last_s.mean()


def test_where_nobody_is_preempted_caching_changes_nothing() -> None:
    with_, without = (simulate(TRACE, settings(2000, caches), COSTS) for caches in (True, False))
    assert with_.served.preemptions == without.served.preemptions == 0
    np.testing.assert_array_equal(with_.served.last_s, without.served.last_s)


def test_the_loop_that_is_compiled_beforehand_is_the_one_that_serves() -> None:
    """Of each kind of server, told apart by what it was called with."""
    plain, costs = settings(2000, caches=True), COSTS
    closed, prefixes = replace(TRACE, cap=4), replace(TRACE, shared=np.full(40, 100))
    together = LockstepCosts(costs, 1e-6 * np.arange(2049), 64)
    found = [
        (TRACE, plain, Replicas(1, costs), serve_fleet),
        (TRACE, replace(plain, is_priority=True), Replicas(1, costs), serve),
        (prefixes, plain, Replicas(2, costs), serve),
        (TRACE, plain, Replicas(2, costs, by_load=True), serve_apart),
        (closed, plain, Replicas(2, costs), serve_apart),
        (TRACE, plain, Replicas(2, together, by_load=True), serve_together),
        (TRACE, plain, Replicas(1, costs, stages=2), serve_pipeline),
        (TRACE, plain, Replicas(2, together, by_load=True, stages=2), serve_pipeline),
        (TRACE, SGLANG, Replicas(2, costs), serve_sglang),
        (TRACE, SGLANG, Replicas(2, costs, stages=2), serve_ranks),
        (TRACE, SGLANG, Replicas(2, together), serve_ranks),
    ]
    for trace, flags, replicas, loop in found:
        assert kernel_of(trace, flags, replicas) is loop


def test_the_first_request_alone_is_served_in_the_same_way() -> None:
    talk = replace(TRACE, turns=Turns(np.arange(40) - 1, np.full(40, 0.5)), cap=3)
    for trace in (TRACE, talk):
        one = trace.first()
        assert (len(one), one.cap, one.shares) == (1, trace.cap, trace.shares)
        run = simulate(one, settings(2000, caches=True), COSTS)
        assert run.emitted.tolist() == [150]


def test_a_server_that_is_too_slow_does_not_keep_up() -> None:
    """Steps of 1 to 2 ms, 4 requests at once, 51 steps each: about 52 requests/s."""
    engine = EngineSettings(2048, 4, 16, 2000, 4096, False)
    gaps = np.random.default_rng(7).exponential(1.0, 2000)
    most = 4 / (51 * 1e-3 + 100 * 1e-5)
    kept = []
    for load in (0.5, 0.9, 1.2, 2.0, 20.0):
        trace = unshared(np.cumsum(gaps) / (load * most), np.full(2000, 100), np.full(2000, 50))
        kept.append(simulate(trace, engine, COSTS).kept_up())
    assert min(kept[:2]) > 0.98
    assert kept[1:] == sorted(kept[1:], reverse=True)
    for load, share in zip((1.2, 2.0, 20.0), kept[2:], strict=True):
        # waits of the last tenth, less those of the first quarter, are seven tenths of all that is left over
        assert share == pytest.approx(1 / (1 + 0.7 * (load - 1)), rel=0.15)


def test_a_closed_loop_and_a_burst_keep_up_by_definition() -> None:
    engine = settings(2000, caches=False)
    for trace in (replace(TRACE, cap=2), replace(TRACE, arrival_s=np.zeros(40))):
        assert simulate(trace, engine, COSTS).kept_up() == 1.0


def spoken(load: float, conversations: int, think_s: float) -> Trace:
    """Conversations of four turns of 100 and 50 tokens, so that `load` times as many come as 4 slots serve."""
    n = 4 * conversations
    most, turn = 4 / (51 * 1e-3 + 100 * 1e-5), np.arange(n) % 4
    opens = np.cumsum(np.random.default_rng(7).exponential(4.0, conversations)) / (load * most)
    trace = unshared(np.repeat(opens, 4), 100 * (turn + 1), np.full(n, 50))
    return replace(trace, turns=Turns(np.where(turn == 0, -1, np.arange(n) - 1), np.where(turn == 0, 0.0, think_s)))


@pytest.mark.parametrize("think_s", [0.0, 2.0])
def test_conversations_keep_up_as_their_waits_together_tell(think_s: float) -> None:
    """Turns that come late because their answers did hide that more conversations come than are over."""
    engine = EngineSettings(2048, 4, 16, 4000, 4096, True)
    kept = [simulate(spoken(load, 600, think_s), engine, COSTS).kept_up() for load in (0.5, 1.5, 3.0)]
    assert kept[0] > 0.99
    assert kept[1] == pytest.approx(1 / (1 + 0.7 * 0.5), rel=0.15)
    assert kept[2] < 0.65


def test_owners_are_the_first_turns() -> None:
    turns = Turns(np.array([-1, 0, -1, 1, 3, 2, -1]), np.zeros(7))
    assert turns.owners().tolist() == [0, 0, 2, 0, 0, 2, 6]


@pytest.mark.parametrize("n", [1, 2, 99, 100, 101])
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(n: int) -> None:
    run = simulate(replace(TRACE, **{name: getattr(TRACE, name)[:1].repeat(n) for name in COLUMNS}), ONE, COSTS)
    ttft, told = np.sort(run.latencies()["ttft_s"]), summary(run)["ttft_s"]
    assert told["mean"] == pytest.approx(ttft.mean())
    for percent in PERCENTILES:
        assert told[f"p{percent}"] == next(value for value in ttft if (ttft <= value).mean() >= percent / 100)
