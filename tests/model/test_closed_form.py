"""The closed form beside the event simulator, both on the rates that ship: what loops of any spread come to."""

from __future__ import annotations

import numpy as np
import pytest
from closed_beside_simulated import both, loop

from model.checkpoint.architecture import resolve_model
from perfdb.records import Arrival, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")
DECIDED_AHEAD, NOT = "vllm:0.24.0", "vllm:0.10.0"
"""A version of vLLM that decides a step while the one before it runs by default, and one that does not."""


def off(load: Workload, served_by: str, **config: Scalar) -> list[float]:
    """|log(closed form / simulated)| of TTFT, TPOT and tokens/s."""
    closed, simulated = both(LLAMA, load, served_by, **config)
    return [float(value) for value in np.abs(np.log(np.array(closed) / np.array(simulated)))]


@pytest.mark.parametrize("version", [DECIDED_AHEAD, NOT])
@pytest.mark.parametrize(("isl", "osl", "concurrency", "budget"), [
    (128, 128, 32, 8192),  # all prompts in one step
    (1024, 128, 32, 8192),  # four convoys of seven, and what is left
    (300, 64, 50, 8192),  # one convoy and a part of it
    (4000, 100, 8, 2048),  # two steps to a prompt
])  # fmt: skip
def test_equal_lengths_come_to_what_is_simulated(
    version: str, isl: int, osl: int, concurrency: int, budget: int
) -> None:
    ttft, tpot, rate = off(loop(isl, osl, concurrency), version, max_num_batched_tokens=budget, max_num_seqs=256)
    assert ttft < 0.06
    assert tpot < 0.02
    assert rate < 0.05


@pytest.mark.parametrize("spread", [0.01, 0.03, 0.1, 0.5])
def test_every_spread_comes_to_what_is_simulated(spread: float) -> None:
    ttft, tpot, rate = off(loop(1024, 200, 32, spread), DECIDED_AHEAD, max_num_batched_tokens=8192)
    assert ttft < 0.2
    assert tpot < 0.04
    assert rate < 0.05


def test_in_step_the_first_token_comes_later_in_both() -> None:
    """So much that one answer for both would be wrong for each: prompts of one round are all before one another."""
    fixed, varied = (both(LLAMA, loop(512, 256, 16, spread), NOT, max_num_batched_tokens=8192) for spread in (0.0, 0.5))
    for equal, unlike in zip(fixed, varied, strict=True):
        assert equal[0] > 1.8 * unlike[0]


def test_drafts_take_a_loop_out_of_step_in_both() -> None:
    drafted = {"num_speculative_tokens": 3, "acceptance_rate": 0.6, "draft_layers": 1, "max_num_batched_tokens": 8192}
    ttft, tpot, _ = off(loop(512, 256, 16), NOT, **drafted)
    assert ttft < 0.15
    assert tpot < 0.03


@pytest.mark.parametrize(("load", "least"), [
    (loop(1024, 128, 32), 0.3),
    (loop(1024, 128, 32, 0.5), 0.1),
    (Workload(1024, 128, Arrival.POISSON, request_rate=8.0, requests=1500, lengths="N(1024,512)/(128,64)"), 0.1),
])  # fmt: skip
def test_a_step_decided_ahead_delays_first_tokens_as_in_the_simulator(load: Workload, least: float) -> None:
    """What async scheduling adds to a TTFT, in both: a step of the others, far from nothing."""
    (ahead, simulated_ahead), (plain, simulated) = (
        both(LLAMA, load, DECIDED_AHEAD, async_scheduling=flag, max_num_batched_tokens=8192) for flag in (True, False)
    )
    added, simulated_added = ahead[0] - plain[0], simulated_ahead[0] - simulated[0]
    assert simulated_added > least * simulated[0]
    assert added == pytest.approx(simulated_added, rel=0.35)


def test_one_step_for_all_prompts_leaves_nothing_to_wait_for() -> None:
    """Who ends together finds an engine without a step under way."""
    ahead, plain = (both(LLAMA, loop(128, 64, 16), DECIDED_AHEAD, async_scheduling=flag) for flag in (True, False))
    for one, other in zip(ahead, plain, strict=True):
        assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize(("isl", "osl", "concurrency", "spread"), [
    (128, 128, 32, 0.0),  # all prompts in one step
    (1024, 128, 32, 0.0),  # four steps of prompts, while nobody decodes
    (6000, 64, 12, 0.0),  # prompts in chunks
    (1024, 200, 32, 0.5),
    (6000, 64, 12, 0.5),
])  # fmt: skip
def test_where_prompts_come_first_loops_come_to_what_is_simulated(
    isl: int, osl: int, concurrency: int, spread: float
) -> None:
    ttft, tpot, rate = off(
        loop(isl, osl, concurrency, spread), "sglang:0.5.9", chunked_prefill_size=4096, max_running_requests=256
    )
    assert ttft < 0.12
    assert tpot < 0.06
    assert rate < 0.06


def test_where_prompts_come_first_those_in_step_wait_for_all_of_them() -> None:
    """And decode together: the first token comes later than where steps hold both, the others sooner."""
    load, size = loop(1024, 128, 32), 4096
    (first, mixed), (simulated_first, simulated_mixed) = zip(
        both(LLAMA, load, "sglang:0.5.9", chunked_prefill_size=size),
        both(LLAMA, load, NOT, max_num_batched_tokens=size),
        strict=True,
    )
    assert first[0] > 1.3 * mixed[0]
    assert simulated_first[0] > 1.3 * simulated_mixed[0]
    assert first[1] < mixed[1]
    assert simulated_first[1] < simulated_mixed[1]


@pytest.mark.parametrize(("served_by", "seqs"), [("sglang:0.5.9", "max_running_requests"), (NOT, "max_num_seqs")])
def test_answers_of_two_tokens_are_prompts_for_the_most_part(served_by: str, seqs: str) -> None:
    (ttft, _, rate), (simulated, _, simulated_rate) = both(LLAMA, loop(512, 2, 8), served_by, **{seqs: 64})
    assert ttft == pytest.approx(simulated, rel=0.35)
    assert rate == pytest.approx(simulated_rate, rel=0.35)


@pytest.mark.parametrize(("isl", "osl", "concurrency"), [(128, 1024, 256), (512, 256, 128), (1024, 512, 64)])
def test_the_burst_at_the_start_fills_steps_whatever_the_lengths(isl: int, osl: int, concurrency: int) -> None:
    """Of twelve rounds the first is most of the mean: later prompts come one by one."""
    load = loop(isl, osl, concurrency, 0.5)
    assert off(load, NOT, max_num_batched_tokens=8192, max_num_seqs=256)[0] < 0.2
