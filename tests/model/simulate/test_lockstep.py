"""Replicas that share experts: a step is as long as its slowest replica, and none is ahead of another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simulated import Case, cases, costs, same

from model.simulate import together
from model.simulate.lockstep_clock import serve_together
from model.simulate.log import Served, closed, new_book
from model.simulate.ranks import new_ranks
from model.simulate.replicas import Replicas, simulate_replicas
from model.simulate.routing import new_desk
from model.simulate.run import simulate
from model.simulate.state import EngineSettings, compiled
from model.simulate.together import SHAPE, LockstepCosts
from model.simulate.trace import unshared
from tests.support.kernels import called

captured, lockstep_s = called(together.captured), called(together.lockstep_s)
ENGINE = EngineSettings(120, 20, 4, 200, 200, enable_prefix_caching=False)


def together_s(most: int, expert_s: float = 1e-5) -> np.ndarray:
    return expert_s * np.arange(most + 1.0)


def table(flags: EngineSettings, graph: int = 32, expert_s: float = 1e-5) -> LockstepCosts:
    most = flags.max_num_batched_tokens
    return LockstepCosts(costs(most, flags.max_num_seqs), together_s(most, expert_s), min(graph, most))


def served(case: Case, count: int, cost: LockstepCosts, skips: bool = True, by_load: bool = True) -> Served:
    trace, flags = case.trace, case.settings
    ranks, desk = new_ranks(flags, len(trace), count), new_desk(count, by_load)
    requests, arrivals, book = trace.requests(), trace.arrivals(), new_book(len(trace))
    return closed(serve_together(compiled(flags), requests, cost, arrivals, skips, ranks, desk, book))


def shape(prompt: int = 0, decodes: int = 0, cached: int = 0) -> tuple[float, ...]:
    return prompt + decodes, decodes + (prompt > 0), prompt, 0.0, decodes, decodes * cached, prompt


def step_s(cost: LockstepCosts, *shapes: tuple[float, ...]) -> float:
    return float(lockstep_s(cost, np.array(list(shapes), SHAPE), 0.0)[0])


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(2, 4))
def test_stretches_equal_plain_steps(case: Case, count: int) -> None:
    cost = table(case.settings)
    same(served(case, count, cost), served(case, count, cost, skips=False))


@settings(max_examples=40, deadline=None)
@given(cases())
def test_one_replica_without_graphs_is_a_server(case: Case) -> None:
    flags, cost = case.settings, table(case.settings, graph=0)
    alone = served(case, 1, cost)
    assume(np.isfinite(alone.last_s).all())
    whole = cost.own._replace(tokens=cost.own.tokens + cost.experts)
    same(alone, simulate(case.trace, flags, whole).served)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(2, 4))
def test_together_nobody_is_faster_than_apart(case: Case, count: int) -> None:
    """All at once, sent in turn, room for all: then each replica takes the same steps, only longer ones."""
    flags = replace(case.settings, num_blocks=10_000, max_num_seqs=64, max_num_batched_tokens=5_000, max_model_len=500)
    n = len(case.trace)
    trace = unshared(np.zeros(n), case.trace.prompt, case.trace.output)
    cost = table(flags, expert_s=0.0)
    slow = served(Case(trace, flags), count, cost, by_load=False)
    quick = simulate_replicas(trace, flags, Replicas(count, cost.own)).served
    assert (slow.first_s >= quick.first_s - 1e-12).all()
    assert (slow.last_s >= quick.last_s - 1e-12).all()


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 4))
def test_everyone_is_answered_in_order_and_no_token_is_lost(case: Case, count: int) -> None:
    found, trace = served(case, count, table(case.settings)), case.trace
    assume(np.isfinite(found.last_s).all())
    assert (found.first_s > found.arrived).all()
    assert (found.last_s >= found.first_s).all()
    assert found.peak <= case.settings.num_blocks
    emitted = np.minimum(trace.output, np.maximum(case.settings.max_model_len - trace.prompt, 1))
    assert (found.steps * found.emitted).sum() + len(found.late) == (emitted - 1).sum()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20), st.integers(1, 300)), min_size=1, max_size=4))
def test_a_step_takes_the_slowest_part_and_the_experts(told: list[tuple[int, int, int]]) -> None:
    cost = table(ENGINE)
    shapes = np.array([shape(*each) for each in told], SHAPE)
    seconds, slowest = lockstep_s(cost, shapes, 0.0)
    alone = [lockstep_s(cost, shapes[[rank]], 0.0)[0] for rank in range(len(told))]
    assert 0 <= slowest < len(told)
    mean = shapes["tokens"].mean()
    assert seconds >= cost.own.step + float(np.interp(mean, np.arange(121), cost.experts))
    # never below the slowest with its own experts, but for what fewer tokens of the others spare it there
    spared = float(cost.experts[int(shapes["tokens"].max())] - np.interp(mean, np.arange(121), cost.experts))
    assert seconds >= max(alone) - spared - 1e-4 * 120
    assert lockstep_s(cost, shapes[::-1].copy(), 0.0)[0] == pytest.approx(seconds)


def test_small_steps_are_padded_to_the_largest_and_large_ones_are_not() -> None:
    cost = table(ENGINE)
    few = step_s(cost, shape(decodes=10, cached=50), shape(decodes=1, cached=50))
    pair = step_s(cost, shape(decodes=10, cached=50), shape(decodes=16, cached=0))
    assert few == pytest.approx(pair, rel=0.01)  # 16 rows on both, either way
    prompt, rest = shape(prompt=100), shape(decodes=1, cached=50)
    beyond = step_s(cost, prompt, rest)
    both = step_s(cost, prompt, prompt)
    assert both - beyond == pytest.approx(float(cost.experts[100]) * 0.495, rel=0.01)


def test_an_idle_replica_computes_a_token_of_nobody() -> None:
    cost = table(ENGINE, graph=0)
    idle = step_s(cost, shape(prompt=99), shape())
    assert idle == pytest.approx(step_s(cost, shape(prompt=99), shape(prompt=1)), rel=1e-3)


@given(st.integers(1, 512))
def test_graphs_are_captured_in_steps_of_eight_then_sixteen(tokens: int) -> None:
    size = captured(tokens, 512)
    assert size >= tokens
    assert size in {1, 2, 4, *range(8, 257, 8), *range(272, 513, 16)}
    assert size == 512 or captured(size, 512) == size
    assert size - tokens < (1 if tokens <= 2 else 2 if tokens <= 4 else 8 if tokens <= 256 else 16)


def test_a_long_prompt_holds_up_those_who_decode_elsewhere() -> None:
    """Two replicas: one decodes all the time, the other gets a prompt."""
    trace = unshared(np.array([0.0, 0.05]), np.array([2, 110]), np.array([60, 2]))
    cost = table(ENGINE, expert_s=1e-4)
    alone = simulate_replicas(trace, ENGINE, Replicas(2, cost.own)).served
    both = simulate_replicas(trace, ENGINE, Replicas(2, cost, by_load=True)).served
    assert both.late.size == alone.late.size == 0
    assert both.gap_first.max() > 5 * np.median(both.gap_first)
    assert both.last_s[0] > alone.last_s[0]
