"""Replicas behind one front end: together as each by itself, however time is cut; and who is sent where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simulated import Case, all_answered_in_order, cases, costs, same

from model.simulate import routing
from model.simulate.blocks import NONE
from model.simulate.costs import StepCosts
from model.simulate.log import Served, closed, new_book
from model.simulate.ranks import new_ranks
from model.simulate.replicas import Replicas, simulate_replicas
from model.simulate.replicas_clock import new_watch, serve_apart
from model.simulate.routing import PUBLISHED_S, UNCHANGED_S, new_desk
from model.simulate.run import simulate, summary
from model.simulate.state import EngineSettings, compiled
from model.simulate.trace import Trace, Turns, unshared
from tests.support.kernels import called

report, route = called(routing.report), called(routing.route)

ENGINE = EngineSettings(120, 20, 4, 200, 200, enable_prefix_caching=False)
COSTS = costs(120, 20)


def apart(case: Case, count: int, by_load: bool = False, skips: bool = True) -> Served:
    """Steps of all replicas interleaved, whether that is needed or not."""
    trace, flags = case.trace, case.settings
    ranks, desk = new_ranks(flags, len(trace), count), new_desk(count, by_load)
    requests, arrivals, engines = trace.requests(), trace.arrivals(), (ranks, new_watch(count, len(trace)))
    book = new_book(len(trace))
    return closed(serve_apart(compiled(flags), requests, costs_of(flags), arrivals, skips, engines, desk, book))


def costs_of(flags: EngineSettings) -> StepCosts:
    return costs(flags.max_num_batched_tokens, flags.max_num_seqs)


def half(trace: Trace, first: int) -> Trace:
    rows = np.arange(first, len(trace), 2)
    return replace(unshared(trace.arrival_s[rows], trace.prompt[rows], trace.output[rows]))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_one_replica_is_a_server(case: Case) -> None:
    alone = apart(case, 1)
    assume(np.isfinite(alone.last_s).all())
    same(alone, simulate(case.trace, case.settings, costs_of(case.settings)).served)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(2, 4), st.booleans())
def test_stretches_equal_plain_steps_on_every_replica(case: Case, count: int, by_load: bool) -> None:
    same(apart(case, count, by_load), apart(case, count, by_load, skips=False))


@settings(max_examples=40, deadline=None)
@given(cases())
def test_two_replicas_in_turn_are_two_servers_of_every_other_request(case: Case) -> None:
    assume(case.trace.cap == 0 and case.trace.turns is None and len(case.trace) > 1)
    both = apart(case, 2)
    assume(np.isfinite(both.last_s).all())
    same(both, simulate_replicas(case.trace, case.settings, Replicas(2, costs_of(case.settings))).served)
    for first in (0, 1):
        alone = simulate(half(case.trace, first), case.settings, costs_of(case.settings)).served
        np.testing.assert_allclose(both.last_s[first::2], alone.last_s, rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 4), st.booleans())
def test_everyone_is_answered_in_order_and_no_token_is_lost(case: Case, count: int, by_load: bool) -> None:
    served, trace = apart(case, count, by_load), case.trace
    assume(np.isfinite(served.last_s).all())
    all_answered_in_order(served, case)
    if trace.turns is not None:
        later = np.flatnonzero(trace.turns.previous != NONE)
        assert (served.arrived[later] >= served.last_s[trace.turns.previous[later]]).all()
    if trace.cap:
        opened = np.sort(served.arrived if trace.turns is None else served.arrived[trace.turns.previous == NONE])
        ended = np.sort(served.last_s if trace.turns is None else served.last_s[_ends(trace.turns)])
        assert all((opened <= at).sum() - (ended <= at).sum() <= trace.cap for at in opened)


def _ends(turns: Turns) -> np.ndarray:
    return np.setdiff1d(np.arange(len(turns.previous)), turns.previous)


def test_replicas_serve_a_load_faster_than_one() -> None:
    rng = np.random.default_rng(0)
    trace = unshared(np.cumsum(rng.exponential(0.004, 300)), rng.integers(1, 60, 300), rng.integers(1, 60, 300))
    means = [simulate_replicas(trace, ENGINE, Replicas(k, COSTS)).latencies()["e2e_s"].mean() for k in (1, 2, 4)]
    assert means[0] > means[1] > means[2]


def test_a_summary_is_of_all_replicas() -> None:
    trace = unshared(np.zeros(8), np.full(8, 40), np.full(8, 10))
    one, two = (summary(simulate_replicas(trace, ENGINE, Replicas(k, COSTS))) for k in (1, 2))
    assert one["requests"] == two["requests"] == 8
    assert two["kv_peak"] == pytest.approx(float(one["kv_peak"]) / 2, rel=0.1)  # that of one replica
    assert float(two["output_tps"]) > float(one["output_tps"])


def test_a_turn_finds_its_prefix_only_on_the_replica_that_has_it() -> None:
    """Requests go around in turn, whatever was said: of two conversations of three turns some turns move."""
    flags = EngineSettings(512, 8, 16, 400, 4096)
    prompts = np.array([160, 353, 546])
    turns = Turns(np.array([NONE, 0, 1]), np.full(3, 5.0))
    trace = replace(unshared(np.zeros(3), prompts, np.full(3, 33)), turns=turns)
    table = costs(512, 8)
    one, two, three = (simulate_replicas(trace, flags, Replicas(k, table)).latencies()["ttft_s"] for k in (1, 2, 3))
    assert one[1] < two[1] == three[1]  # the second turn came to another replica
    assert one[2] < two[2] < three[2]  # the third came to the first one's again, or to a third


def test_a_step_decided_ahead_lets_a_request_wait_for_one_more() -> None:
    """One request decodes in steps of a second; another comes in the middle of one."""
    table = costs(120, 20, base=1.0)
    trace = unshared(np.array([0.0, 2.5]), np.array([1, 1]), np.array([10, 1]))
    waits = []
    for ahead in (False, True):
        run = simulate(trace, replace(ENGINE, async_scheduling=ahead), table)
        waits.append(run.latencies()["ttft_s"][1])
    assert waits[0] == pytest.approx(1.5, abs=0.05)  # the rest of a step, and its own
    assert waits[1] == pytest.approx(2.5, abs=0.05)


def test_requests_go_around_in_turn() -> None:
    desk = new_desk(3, by_load=False)
    assert [route(desk, 0.0) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_the_least_loaded_is_chosen_by_counts_that_are_published_ten_times_a_second() -> None:
    desk = new_desk(2, by_load=True)
    assert [route(desk, 0.0) for _ in range(3)] == [0, 1, 0]  # each sent one counts as waiting
    report(desk, 0, waiting=0, running=2, now=0.01)
    report(desk, 1, waiting=0, running=9, now=0.01)
    assert route(desk, 0.02) == 0  # published: 2 against 9
    assert route(desk, 0.02) == 0  # and one that waits counts as four: 6 against 9
    assert route(desk, 0.02) == 1  # 10 against 9
    report(desk, 0, waiting=0, running=20, now=0.03)
    assert route(desk, 0.04) == 0  # not published yet: 10 against 13
    assert route(desk, 0.03 + 2 * PUBLISHED_S) == 1  # 20 against 9
    assert route(desk, 0.03 + 2 * PUBLISHED_S) == 1  # 20 against 13
    assert route(desk, 10.0) == 1  # what stayed the same is published now and then, too: 20 against 9


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=60), st.integers(2, 4))
def test_a_router_never_prefers_the_more_loaded(told: list[tuple[int, int]], count: int) -> None:
    """Against the rule itself, of counts that are all published before the next request."""
    desk, known, now = new_desk(count, by_load=True), np.zeros((count, 2), dtype=int), 0.0
    reported = known.copy()
    for waiting, running in told:
        now += UNCHANGED_S
        rank = running % count
        reported[rank] = waiting, running
        report(desk, rank, waiting, running, now)
        known[:] = reported
        now += UNCHANGED_S
        for _ in range(3):
            chosen = route(desk, now)
            scores = 4 * known[:, 0] + known[:, 1]
            assert chosen == int(scores.argmin())
            known[chosen, 0] += 1
