"""Ranks that share experts: what one meets of the prompts of the others, beside the simulated ranks."""

from __future__ import annotations

import numpy as np
import pytest
from closed_beside_simulated import both, loop
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.closed_form.cycle import cycle
from model.closed_form.joint import between_ranks, joint_s, largest, met_in_turn
from model.closed_form.queueing import prompting
from model.knobs import points_of
from model.load import load_of
from model.points import Points
from model.steps.ops import StepLoad
from model.steps.step import steps_s
from model.tables.shelf import NO_TABLES
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

MODEL = resolve_model("Qwen/Qwen3-30B-A3B")
PLACE = platform("h200_sxm")
RANKS: dict[str, dict[str, Scalar]] = {
    "vllm": {"data_parallel_size": 4, "enable_expert_parallel": True, "max_num_batched_tokens": 8192},
    "sglang": {"tp_size": 4, "dp_size": 4, "enable_dp_attention": True},
}


def points(load: Workload, served_by: str = "vllm", **config: Scalar) -> Points:
    grid = Grid.of([config or RANKS[served_by]])
    return points_of(MODEL, PLACE, engine(served_by), 4, grid, load_of(load, 1), NO_TABLES.of(PLACE, served_by, None))


def one(value: float) -> np.ndarray:
    return np.array([value])


def steps(at: Points) -> tuple[StepLoad, StepLoad]:
    """With one prompt beside seven sequences, and with those alone."""
    mixed, decode = (1000.0, 500.0, 1.0, 500.0, 7.0, 1100.0), (0.0, 0.0, 0.0, 0.0, 8.0, 1100.0)
    first, second = (StepLoad(*map(one, load), np.ones(len(at))) for load in (mixed, decode))
    return first, second


def taken(at: Points, often: float, alike: float = 0.0, prompts: float = 1.0) -> tuple[float, float]:
    loads = steps(at)
    first, second = steps_s(at, loads)
    mixed, decode = joint_s(at, loads, (first, second), one(often), one(prompts), one(8.0), one(alike))
    return mixed.item(), decode.item()


def apart(at: Points) -> tuple[float, float]:
    mixed, decode = steps_s(at, steps(at))
    return mixed.item(), decode.item()


@given(st.floats(0.001, 0.9), st.sampled_from(["loop", "rate"]))
@settings(deadline=None, max_examples=30)
def test_steps_with_prompts_of_others_take_longer(often: float, kind: str) -> None:
    """The more often any rank has prompts, the longer the steps of those who have none, up to one with prompts."""
    rate = Workload(1000, 200, Arrival.POISSON, request_rate=9.0, lengths="D(1000,200)")
    at = points(rate if kind == "rate" else loop(1000, 200, 32))
    mixed, decode = taken(at, often)
    more = taken(at, min(often * 1.5, 0.95))
    assert apart(at)[1] < decode < more[1] < mixed
    assert mixed < more[0]


def test_a_prompt_alone_brings_the_experts_less_than_one_on_every_rank() -> None:
    at = points(loop(1000, 200, 32))
    mixed, decode = taken(at, 1e-4)
    assert mixed < 0.8 * apart(at)[0]
    assert decode == pytest.approx(apart(at)[1], rel=0.01)


def test_ranks_in_step_and_those_that_share_nothing_take_what_one_takes() -> None:
    load = loop(1000, 200, 32)
    together, own = points(load), points(load, data_parallel_size=1)
    assert taken(together, 0.3, alike=1.0) == apart(together)
    assert taken(own, 0.3) == apart(own)


def test_what_comes_in_turn_meets_less_than_what_comes_by_chance() -> None:
    """Of as many prompts in a step no rank has two before each has one."""
    rate = Workload(1000, 200, Arrival.POISSON, request_rate=9.0, lengths="D(1000,200)")
    in_turn, by_chance = (taken(points(load), 0.6, prompts=1.5) for load in (rate, loop(1000, 200, 32)))
    assert in_turn[0] < by_chance[0]


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    load = load_of(loop(1000, 200, 64, 0.5), 3)
    grid = Grid.of([RANKS["vllm"], {"data_parallel_size": 1}, {"data_parallel_size": 8}])
    rows = points_of(MODEL, PLACE, engine("vllm"), 8, grid, load, NO_TABLES.of(PLACE, "vllm", None))
    whole = cycle(rows, np.array([16.0, 64.0, 8.0]))
    for place, active in enumerate((16.0, 64.0, 8.0)):
        alone = cycle(rows.take(np.array([place])), one(active))
        for name in ("seconds", "first_s", "mixed_s", "decode_s", "burst_s"):
            assert getattr(whole, name)[place] == pytest.approx(getattr(alone, name).item(), rel=1e-9)


def test_between_the_parts_of_a_prompt_no_rank_of_sglang_decodes() -> None:
    rate = Workload(4000, 200, Arrival.POISSON, request_rate=9.0, lengths="D(4000,200)")
    asked = (one(2.0), one(0.05), one(0.1), one(0.25))
    found = prompting(*asked, one(0.0))
    told = {name: between_ranks(points(rate, name), found, *asked) for name in RANKS}
    assert told["vllm"] is found
    assert told["sglang"].own.item() < found.own.item() - 4 * 0.05 * 0.9
    assert told["sglang"].residual.item() > 0.025


@pytest.mark.parametrize("served_by", ["vllm:0.24.0", "sglang:0.5.9"])
@pytest.mark.parametrize(("isl", "osl", "concurrency"), [(2000, 200, 64), (1000, 100, 200)])
def test_ranks_whose_lengths_differ_come_to_what_is_simulated(
    isl: int, osl: int, concurrency: int, served_by: str
) -> None:
    load, config = loop(isl, osl, concurrency, 0.6), RANKS[served_by.partition(":")[0]]
    closed, simulated = both(MODEL, load, served_by, 4, **config)
    off = np.abs(np.log(np.array(closed) / np.array(simulated)))
    assert off[0] < 0.15
    assert off[1:].max() < 0.08


@pytest.mark.parametrize("served_by", ["vllm:0.24.0", "sglang:0.5.9"])
def test_ranks_at_a_rate_come_to_what_is_simulated(served_by: str) -> None:
    load = Workload(2000, 200, Arrival.POISSON, request_rate=15.0, requests=1200, lengths="U(800,3200)/(80,320)")
    closed, simulated = both(MODEL, load, served_by, 4, **RANKS[served_by.partition(":")[0]])
    off = np.abs(np.log(np.array(closed) / np.array(simulated)))
    assert off[0] < 0.15
    assert off[1] < 0.12


@pytest.mark.parametrize(("concurrency", "isl", "ranks"), [(2, 4000, 8), (5, 1000, 8), (3, 4000, 4)])
@pytest.mark.parametrize("served_by", ["vllm:0.24.0", "sglang:0.5.9"])
def test_of_fewer_requests_than_ranks_the_others_bring_no_prompts(
    concurrency: int, isl: int, ranks: int, served_by: str
) -> None:
    sides: dict[str, Scalar] = {"tp_size": ranks, "dp_size": ranks}
    config = RANKS[served_by.partition(":")[0]] | (sides if "sglang" in served_by else {"data_parallel_size": ranks})
    closed, simulated = both(MODEL, loop(isl, 128, concurrency), served_by, ranks, **config)
    assert np.abs(np.log(np.array(closed) / np.array(simulated))).max() < 0.05


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("every", [5.0, 740.0, 800.0, 1e4, 1e6])
@pytest.mark.parametrize("ranks", [2, 8, 64])
def test_however_many_prompts_come_the_ranks_meet_what_is_drawn(every: float, ranks: int) -> None:
    mean, most, drawn = every / ranks, every / ranks + 3.0, np.random.default_rng(1)
    own = drawn.poisson(mean, (4000, ranks)).clip(max=most).max(axis=1)
    assert largest(one(mean), one(most), one(ranks)).item() == pytest.approx(own.mean(), rel=0.01)
    found, came = met_in_turn(one(mean), one(most), one(ranks)), drawn.poisson(every, 40_000)
    assert found.most.item() == pytest.approx(np.ceil(came / ranks).clip(max=most).mean(), rel=0.01)
    left_out = np.clip(1.0 - came / ranks, 0.0, None)
    expected = left_out[came == 0].sum() / left_out.sum() if left_out.any() else 0.0
    assert found.nobody.item() == pytest.approx(expected, abs=0.02)
    assert found.others.item() == pytest.approx(1.0 - expected, abs=0.02)


@pytest.mark.filterwarnings("error")
def test_many_prompts_in_a_step_of_ranks_come_to_a_number() -> None:
    rate = Workload(128, 8, Arrival.POISSON, request_rate=1000.0)
    at = points(rate, data_parallel_size=16, enable_expert_parallel=True)
    mixed, decode = taken(at, 0.999, prompts=100.0)
    assert 0 < decode <= mixed < 60
