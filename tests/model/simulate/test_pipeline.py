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
from model.simulate.speculation import Speculation
from model.simulate.state import EngineSettings, compiled
from model.simulate.together import LockstepCosts
from model.simulate.trace import Turns, unshared
from perfdb.errors import InputError

ENGINE = EngineSettings(120, 20, 4, 400, 200, enable_prefix_caching=False)


def piped(case: Case, stages: int) -> Served:
    table = costs(case.settings.max_num_batched_tokens, case.settings.max_num_seqs)
    return piped_ranks(case, Replicas(1, table, stages=stages))


def piped_ranks(case: Case, ranks: Replicas) -> Served:
    trace, flags, count = case.trace, case.settings, ranks.count
    pipe = new_pipe(ranks.stages, flags.max_num_seqs, len(trace), count)
    engines, desk, book = new_ranks(flags, len(trace), count), new_desk(count, ranks.by_load), new_book(len(trace))
    requests, arrivals = trace.requests(), trace.arrivals()
    return closed(serve_pipeline(compiled(flags), requests, ranks.pipeline, arrivals, engines, pipe, desk, book))


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


def shared(flags: EngineSettings, graph: int) -> LockstepCosts:
    most = flags.max_num_batched_tokens
    return LockstepCosts(costs(most, 8 * flags.max_num_seqs), 1e-5 * np.arange(most + 1.0), min(graph, most))


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 3), st.booleans(), st.sampled_from([0, 16]))
def test_ranks_of_one_stage_take_their_steps_together(case: Case, count: int, by_load: bool, graph: int) -> None:
    case = replace(case, settings=replace(case.settings, async_scheduling=False))
    ranks = Replicas(count, shared(case.settings, graph), by_load)
    found = piped_ranks(case, ranks)
    assume(np.isfinite(found.last_s).all())
    same(found, simulate_replicas(case.trace, case.settings, ranks, is_skipping=False).served)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 3), st.integers(2, 4))
def test_ranks_in_stages_lose_nothing(case: Case, count: int, stages: int) -> None:
    served = piped_ranks(case, Replicas(count, shared(case.settings, 16), by_load=True, stages=stages))
    assume(np.isfinite(served.last_s).all())
    all_answered_in_order(served, case)


def test_a_rank_in_stages_waits_for_another_that_computes_a_prompt() -> None:
    """By hand: steps of a second in two stages, of five with a prompt of ten tokens; the two ranks' batches pass the
    stages together."""
    table = costs(120, 20, base=0.0)
    flat = table._replace(tokens=np.where(np.arange(121) < 10, 1.0, 5.0), attention=np.zeros((5, 5, 5, 5)), step=0.0)
    trace = unshared(np.array([0.0, 0.75]), np.array([5, 50]), np.array([6, 2]))
    cost = LockstepCosts(flat, np.zeros(121), 0)
    served = simulate_replicas(trace, ENGINE, Replicas(2, cost, stages=2)).served
    # at 1 the first rank's token is back, and the second one's prompt is there: both enter at 1, and are back at 6
    np.testing.assert_allclose(served.first_s, [1.0, 6.0], atol=1e-3)
    np.testing.assert_allclose(served.last_s, [10.0, 7.0], atol=1e-3)


def drafting(flags: EngineSettings, tokens: int, acceptance: float) -> EngineSettings:
    drafts = Speculation(tokens, acceptance, True, 0.1)
    return replace(flags, speculation=drafts, enable_chunked_prefill=True, async_scheduling=False)


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(1, 3), st.floats(0.0, 1.0))
def test_one_stage_drafts_as_a_server_does(case: Case, tokens: int, acceptance: float) -> None:
    flags = drafting(case.settings, tokens, acceptance)
    table = costs(flags.max_num_batched_tokens, 8 * flags.max_num_seqs)
    found = piped_ranks(Case(case.trace, flags), Replicas(1, table))
    same(found, simulate(case.trace, flags, table, is_skipping=False).served)


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(1, 3), st.integers(1, 2), st.integers(2, 3))
def test_every_gap_is_told_where_a_pipeline_drafts(case: Case, tokens: int, count: int, stages: int) -> None:
    flags = drafting(case.settings, tokens, 0.6)
    ranks = Replicas(count, shared(flags, 16), by_load=True, stages=stages)
    run = simulate_replicas(case.trace, flags, ranks)
    gaps, weights = run.gaps()
    assert (weights >= 0.0).all()
    assert weights.sum() == (run.emitted - 1).sum()
    took = (run.served.last_s - run.served.first_s).sum()
    assert (gaps * weights).sum() == pytest.approx(took, rel=1e-9, abs=1e-9)


def test_the_last_stage_drafts() -> None:
    """By hand: a token of the one request takes its step, and a tenth of one for the draft that is wrong."""
    table = costs(120, 20, base=1.0)._replace(attention=np.zeros((5, 5, 5, 5)), step=0.0)
    table = table._replace(tokens=np.ones(121), sequences=np.zeros(21))
    trace = unshared(np.zeros(1), np.array([10]), np.array([5]))
    for stages in (1, 2, 4):
        run = simulate_replicas(trace, drafting(ENGINE, 1, 0.0), Replicas(1, table, stages=stages))
        assert run.latencies()["tpot_s"][0] == pytest.approx(1.1)
        quick = simulate_replicas(trace, drafting(ENGINE, 1, 1.0), Replicas(1, table, stages=stages))
        assert quick.latencies()["tpot_s"][0] == pytest.approx(2 * 1.1 / 4)


def test_conversations_over_several_pipelines_are_refused() -> None:
    turns = Turns(np.array([-1, 0]), np.zeros(2))
    trace = replace(unshared(np.zeros(2), np.array([10, 30]), np.full(2, 5)), turns=turns)
    with pytest.raises(InputError, match="conversations that replicas"):
        simulate_replicas(trace, ENGINE, Replicas(2, costs(120, 20), stages=2))
