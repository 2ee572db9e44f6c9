"""Prefill engines and decode engines of their own: nobody is lost, nothing comes before its cause, links take turns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simulated import Case, cases, costs, keeps_the_load, same

from model.simulate.blocks import NONE
from model.simulate.pools import PoolEngines, Pools, simulate_pools
from model.simulate.replicas import Replicas, simulate_replicas
from model.simulate.run import simulate
from model.simulate.speculation import Speculation
from model.simulate.state import EngineSettings
from model.simulate.trace import Turns, unshared
from perfdb.errors import InputError

ENGINE = EngineSettings(120, 20, 4, 400, 200, enable_prefix_caching=False)
COSTS = costs(120, 200)


def pools_of(case: Case, counts: tuple[int, int], send_s: float = 1e-5, take_s: float = 2e-5) -> Pools:
    flags = replace(case.settings, enable_chunked_prefill=True)
    table = costs(flags.max_num_batched_tokens, flags.max_num_seqs * 9)
    return Pools(*(PoolEngines(count, flags, table) for count in counts), send_s, take_s)


def pair(counts: tuple[int, int], flags: EngineSettings = ENGINE, send_s: float = 0.0, take_s: float = 0.0) -> Pools:
    return Pools(*(PoolEngines(count, flags, COSTS) for count in counts), send_s, take_s)


COUNTS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(cases(), COUNTS)
def test_everyone_is_answered_once_and_in_order(case: Case, counts: tuple[int, int]) -> None:
    pools = pools_of(case, counts)
    found = simulate_pools(case.trace, pools)
    served, trace = found.answers.served, case.trace
    several = found.answers.emitted > 1
    assert (served.arrived < found.prompts.last_s).all()
    assert (found.moved_s[several] >= (found.prompts.last_s + 2e-5 * trace.prompt)[several] * (1.0 - 1e-12)).all()
    assert (served.first_s[several] >= found.moved_s[several]).all()
    assert (served.last_s[several] > served.first_s[several]).all()
    assert np.isnan(found.moved_s[~several]).all()
    np.testing.assert_array_equal(served.last_s[~several], found.prompts.last_s[~several])
    gaps, weights = found.answers.gaps()
    assert weights.sum() == (found.answers.emitted - 1).sum()
    assert (gaps * weights).sum() == pytest.approx((served.last_s - served.first_s).sum(), rel=1e-9, abs=1e-9)
    assert max(served.peak, found.prompts.peak) <= case.settings.num_blocks
    keeps_the_load(trace, found.answers.served)


@settings(max_examples=60, deadline=None)
@given(cases(), COUNTS)
def test_stretches_equal_plain_steps(case: Case, counts: tuple[int, int]) -> None:
    pools = pools_of(case, counts)
    fast, plain = (simulate_pools(case.trace, pools, skips) for skips in (True, False))
    same(fast.answers.served, plain.answers.served)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_first_tokens_are_those_of_prompts_alone_where_nothing_else_takes_time(case: Case) -> None:
    """Links without delay and an idle decode engine for everyone."""
    assume(case.trace.turns is None and case.trace.cap == 0)
    pools = pools_of(case, (1, len(case.trace)), 0.0, 0.0)
    alone = replace(case.trace, output=np.ones_like(case.trace.output))
    expected = simulate(alone, pools.prefill.settings, pools.prefill.costs).served
    found = simulate_pools(case.trace, pools)
    np.testing.assert_allclose(found.answers.served.first_s, expected.first_s, rtol=1e-12)


def test_one_answer_is_a_prompt_a_move_and_a_step_for_each_further_token() -> None:
    trace = unshared(np.array([1.0]), np.array([100]), np.array([5]))
    found = simulate_pools(trace, pair((1, 1), send_s=1e-3, take_s=3e-3))
    prompt = simulate(replace(trace, output=np.ones(1, dtype=np.int64)), ENGINE, COSTS).served.last_s[0]
    assert found.answers.served.first_s[0] == pytest.approx(prompt + 0.3, rel=1e-12)
    whole = simulate(trace, ENGINE, COSTS)
    assert found.answers.latencies()["tpot_s"][0] == pytest.approx(whole.latencies()["tpot_s"][0], rel=1e-9)


def test_moves_take_turns_on_a_link_and_links_of_more_engines_share_them() -> None:
    trace = unshared(np.zeros(12), np.full(12, 10), np.full(12, 3))
    moved = np.sort(simulate_pools(trace, pair((1, 1), send_s=0.1, take_s=0.05)).moved_s)
    np.testing.assert_allclose(np.diff(moved), 1.0, rtol=1e-9)
    by_receivers = np.sort(simulate_pools(trace, pair((1, 3), send_s=0.1, take_s=0.05)).moved_s)
    np.testing.assert_allclose(by_receivers, moved)
    both = np.sort(simulate_pools(trace, pair((2, 2), send_s=0.1, take_s=0.05)).moved_s)
    assert both[-1] < 0.6 * moved[-1]


def test_a_full_decode_pool_shows_first_tokens_late_and_a_preempted_answer_is_computed_anew() -> None:
    trace = unshared(np.zeros(30), np.full(30, 40), np.full(30, 60))
    roomy = replace(ENGINE, num_blocks=900)
    wide, narrow = (simulate_pools(trace, pair((1, 1), replace(roomy, max_num_seqs=seqs))) for seqs in (20, 4))
    assert narrow.answers.served.first_s.mean() > wide.answers.served.first_s.mean()
    assert wide.answers.served.preemptions == 0
    small = pair((1, 1), replace(ENGINE, num_blocks=60))
    assert simulate_pools(trace, small).answers.served.preemptions > 0


def test_a_pool_that_does_everything_else_is_no_slower_than_one_server() -> None:
    """Decodes that no prompt interrupts: shorter gaps between tokens."""
    trace = unshared(np.linspace(0.0, 0.2, 60), np.full(60, 100), np.full(60, 40))
    apart = simulate_pools(trace, pair((1, 1))).answers
    together = simulate_replicas(trace, ENGINE, Replicas(2, COSTS))
    assert apart.latencies()["tpot_s"].mean() < together.latencies()["tpot_s"].mean()


def test_conversations_prefixes_and_drafts_pass_both_pools() -> None:
    n = 12
    turns = Turns(np.where(np.arange(n) % 3 == 0, NONE, np.arange(n) - 1), np.full(n, 0.01))
    talk = replace(unshared(np.zeros(n), 20 + 30 * (np.arange(n) % 3), np.full(n, 10)), turns=turns)
    found = [simulate_pools(talk, pair((1, 2), replace(ENGINE, enable_prefix_caching=on))) for on in (True, False)]
    ttft = [run.answers.latencies()["ttft_s"] for run in found]
    assert ttft[0][1::3].mean() < ttft[1][1::3].mean()  # the turns before had brought their prompts
    drafting = replace(ENGINE, speculation=Speculation(3, 1.0, True, 0.1))
    assert simulate_pools(talk, pair((1, 1), drafting)).answers.latencies()["tpot_s"].mean() < (
        simulate_pools(talk, pair((1, 1))).answers.latencies()["tpot_s"].mean()
    )


def test_what_neither_pool_can_ever_serve_is_refused() -> None:
    for prompt, answer, message in ((300, 5, "max_model_len"), (100, 90, "blocks of the KV cache")):
        with pytest.raises(InputError, match=message):
            simulate_pools(
                unshared(np.zeros(1), np.array([prompt]), np.array([answer])),
                pair((1, 1), replace(ENGINE, num_blocks=30)),
            )
