"""Stages that overlap: one is a server, and several lose nothing but are faster together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simulated import Case, all_answered_in_order, cases, costs, same

from model.simulate.log import Served, closed, new_book
from model.simulate.pipeline_clock import new_pipe, serve_pipeline
from model.simulate.ranks import new_ranks
from model.simulate.replicas import Replicas, simulate_replicas
from model.simulate.routing import new_desk
from model.simulate.run import simulate
from model.simulate.state import EngineSettings, compiled
from model.simulate.trace import Turns, unshared
from perfdb.errors import InputError

ENGINE = EngineSettings(120, 20, 4, 400, 200, enable_prefix_caching=False)


def piped(case: Case, stages: int) -> Served:
    trace, flags = case.trace, case.settings
    cost = Replicas(1, costs(flags.max_num_batched_tokens, flags.max_num_seqs), stages=stages).pipeline
    ranks, pipe = new_ranks(flags, len(trace), 1), new_pipe(stages, flags.max_num_seqs, len(trace))
    desk, book = new_desk(1, by_load=False), new_book(len(trace))
    return closed(serve_pipeline(compiled(flags), trace.requests(), cost, trace.arrivals(), ranks, pipe, desk, book))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_one_stage_is_a_server(case: Case) -> None:
    case = replace(case, settings=replace(case.settings, async_scheduling=False))
    alone = piped(case, 1)
    assume(np.isfinite(alone.last_s).all())
    table = costs(case.settings.max_num_batched_tokens, case.settings.max_num_seqs)
    same(alone, simulate(case.trace, case.settings, table, is_skipping=False).served)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 4))
def test_everyone_is_answered_in_order_and_no_token_is_lost(case: Case, stages: int) -> None:
    served = piped(case, stages)
    assume(np.isfinite(served.last_s).all())
    all_answered_in_order(served, case)


@given(st.integers(1, 4))
def test_a_request_alone_passes_all_stages_one_after_the_other(stages: int) -> None:
    alone = Case(unshared(np.array([1.0]), np.array([50]), np.array([9])), ENGINE)
    np.testing.assert_allclose(piped(alone, stages).last_s, piped(alone, 1).last_s)


def test_parts_of_a_prompt_follow_each_other_through_the_stages() -> None:
    """Ten parts of a second each: through two stages of half a second they take five and a half."""
    trace, engine = (
        unshared(np.array([0.0]), np.array([100]), np.array([1])),
        replace(ENGINE, max_num_batched_tokens=10),
    )
    cost = costs(10, 20, base=1.0)
    whole = simulate_replicas(trace, engine, Replicas(1, cost, stages=1)).latencies()["ttft_s"][0]
    halves = simulate_replicas(trace, engine, Replicas(1, cost, stages=2)).latencies()["ttft_s"][0]
    assert whole == pytest.approx(10.0, rel=0.01)
    assert halves == pytest.approx(5.5, rel=0.01)


def test_sequences_in_two_batches_keep_both_stages_busy() -> None:
    """Two requests, the second while the first is under way: each has its batch, and both go on as if alone."""
    trace = unshared(np.array([0.0, 0.5]), np.array([10, 10]), np.array([40, 40]))
    cost = costs(120, 20, base=1.0)
    one, two = (simulate_replicas(trace, ENGINE, Replicas(1, cost, stages=k)).latencies() for k in (1, 2))
    assert two["tpot_s"] == pytest.approx(one["tpot_s"], rel=0.05)
    # come together they share a batch: a pipeline of two is no faster then
    together = replace(trace, arrival_s=np.zeros(2))
    shared = simulate_replicas(together, ENGINE, Replicas(1, cost, stages=2)).latencies()
    assert shared["tpot_s"] == pytest.approx(one["tpot_s"], rel=0.05)


def test_more_stages_serve_faster_what_takes_as_long_as_it_has_tokens() -> None:
    rng = np.random.default_rng(1)
    trace = unshared(np.cumsum(rng.exponential(0.0005, 300)), rng.integers(1, 60, 300), rng.integers(1, 60, 300))
    table = costs(120, 20, base=0.0)._replace(step=0.0)
    ends = [simulate_replicas(trace, ENGINE, Replicas(1, table, stages=k)).served for k in (1, 2)]
    assert ends[0].last_s.max() > 1.2 * ends[1].last_s.max()
    pair = simulate_replicas(trace, ENGINE, Replicas(2, table, stages=2)).served
    assert pair.last_s.max() < ends[1].last_s.max()


def test_small_batches_that_take_as_long_as_large_ones_gain_nothing_from_stages() -> None:
    """Half as many sequences a batch, twice as many batches: what a step costs anyway is paid twice."""
    trace = unshared(np.linspace(0.0, 0.3, 300), np.full(300, 20), np.full(300, 40))
    table = costs(120, 20, base=1e-2)
    ends = [simulate_replicas(trace, ENGINE, Replicas(1, table, stages=k)).served.last_s.max() for k in (1, 2)]
    assert ends[1] == pytest.approx(ends[0], rel=0.15)


def test_conversations_over_several_pipelines_are_refused() -> None:
    turns = Turns(np.array([-1, 0]), np.zeros(2))
    trace = replace(unshared(np.zeros(2), np.array([10, 30]), np.full(2, 5)), turns=turns)
    with pytest.raises(InputError, match="conversations that replicas"):
        simulate_replicas(trace, ENGINE, Replicas(2, costs(120, 20), stages=2))
