"""Flags that change a step in the closed form: CUDA graphs, drafted tokens, tokens that the prefix cache holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.closed_form.serving import serve
from model.knobs import points_of
from model.load import load_of
from model.memory import memory
from model.points import Points
from model.tables.shelf import NO_TABLES
from perfdb.errors import InputError
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")
ROOM = np.array([4096.0])


def points(isl: int = 2000, osl: int = 200, concurrency: int = 16, reused: float = 0.0, **params: Scalar) -> Points:
    load = load_of(Workload(isl, osl, Arrival.CLOSED, concurrency, lengths="N(2000,500)/(200,50)"), 1)
    grid = Grid.of([params or {"max_num_seqs": 256}])
    place = platform("h100_sxm")
    return points_of(LLAMA, place, engine("vllm"), 1, grid, load, NO_TABLES.of(place, "vllm", None), reused)


def metric(name: str, found: Points) -> float:
    return serve(found, ROOM).metrics[name].item()


@pytest.mark.parametrize(
    ("drafts", "acceptance", "emitted"), [(0, 0.7, 1.0), (3, 0.0, 1.0), (3, 1.0, 4.0), (2, 0.5, 1.75)]
)
def test_a_step_emits_what_is_accepted(drafts: int, acceptance: float, emitted: float) -> None:
    found = points(num_speculative_tokens=drafts, acceptance_rate=acceptance)
    assert found.emitted.item() == pytest.approx(emitted)


@given(st.integers(1, 8), st.floats(0.0, 0.95), st.floats(0.01, 0.05))
@settings(deadline=None, max_examples=30)
def test_the_better_the_drafts_the_faster(drafts: int, acceptance: float, more: float) -> None:
    worse, better = (
        metric("tpot_s", points(num_speculative_tokens=drafts, acceptance_rate=share))
        for share in (acceptance, acceptance + more)
    )
    # the time of a step has stairs: a few tokens more may take 2 % longer
    assert better < 1.01 * worse


def test_drafts_that_are_never_right_cost_their_computation() -> None:
    plain = metric("tpot_s", points(concurrency=1))
    wrong = metric("tpot_s", points(concurrency=1, num_speculative_tokens=4, acceptance_rate=0.0))
    free = metric("tpot_s", points(concurrency=1, num_speculative_tokens=4, acceptance_rate=0.0, draft_layers=0))
    assert plain < free < wrong


def test_drafts_help_few_sequences_most() -> None:
    """With many sequences the arithmetic of verifying is no longer free."""

    def gain(concurrency: int) -> float:
        with_drafts = points(100, 400, concurrency, num_speculative_tokens=3, acceptance_rate=0.8, draft_layers=0)
        plain = points(100, 400, concurrency, max_num_seqs=1024)
        return metric("tpot_s", plain) / metric("tpot_s", with_drafts)

    assert 2.0 < gain(1) < 2.96
    assert gain(512) < gain(1)


def test_without_drafts_nothing_changes() -> None:
    assert metric("e2e_s", points()) == metric("e2e_s", points(num_speculative_tokens=0, acceptance_rate=0.9))


def test_a_drafting_layer_takes_memory() -> None:
    plain, drafting = memory(points()).weights, memory(points(num_speculative_tokens=1)).weights
    assert 1.0 < (drafting / plain).item() < 1.04


def test_without_graphs_no_step_is_shorter_than_its_launches() -> None:
    eager, captured = points(concurrency=1, enforce_eager=True), points(concurrency=1)
    assert metric("tpot_s", eager) > 32 * 0.3e-3 > metric("tpot_s", captured)
    # a long prompt hides its launches
    assert metric("ttft_s", eager) == pytest.approx(metric("ttft_s", captured), rel=0.05)


@given(st.floats(0.0, 1999.0), st.floats(0.0, 1999.0))
@settings(deadline=None, max_examples=30)
def test_the_more_is_cached_the_sooner_the_first_token(one: float, other: float) -> None:
    less, more = sorted((one, other))
    # where one more of the shorter prompts fits into a step, all of that step wait for it
    assert metric("ttft_s", points(reused=more)) <= metric("ttft_s", points(reused=less)) * 1.01


def test_what_is_cached_is_still_attended_to() -> None:
    """A short prompt after a long cached one takes more than the short one alone, and less than both."""
    short, both = metric("ttft_s", points(isl=100)), metric("ttft_s", points(isl=30_100))
    assert short < metric("ttft_s", points(isl=30_100, reused=30_000)) < both / 3


def test_the_cache_can_be_switched_off() -> None:
    off = points(reused=1500.0, enable_prefix_caching=False)
    assert metric("ttft_s", off) == metric("ttft_s", points())
    assert points(reused=5000.0).computed.item() == 1


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"acceptance_rate": 1.5}, "acceptance_rate"),
        ({"num_speculative_tokens": 65}, "num_speculative_tokens"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization"),
    ],
)
def test_numbers_out_of_range_are_refused_by_the_name_that_the_engine_has_for_them(
    params: dict[str, Scalar], where: str
) -> None:
    with pytest.raises(InputError, match=f"^{where} of vllm: the value"):
        points(**params)


@pytest.mark.parametrize("value", ["maybe", 7, 0.5])
def test_a_switch_is_on_or_off(value: Scalar) -> None:
    with pytest.raises(InputError, match=r"enforce_eager of vllm: .* expected true or false"):
        points(enforce_eager=value)
    assert points(enforce_eager=1).eager.item() == points(enforce_eager="ON").eager.item() == 1.0


def test_sglang_serves_fewer_at_once_where_it_drafts() -> None:
    """As it starts, unless somebody says how many; ranks of attention divide them."""
    drafts: dict[str, Scalar] = {"speculative_num_steps": 3}
    each: list[dict[str, Scalar]] = [
        {},
        drafts,
        {**drafts, "max_running_requests": 100},
        {**drafts, "tp_size": 4, "dp_size": 4, "enable_dp_attention": True},
    ]
    load = load_of(Workload(500, 100, Arrival.CLOSED, 256), len(each))
    found = points_of(LLAMA, platform("h200_sxm"), engine("sglang"), None, Grid.of(each), load)
    assert found.max_num_seqs.tolist() == [2048, 48, 100, 12]
