"""Decode engines and their KV cache: what they hold, who is pushed out and who waits for a place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.closed_form.cycle import decode_load
from model.disagg.decoding import Decoding, spent
from model.disagg.pools import LEVELS, Pool
from model.steps.step import step
from perfdb.records import Scalar
from tests.model.disagg.test_answer import answer, at_rate, closed, value
from tests.model.disagg.test_pools import pool

ONE = np.zeros(1, np.int64)


def full(blocks: int = 1000, **config: Scalar) -> Pool:
    """16,000 tokens for answers of 1,000 over prompts of 1,000: room for ten or eleven."""
    return pool({"num_gpu_blocks_override": blocks, **config}, osl=1000)


def test_steps_from_one_sequence_to_all_that_are_held() -> None:
    both = pool({"max_num_seqs": 64}, {"max_num_seqs": 200})
    found = Decoding.of(both)
    assert found.top == pytest.approx([64.0, 200.0])
    assert found.curves.shape == (2, LEVELS)
    assert (np.diff(found.curves, axis=1) >= -1e-9).all()
    for sequences, level in ((np.ones(2), 0), (both.slots, -1)):
        assert found.curves[:, level] == pytest.approx(step(both.points, decode_load(both.points, sequences)).seconds)
    assert found.longer == pytest.approx(1.0)


def test_a_full_cache_holds_fewer_and_prompts_are_computed_again() -> None:
    found = Decoding.of(full())
    assert 9.5 < found.top[0] < full().memory.sequences[0]
    assert found.longer[0] > 1.01
    assert Decoding.of(full(4000, max_num_seqs=8)).longer[0] == pytest.approx(1.0)


def test_stages_share_a_cache() -> None:
    whole, stages = full(), full(pipeline_parallel_size=2)
    assert 2.0 * Decoding.of(stages).top[0] == pytest.approx(Decoding.of(whole).top[0])


def test_an_engine_that_reserves_what_answers_may_become_pushes_nobody_out() -> None:
    asked = full()
    facts = replace(asked.points.engine, name="trtllm")
    reserved = replace(asked, points=replace(asked.points, engine=facts))
    found = Decoding.of(reserved)
    assert found.longer[0] == 1.0
    assert found.top[0] == pytest.approx(asked.memory.room[0])


@given(st.floats(0.01, 300.0), st.floats(0.01, 50.0))
@settings(deadline=None, max_examples=30)
def test_the_time_of_a_request_parts_without_rest(requests: float, seconds: float) -> None:
    """Little's law: those who are active, pushed out and waiting are all there are."""
    found = spent(full(), ONE, np.array([requests]), np.zeros(1), np.array([seconds]))
    assert found.wait_s[0] + found.answer_s[0] == pytest.approx(seconds)
    assert 0.0 <= found.wait_s[0] < seconds
    assert found.active[0] <= min(requests, 1.1 * Decoding.of(full()).top[0])


def test_the_more_there_are_the_more_wait_and_nobody_where_there_is_room() -> None:
    waits = [
        float(spent(full(), ONE, np.array([n]), np.zeros(1), np.ones(1)).wait_s[0]) for n in (2.0, 10.0, 20.0, 90.0)
    ]
    assert waits == sorted(waits)
    assert waits[0] < 1e-6
    assert waits[-1] > 0.4


def simulated(load: Any, prefill: int, decode: int, blocks: int) -> dict[str, float]:
    """The same two pools request by request."""
    from model.disagg.pools import moved_bytes
    from model.simulate.engine import vllm_settings
    from model.simulate.pools import PoolEngines, Pools, simulate_pools
    from model.simulate.trace import unshared
    from model.steps.config import step_costs
    from model.steps.overheads import overheads
    from tests.model.disagg.test_answer import question

    n, cap = load.requests, load.concurrency or 0
    due = np.zeros(n) if cap else np.cumsum(np.random.default_rng(3).exponential(1.0 / load.request_rate, n))
    trace = unshared(due, np.full(n, int(load.isl)), np.full(n, int(load.osl)), cap)
    sides = [
        Pool.of(question(load, [config]), replace(load, osl=osl))
        for config, osl in (({}, 1), ({"num_gpu_blocks_override": blocks}, load.osl))
    ]
    engines = [
        PoolEngines(count, vllm_settings(side.points, {}, trace), step_costs(side.points, side.points.tables))
        for count, side in zip((prefill, decode), sides, strict=True)
    ]
    sent, taken = moved_bytes(*sides, ONE, ONE)
    run = simulate_pools(trace, Pools(*engines, *(float(each[0]) / load.isl / 50e9 for each in (sent, taken))))
    added = overheads("vllm")
    found = run.answers.latencies(2 * added.request_s, added.token_s)
    return {name: float(values.mean()) for name, values in found.items()}


@pytest.mark.parametrize("amount", [36, 60])
def test_a_full_cache_is_as_the_simulator_has_it(amount: int) -> None:
    """Two decode engines with room for ten or eleven each."""
    load = replace(closed(amount, 1000, 1000), requests=8 * amount, lengths="D(1000,1000)")
    found = answer(load, (2, 2), decode={"num_gpu_blocks_override": 1000})
    told = simulated(load, 2, 2, 1000)
    assert value(found, "tpot_s") == pytest.approx(told["tpot_s"], rel=0.1)
    assert value(found, "ttft_s") == pytest.approx(told["ttft_s"], rel=0.25)


def test_a_step_that_was_decided_before_passes_without_who_comes() -> None:
    """Eight slots for six requests: a first token waits for the step under way and for the next."""
    load = replace(closed(6, 1000, 1000), requests=300, lengths="D(1000,1000)")
    found, told = answer(load, (4, 1)), simulated(load, 4, 1, 4000)
    assert value(found, "ttft_s") == pytest.approx(told["ttft_s"], rel=0.1)
    step_s = float(found.stages["decode"][0]) / 999.0
    assert float(found.stages["wait"][0]) == pytest.approx(1.5 * step_s, rel=0.05)


def test_a_rate_beyond_a_full_cache_leaves_requests_behind() -> None:
    loads = [replace(at_rate(rate, 1000, 1000), requests=600) for rate in (0.5, 5.0)]
    easy, hard = (answer(load, (1, 1), decode={"num_gpu_blocks_override": 1000}) for load in loads)
    assert hard.limits[0] == "decode"
    assert hard.utilisation["decode"][0] == pytest.approx(1.0)
    assert easy.stages["wait"][0] < 1.0
    assert hard.stages["wait"][0] > 50.0
    # amid their answers wait those who were pushed out
    steps = value(hard, "request_tps") * float(hard.stages["decode"][0])
    assert steps > 1.05 * float(hard.active[0])
