"""Requests in a pipeline: who is in a step together, and what one with a prompt costs the others."""

from __future__ import annotations

import numpy as np
import pytest
from closed_beside_simulated import both, loop
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.closed_form.pipeline import groups, held_up, passing, through_s
from model.closed_form.queueing import Prompting
from model.knobs import points_of
from model.load import load_of
from model.points import Points
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")
BUDGET = 8192


def points(stages: int, load: Workload, served_by: str = "vllm", **others: Scalar) -> Points:
    name = "pp_size" if served_by == "sglang" else "pipeline_parallel_size"
    tokens = {} if served_by == "sglang" else {"max_num_batched_tokens": BUDGET}
    grid = Grid.of([{name: stages, **tokens, **others}])
    return points_of(LLAMA, platform("h200_sxm"), engine(served_by), stages, grid, load_of(load, 1))


def at_rate(isl: int, osl: int, rate: float, requests: int = 600) -> Workload:
    return Workload(isl, osl, Arrival.POISSON, request_rate=rate, requests=requests, lengths=f"D({isl},{osl})")


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


def test_who_comes_at_a_rate_is_in_as_many_groups_as_they_part_into() -> None:
    rate = points(4, at_rate(128, 64, 1.0))
    assert groups(rate, one(16.0)).item() == 1
    assert groups(rate, one(16.0), one(3.2)).item() == 3.2
    assert groups(rate, one(2.5), one(4.0)).item() == 2.5


def test_micro_batches_of_sglang_have_places_of_their_own() -> None:
    few = points(4, loop(128, 64, 32), "sglang", max_running_requests=64)
    assert groups(few, one(32.0)).item() == 2
    assert groups(few, one(64.0)).item() == 4
    assert groups(points(4, loop(128, 64, 32), "sglang"), one(32.0)).item() == 1


@given(st.integers(1, 8), st.floats(0, 1), st.floats(0, 1), st.integers(2, 2000))
def test_a_long_step_costs_once_to_as_many_times_as_there_are_stages(
    stages: int, alike: float, share: float, steps: int
) -> None:
    rows = points(stages, loop(512, 64, 64))
    held = held_up(rows, one(stages), one(alike), one(share * steps), one(steps)).item()
    assert 1 - 1e-9 <= held <= stages + 1e-9
    rarer = held_up(rows, one(stages), one(alike), one(share * steps / 2), one(steps)).item()
    assert rarer >= held - 1e-9


@given(st.floats(1, 4), st.floats(1, 16), st.integers(1, 1000))
def test_parts_of_a_prompt_hold_others_up_less_than_as_many_prompts(together: float, row: float, long: int) -> None:
    rows = points(4, loop(512, 64, 64))
    apart, in_row = (
        held_up(rows, one(together), one(0.0), one(long), one(1000), one(many)).item() for many in (1.0, row)
    )
    assert 1 - 1e-9 <= in_row <= apart + 1e-9
    rare = held_up(rows, one(4.0), one(0.0), one(1e-9), one(1000), one(4.0)).item()
    assert rare == pytest.approx(7 / 4)  # four parts at one stage, and the last of them at three more


def test_steps_follow_each_other_a_stage_apart() -> None:
    rows = points(4, loop(512, 64, 64))
    assert through_s(rows, one(1.0), one(8.0)).item() == 8.0
    assert through_s(rows, one(5.0), one(8.0)).item() == 16.0
    assert through_s(points(1, loop(512, 64, 64)), one(5.0), one(8.0)).item() == 40.0


def test_sglang_computes_a_prompt_next_in_a_pipeline_and_its_parts_one_behind_the_other() -> None:
    found = Prompting(one(1.0), one(2.0), one(9.0), one(3.0))
    whole, parted = (
        passing(points(4, at_rate(512, 64, 1.0), "sglang"), one(2.0), one(1.0), one(fitting), found)
        for fitting in (3.0, 0.25)
    )
    assert [value.item() for value in whole] == pytest.approx([1.0, 2.0, 8.0, 3.0 * 10 / 11])
    assert [value.item() for value in parted] == pytest.approx([1.0, 1.0, 8.0 * 7 / 16, 3.0 * 4.5 / 11])
    same = passing(points(1, at_rate(512, 64, 1.0), "sglang"), one(1.0), one(1.0), one(0.25), found)
    assert same == found


def off(load: Workload, stages: int, served_by: str = "vllm:0.24.0", budget: int = BUDGET) -> list[float]:
    """|log(closed form / simulated)| of TTFT, TPOT and tokens/s."""
    names = ("pipeline_parallel_size", "max_num_batched_tokens", "max_num_seqs")
    if served_by == "sglang":
        names = ("pp_size", "chunked_prefill_size", "max_running_requests")
    config: dict[str, Scalar] = dict(zip(names, (stages, budget, 256), strict=True))
    closed, simulated = both(LLAMA, load, served_by, stages, **config)
    return [float(value) for value in np.abs(np.log(np.array(closed) / np.array(simulated)))]


@pytest.mark.parametrize(("isl", "osl", "concurrency", "stages"), [
    (512, 128, 16, 2), (512, 128, 16, 4), (512, 128, 64, 2), (1024, 128, 64, 2), (2048, 256, 64, 2), (128, 256, 256, 2),
])  # fmt: skip
@pytest.mark.parametrize("spread", [0.0, 0.8])
def test_pipelines_come_to_what_is_simulated(isl: int, osl: int, concurrency: int, stages: int, spread: float) -> None:
    ttft, tpot, rate = off(loop(isl, osl, concurrency, spread), stages)
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


@pytest.mark.parametrize("served_by", ["vllm:0.24.0", "sglang"])
@pytest.mark.parametrize(("isl", "osl", "rate", "stages"), [
    (1024, 128, 10.0, 2), (1024, 128, 10.0, 4), (512, 256, 20.0, 2), (8000, 128, 2.0, 4),
])  # fmt: skip
def test_pipelines_at_a_rate_come_to_what_is_simulated(
    isl: int, osl: int, rate: float, stages: int, served_by: str
) -> None:
    """Prompts of 8,000 tokens are computed in four parts."""
    ttft, tpot, _ = off(at_rate(isl, osl, rate), stages, served_by, 2048 if isl > 2048 else BUDGET)
    assert ttft < 0.2
    assert tpot < 0.2


@pytest.mark.parametrize("concurrency", [8, 64])
@pytest.mark.parametrize("stages", [2, 4])
def test_pipelines_of_sglang_come_to_what_is_simulated(concurrency: int, stages: int) -> None:
    """Prompts of one micro-batch hold up the others."""
    _, tpot, rate = off(loop(1024, 128, concurrency, 0.8), stages, "sglang")
    assert tpot < 0.15
    assert rate < 0.15


@pytest.mark.parametrize("served_by", ["vllm:0.24.0", "sglang"])
def test_requests_at_a_rate_gain_nothing_from_stages_while_their_prompts_fit(served_by: str) -> None:
    """Who comes while a batch is under way is in the next with all others."""
    name = "pp_size" if served_by == "sglang" else "pipeline_parallel_size"
    load = at_rate(1024, 256, 15.0)
    found = [both(LLAMA, load, served_by, stages, **{name: stages})[0] for stages in (1, 2, 4)]
    assert [tpot for _, tpot, _ in found[1:]] == pytest.approx([found[0][1]] * 2, rel=0.06)
