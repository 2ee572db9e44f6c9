"""SGLang's ranks that share experts, and its pipelines: one is a server, and several lose nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simulated import costs, keeps_the_load, same
from simulated_sglang import COSTS, PLAIN, Case, cases

from model.simulate.log import Served
from model.simulate.replicas import Replicas, simulate_replicas
from model.simulate.run import Run, simulate, summary
from model.simulate.sglang.server import SglangSettings
from model.simulate.sglang.serving import served_by_ranks
from model.simulate.speculation import Speculation
from model.simulate.stages import PipelineCosts
from model.simulate.together import LockstepCosts, by_itself
from model.simulate.trace import Trace, unshared
from perfdb.errors import InputError

SHARED = LockstepCosts(COSTS, 1e-5 * np.arange(129.0), 16)
ROOMY = replace(PLAIN, max_num_seqs=64, num_blocks=20_000, chunked_prefill_size=0, max_prefill_tokens=100_000)


def ranks(case: Case, count: int, stages: int = 1, cost: LockstepCosts = SHARED) -> Run:
    """Served, unless the server itself would end for want of memory."""
    try:
        return simulate_replicas(case.trace, case.settings, Replicas(count, cost, stages=stages))
    except InputError:
        assume(False)
        raise


def alone(case: Case) -> Served:
    return served_by_ranks(case.trace, case.settings, PipelineCosts(by_itself(COSTS), 1), 1)


@settings(max_examples=120, deadline=None)
@given(cases())
def test_one_rank_of_one_stage_is_a_server(case: Case) -> None:
    same(alone(case), case.served(skips=False))


@settings(max_examples=30, deadline=None)
@given(cases(), st.integers(1, 3), st.floats(0.0, 1.0))
def test_one_rank_drafts_as_a_server_does(case: Case, tokens: int, acceptance: float) -> None:
    flags = replace(case.settings, speculation=Speculation(tokens, acceptance, True, 0.1), overlaps=False)
    flags = replace(flags, enable_mixed_chunk=False, num_blocks=1000)
    case = Case(case.trace, flags)
    same(ranks(case, 1, cost=by_itself(COSTS)).served, case.served(skips=False))


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2))
def test_everyone_is_answered_and_every_gap_is_told(case: Case, count: int, stages: int, drafts: int) -> None:
    flags = replace(case.settings, num_blocks=4 * case.settings.num_blocks)
    if drafts:
        flags = replace(flags, speculation=Speculation(drafts, 0.6, True, 0.1), overlaps=False)
    flags = replace(flags, enable_mixed_chunk=flags.enable_mixed_chunk and not drafts and stages == 1)
    run = ranks(Case(case.trace, flags), count, stages)
    served, trace = run.served, case.trace
    assert (served.first_s > served.arrived).all()
    assert (served.last_s >= served.first_s).all()
    assert 0 < served.peak <= flags.num_blocks
    gaps, weights = run.gaps()
    assert weights.sum() == (run.emitted - 1).sum()
    assert (gaps * weights).sum() == pytest.approx((served.last_s - served.first_s).sum(), rel=1e-9, abs=1e-9)
    keeps_the_load(trace, served)


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(2, 3))
def test_together_nobody_is_faster_than_apart(case: Case, count: int) -> None:
    """All at once, sent in turn, room for all: each rank takes the same steps, only longer ones."""
    trace = unshared(np.zeros(len(case.trace)), case.trace.prompt, case.trace.output)
    slow = ranks(Case(trace, ROOMY), count, cost=by_itself(COSTS)).served
    quick = simulate_replicas(trace, ROOMY, Replicas(count, COSTS)).served
    assert (slow.first_s >= quick.first_s - 1e-12).all()
    assert (slow.last_s >= quick.last_s - 1e-12).all()


@pytest.mark.parametrize("stages", [1, 2, 5])
def test_a_request_alone_passes_all_stages_one_after_the_other(stages: int) -> None:
    trace = unshared(np.array([1.0]), np.array([50]), np.array([9]))
    run = simulate_replicas(trace, PLAIN, Replicas(1, COSTS, stages=stages))
    np.testing.assert_allclose(run.served.last_s, simulate(trace, PLAIN, COSTS).served.last_s)


def flat(base: float, tokens: int = 1000) -> Any:
    """Steps that take `base` seconds whatever they compute, about."""
    table = costs(tokens, 100)
    return table._replace(tokens=np.full(tokens + 1, base), attention=np.zeros((5, 5, 5, 5)), step=0.0)


def test_a_rank_that_decodes_waits_for_another_that_computes_a_prompt() -> None:
    """By hand: one answers in steps of a second; a prompt of the other rank makes one of them five seconds long."""
    table = flat(1.0)._replace(tokens=np.concatenate([np.full(10, 1.0), np.full(991, 5.0)]))
    cost = LockstepCosts(table, np.zeros(1001), 0)
    trace = unshared(np.array([0.0, 2.5]), np.array([5, 50]), np.array([6, 2]))
    together = simulate_replicas(trace, PLAIN, Replicas(2, cost)).served
    apart = simulate_replicas(trace, PLAIN, Replicas(2, table)).served
    np.testing.assert_allclose(apart.last_s, [6.0, 8.5], atol=1e-3)
    np.testing.assert_allclose(together.first_s, [1.0, 8.0], atol=1e-3)  # steps end at 1, 2, 3, 8, 9, 10
    np.testing.assert_allclose(together.last_s, [10.0, 9.0], atol=1e-3)


def test_experts_take_the_tokens_of_all_ranks_and_graphs_are_padded_unless_anybody_has_a_prompt() -> None:
    """Five prompts of a token on two ranks are 2.5 rows each; then 3 and 2 tokens, both as 4 of a captured graph."""
    trace = unshared(np.zeros(5), np.ones(5, dtype=np.int64), np.full(5, 3))
    for graph, step_s in ((0, 2.5), (16, 4.0)):
        cost = LockstepCosts(flat(0.0), np.arange(1001.0), graph)
        served = simulate_replicas(trace, PLAIN, Replicas(2, cost)).served
        assert served.first_s[0] == pytest.approx(2.5, abs=1e-3)
        assert served.last_s[0] == pytest.approx(2.5 + 2 * step_s, abs=1e-3)


def test_where_tokens_are_drafted_nobody_decodes_while_anybody_computes_a_prompt() -> None:
    trace = unshared(np.array([0.0, 2.5]), np.array([5, 5]), np.array([8, 1]))
    drafted = replace(PLAIN, speculation=Speculation(1, 0.0, False, 0.0))
    cost = LockstepCosts(flat(1.0), np.zeros(1001), 0)
    plain, waits = (simulate_replicas(trace, each, Replicas(2, cost)).served for each in (PLAIN, drafted))
    assert plain.last_s[0] == pytest.approx(8.0, abs=1e-3)
    assert waits.last_s[0] == pytest.approx(9.0, abs=1e-3)
    np.testing.assert_allclose([plain.last_s[1], waits.last_s[1]], 4.0, atol=1e-3)


def test_parts_of_a_prompt_follow_each_other_through_the_stages() -> None:
    """Ten parts of a second each: through two stages of half a second they take five and a half."""
    trace = unshared(np.array([0.0]), np.array([100]), np.array([1]))
    flags = replace(PLAIN, chunked_prefill_size=10)
    for stages, seconds in ((1, 10.0), (2, 5.5), (5, 2.8)):
        run = simulate_replicas(trace, flags, Replicas(1, flat(1.0), stages=stages))
        assert run.latencies()["ttft_s"][0] == pytest.approx(seconds, abs=0.01)


def test_a_request_stays_in_the_micro_batch_that_let_it_in() -> None:
    """By hand, two stages of half a second each: the second request comes while the first one's prompt is computed,
    and waits for the turn of the micro-batch that nobody is in."""
    trace = unshared(np.array([0.0, 0.25]), np.array([5, 5]), np.array([4, 4]))
    served = simulate_replicas(trace, PLAIN, Replicas(1, flat(1.0), stages=2)).served
    # the scheduler waits for the prompt until 1; then the first micro-batch has the turn, and lets the second one in
    np.testing.assert_allclose(served.first_s, [1.0, 2.0], atol=1e-3)
    np.testing.assert_allclose(served.last_s, [5.0, 5.0], atol=1e-3)
    few = replace(PLAIN, max_num_seqs=2)  # one each: the second micro-batch lets it in, when it has the turn
    served = simulate_replicas(trace, few, Replicas(1, flat(1.0), stages=2)).served
    np.testing.assert_allclose(served.first_s, [1.0, 2.0], atol=0.51)
    np.testing.assert_allclose(served.last_s - served.first_s, [3.0, 3.0], atol=0.1)


def test_micro_batches_share_the_sequences_that_may_run() -> None:
    trace = unshared(np.zeros(12), np.full(12, 5), np.full(12, 20))
    flags, table = replace(PLAIN, max_num_seqs=4), flat(1.0)
    for stages in (1, 2, 4):  # three times four of 20 steps, the four of them in as many batches as there are stages
        served = simulate_replicas(trace, flags, Replicas(1, table, stages=stages)).served
        assert served.last_s.max() == pytest.approx(60.0, rel=0.05)
        running = [((served.first_s < at) & (served.last_s > at)).sum() for at in np.arange(0.5, 60.0, 0.5)]
        assert max(running) == 4


def load(n: int = 300, gap: float = 0.0005) -> Trace:
    rng = np.random.default_rng(1)
    return unshared(np.cumsum(rng.exponential(gap, n)), rng.integers(1, 60, n), rng.integers(1, 60, n))


def test_more_stages_serve_faster_what_takes_as_long_as_it_has_tokens() -> None:
    table = costs(128, 20, base=0.0)._replace(step=0.0)
    ends = [simulate_replicas(load(), PLAIN, Replicas(1, table, stages=k)).served.last_s.max() for k in (1, 2, 4)]
    assert ends[0] > 1.2 * ends[1] > 1.2 * ends[2]
    pair = simulate_replicas(load(), PLAIN, Replicas(2, table, stages=2)).served  # apart, each with half
    assert pair.last_s.max() < ends[1]


def test_more_ranks_serve_a_load_faster_than_one_and_sharing_costs() -> None:
    flags = SglangSettings(8, 2000, 1, 1000, chunked_prefill_size=64)
    free, shared = LockstepCosts(COSTS, np.zeros(129), 0), LockstepCosts(COSTS, 1e-4 * np.arange(129.0), 0)
    one, two, dear = (
        summary(simulate_replicas(load(), flags, Replicas(count, cost)))["e2e_s"]["mean"]
        for count, cost in ((1, free), (2, free), (2, shared))
    )
    assert one > two
    assert dear > two


def test_a_prefix_is_found_by_all_micro_batches_and_by_no_other_rank() -> None:
    nothing = np.zeros(2, dtype=np.int64)
    trace = Trace(np.array([0.0, 1.0]), np.full(2, 100), np.full(2, 3), np.full(2, 90), nothing, nothing[:1])
    found = [
        simulate_replicas(trace, PLAIN, Replicas(count, by_itself(COSTS), stages=stages)).latencies()["ttft_s"]
        for count, stages in ((1, 1), (1, 3), (2, 1))
    ]
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-9)
    assert found[0][1] < 0.7 * found[0][0]
    assert found[2][1] == pytest.approx(found[2][0], rel=1e-9)


def test_where_sglang_itself_would_end_it_is_said() -> None:
    trace = unshared(np.zeros(2), np.full(2, 3), np.full(2, 20))
    tight = SglangSettings(6, 2, 16, 60, 64, 32, enable_prefix_caching=False)
    with pytest.raises(InputError, match="SGLang runs out of KV cache, or lets it wait for ever"):
        simulate_replicas(trace, tight, Replicas(1, COSTS, stages=2))
