"""Requests in a pipeline: who is in a step together, and what one with a prompt costs the others."""

from __future__ import annotations

import numpy as np
import pytest
from closed_beside_simulated import both, loop
from hypothesis import given
from hypothesis import strategies as st

from model.architecture import resolve_model
from model.knobs import points_of
from model.load import load_of
from model.pipeline import groups, held_up, through_s
from model.points import Points
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")
BUDGET = 8192


def points(stages: int, load: Workload, served_by: str = "vllm") -> Points:
    name = "pp_size" if served_by == "sglang" else "pipeline_parallel_size"
    tokens = {} if served_by == "sglang" else {"max_num_batched_tokens": BUDGET}
    grid = Grid.of([{name: stages, **tokens}])
    return points_of(LLAMA, platform("h200_sxm"), engine(served_by), stages, grid, load_of(load, 1))


def one(value: float) -> np.ndarray:
    return np.array([value])


@pytest.mark.parametrize(("isl", "active", "parts"), [
    (512, 16, 1),  # all prompts fill one step: who began together stays together
    (512, 17, 2),
    (1024, 24, 3),
    (1024, 256, 4),
    (8192, 2, 2),
    (9000, 1, 1),
])  # fmt: skip
def test_a_burst_falls_into_as_many_groups_as_it_fills_steps(isl: int, active: int, parts: int) -> None:
    assert groups(points(4, loop(isl, 64, active)), one(active)).item() == parts


def test_who_comes_at_random_is_in_any_group() -> None:
    rate = points(4, Workload(128, 64, Arrival.POISSON, request_rate=1.0))
    assert groups(rate, one(16.0)).item() == 4
    assert groups(rate, one(2.5)).item() == 2.5
    assert groups(points(4, loop(128, 64, 16), "sglang"), one(16.0)).item() == 4


@given(st.integers(1, 8), st.floats(0, 1), st.floats(0, 1), st.integers(2, 2000))
def test_a_long_step_costs_once_to_as_many_times_as_there_are_stages(
    stages: int, alike: float, share: float, steps: int
) -> None:
    rows = points(stages, loop(512, 64, 64))
    held = held_up(rows, one(stages), one(alike), one(share * steps), one(steps)).item()
    assert 1 - 1e-9 <= held <= stages + 1e-9
    rarer = held_up(rows, one(stages), one(alike), one(share * steps / 2), one(steps)).item()
    assert rarer >= held - 1e-9


def test_steps_follow_each_other_a_stage_apart() -> None:
    rows = points(4, loop(512, 64, 64))
    assert through_s(rows, one(1.0), one(8.0)).item() == 8.0
    assert through_s(rows, one(5.0), one(8.0)).item() == 16.0
    assert through_s(points(1, loop(512, 64, 64)), one(5.0), one(8.0)).item() == 40.0


def off(isl: int, osl: int, concurrency: int, stages: int, spread: float) -> list[float]:
    """|log(closed form / simulated)| of TTFT, TPOT and tokens/s."""
    config: dict[str, Scalar] = {
        "pipeline_parallel_size": stages,
        "max_num_batched_tokens": BUDGET,
        "max_num_seqs": 256,
    }
    closed, simulated = both(LLAMA, loop(isl, osl, concurrency, spread), "vllm:0.24.0", stages, **config)
    return [float(value) for value in np.abs(np.log(np.array(closed) / np.array(simulated)))]


@pytest.mark.parametrize(("isl", "osl", "concurrency", "stages"), [
    (512, 128, 16, 2), (512, 128, 16, 4), (512, 128, 64, 2), (1024, 128, 64, 2), (2048, 256, 64, 2), (128, 256, 256, 2),
])  # fmt: skip
@pytest.mark.parametrize("spread", [0.0, 0.8])
def test_pipelines_come_to_what_is_simulated(isl: int, osl: int, concurrency: int, stages: int, spread: float) -> None:
    ttft, tpot, rate = off(isl, osl, concurrency, stages, spread)
    assert ttft < 0.35
    assert tpot < 0.1
    assert rate < 0.15


def test_one_group_gains_nothing_from_stages() -> None:
    """Sixteen prompts of one step stay together: no more tokens come from two devices than from one."""
    config: dict[str, Scalar] = {"max_num_batched_tokens": BUDGET}
    rates = [
        both(LLAMA, loop(512, 128, 16), "vllm:0.24.0", stages, pipeline_parallel_size=stages, **config)
        for stages in (1, 2)
    ]
    for one_stage, two_stages in zip(*rates, strict=True):
        assert two_stages[2] == pytest.approx(one_stage[2], rel=0.02)
