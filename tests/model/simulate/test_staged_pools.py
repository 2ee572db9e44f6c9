"""Pools of pipelines and of ranks in joint steps: their clock is that of plain pools, of a pipeline, and of ranks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Case, cases, costs, keeps_the_load, same

from model.simulate.costs import StepCosts
from model.simulate.pools import PoolEngines, Pools, simulate_pools
from model.simulate.pools_clock import serve_pools
from model.simulate.replicas import Replicas, simulate_replicas
from model.simulate.staged_pools_clock import serve_staged_pools
from model.simulate.state import EngineSettings
from model.simulate.together import LockstepCosts
from model.simulate.trace import Trace, unshared

ENGINE = EngineSettings(120, 20, 4, 400, 200, enable_prefix_caching=False)
COSTS = costs(120, 200)
TOGETHER = LockstepCosts(COSTS, np.linspace(0.0, 0.05, len(COSTS.tokens)), 64)
COUNTS = st.tuples(st.integers(1, 3), st.integers(1, 3))


class InStages(Pools):
    """Pools served by the clock of pipelines, whatever they are."""

    @property
    def kernel(self) -> Any:
        """That clock."""
        return serve_staged_pools


def of_tokens(seconds: float) -> StepCosts:
    """Steps that take so many seconds for each token, and nothing else."""
    tokens = seconds * np.arange(len(COSTS.tokens), dtype=np.float64)
    nothing = np.zeros_like(COSTS.attention)
    return COSTS._replace(tokens=tokens, sequences=np.zeros_like(COSTS.sequences), attention=nothing, step=0.0)


def prompts(n: int, cap: int, seed: int = 3) -> Trace:
    """Requests of a single token each."""
    random = np.random.default_rng(seed)
    due = np.zeros(n) if cap else np.cumsum(random.exponential(0.003, n))
    return unshared(due, random.integers(5, 100, n), np.ones(n, np.int64), cap)


@settings(max_examples=60, deadline=None)
@given(cases(), COUNTS)
def test_plain_workers_are_served_alike_by_either_clock(case: Case, counts: tuple[int, int]) -> None:
    flags = replace(case.settings, enable_chunked_prefill=True)
    engines = [PoolEngines(count, flags, costs(120, 200)) for count in counts]
    plain = simulate_pools(case.trace, Pools(*engines, 1e-5, 2e-5), is_skipping=False)
    staged = simulate_pools(case.trace, InStages(*engines, 1e-5, 2e-5))
    same(plain.answers.served, staged.answers.served)
    same(plain.prompts, staged.prompts)


@settings(max_examples=40, deadline=None)
@given(cases(), COUNTS, st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 4]))
def test_everyone_is_answered_once_and_in_order(case: Case, counts: tuple[int, int], stages: int, ranks: int) -> None:
    flags = replace(case.settings, enable_chunked_prefill=True)
    one = PoolEngines(counts[0] * ranks, flags, TOGETHER, ranks, stages)
    other = PoolEngines(counts[1] * 2, flags, TOGETHER, 2, 3 - min(stages, 2))
    for pools in (Pools(one, other, 1e-5, 2e-5), Pools(other, one, 1e-5, 2e-5)):
        found = simulate_pools(case.trace, pools)
        served, several = found.answers.served, found.answers.emitted > 1
        assert (served.arrived < found.prompts.last_s).all()
        assert (served.first_s[several] >= found.moved_s[several]).all()
        assert (served.last_s[several] > served.first_s[several]).all()
        _, weights = found.answers.gaps()
        assert weights.sum() == (found.answers.emitted - 1).sum()
        assert max(served.peak, found.prompts.peak) <= flags.num_blocks
        keeps_the_load(case.trace, served)


@pytest.mark.parametrize("stages", [2, 4])
@pytest.mark.parametrize("cap", [0, 3, 30])
def test_a_prefill_pipeline_is_a_server_of_answers_of_one_token(stages: int, cap: int) -> None:
    asked = prompts(100, cap)
    whole = simulate_replicas(asked, ENGINE, Replicas(1, COSTS, stages=stages))
    pools = Pools(PoolEngines(1, ENGINE, COSTS, stages=stages), PoolEngines(1, ENGINE, COSTS), 0.0, 0.0)
    np.testing.assert_allclose(simulate_pools(asked, pools).answers.served.last_s, whole.served.last_s, rtol=1e-12)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_prefill_ranks_take_their_steps_together(ahead: bool, ranks: int) -> None:
    """As many users as ranks: each prompt goes to the rank that is free, by tokens as by requests."""
    flags = replace(ENGINE, async_scheduling=ahead)
    asked = unshared(np.zeros(40), np.full(40, 50), np.ones(40, np.int64), ranks)
    whole = simulate_replicas(asked, flags, Replicas(ranks, TOGETHER, by_load=True))
    pools = Pools(PoolEngines(ranks, flags, TOGETHER, ranks), PoolEngines(1, flags, COSTS), 0.0, 0.0)
    np.testing.assert_allclose(simulate_pools(asked, pools).answers.served.last_s, whole.served.last_s, rtol=1e-12)


def test_one_rank_decides_ahead_as_one_that_shares_nothing() -> None:
    flags = replace(ENGINE, async_scheduling=True)
    asked = prompts(100, 0)
    whole = simulate_replicas(asked, flags, Replicas(1, TOGETHER, by_load=True))
    pools = Pools(PoolEngines(1, flags, TOGETHER), PoolEngines(1, flags, COSTS), 0.0, 0.0)
    np.testing.assert_allclose(simulate_pools(asked, pools).answers.served.last_s, whole.served.last_s, rtol=1e-12)


def test_decode_ranks_wait_for_the_one_with_the_most() -> None:
    """Three answers on two ranks, whose prompts take no time: every step is one of two tokens and of one."""
    experts = 0.01 * np.arange(len(COSTS.tokens), dtype=np.float64)
    decode = PoolEngines(2, ENGINE, LockstepCosts(of_tokens(0.001), experts, 0), 2)
    asked = unshared(np.ones(3), np.full(3, 8), np.full(3, 11), 0)
    found = simulate_pools(asked, Pools(PoolEngines(1, ENGINE, of_tokens(0.0)), decode, 0.0, 0.0)).answers.served
    # two tokens in the rank that has more of them, and one and a half of each rank at the experts
    assert found.last_s - found.first_s == pytest.approx(10 * (0.002 + 0.015))


def test_a_decode_pipeline_sees_who_comes_when_its_batch_is_back() -> None:
    """Two answers of three tokens, whose batches pass two stages in 20 ms: the second joins the first."""
    decode = PoolEngines(1, ENGINE, of_tokens(0.02), stages=2)
    asked = unshared(np.array([1.0, 1.005]), np.full(2, 8), np.full(2, 3), 0)
    found = simulate_pools(asked, Pools(PoolEngines(1, ENGINE, of_tokens(0.0)), decode, 0.0, 0.0)).answers.served
    assert found.first_s == pytest.approx([1.0, 1.02])
    # a batch of both takes twice as long as one of either
    assert found.last_s == pytest.approx([1.06, 1.08])


@pytest.mark.parametrize(("costs_of", "stages"), [(TOGETHER, 1), (COSTS, 2), (TOGETHER, 2)])
def test_one_pool_that_is_not_plain_takes_both_to_its_clock(costs_of: Any, stages: int) -> None:
    plain, other = PoolEngines(1, ENGINE, COSTS), PoolEngines(1, ENGINE, costs_of, 1, stages)
    assert Pools(plain, plain, 0.0, 0.0).kernel is serve_pools
    assert Pools(plain, other, 0.0, 0.0).kernel is Pools(other, plain, 0.0, 0.0).kernel is serve_staged_pools
