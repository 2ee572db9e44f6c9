"""Requests of a closed loop that stay in step, and what takes them out of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.closed_form.convoy import ahead, burst_share, in_step
from model.knobs import points_of
from model.load import load_of
from model.points import Points
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")


def points(load: Workload, **params: Scalar) -> Points:
    return points_of(LLAMA, platform("h100_sxm"), engine("vllm").at("0.24.0"), 1, Grid.of([params]), load_of(load, 1))


def loop(lengths: str | None, concurrency: int = 32, rounds: int = 10, isl: float = 512, osl: float = 128) -> Workload:
    return Workload(isl, osl, Arrival.CLOSED, concurrency, requests=rounds * concurrency, lengths=lengths)


def share(load: Workload, **params: Scalar) -> float:
    found, flight = points(load, **params), np.array([float(load.concurrency or 1)])
    return in_step(found, flight, burst_share(found, flight)).item()


def test_equal_lengths_stay_in_step_and_unlike_ones_do_not() -> None:
    assert share(loop("D(512,128)")) == 1
    assert share(loop("N(512,256)/(128,64)")) < 0.02
    assert 0 < share(loop("U(511,513)/(127,129)")) < 1


def test_lengths_that_nobody_told_are_between() -> None:
    assert share(loop(None)) == 0.5


def test_prompts_that_differ_leave_answers_in_step() -> None:
    assert share(loop("U(256,768)/(128,128)")) == 1


def test_a_mix_of_fixed_answers_comes_apart() -> None:
    assert share(loop("0.5 D(512,64) + 0.5 D(512,192)")) < 0.02


def test_lengths_in_a_notation_that_is_read_elsewhere_are_apart() -> None:
    assert share(loop("sharegpt")) == 0


def test_only_a_closed_loop_comes_apart_by_its_lengths() -> None:
    varied = "N(512,256)/(128,64)"
    assert share(Workload(512, 128, Arrival.BATCH, batch_size=32, lengths=varied)) == 1
    assert share(Workload(512, 128, Arrival.POISSON, request_rate=2.0, lengths="D(512,128)")) == 0


@given(st.floats(0, 200), st.floats(0, 200), st.integers(1, 20), st.integers(0, 20))
@settings(deadline=None)
def test_more_spread_and_more_rounds_leave_fewer_in_step(one: float, more: float, rounds: int, further: int) -> None:
    narrow, wide = (f"N(512,0)/(400,{deviation:.3f})" for deviation in (one, one + more))
    before = share(loop(narrow, rounds=rounds, osl=400))
    assert before >= share(loop(wide, rounds=rounds, osl=400)) - 1e-12
    assert before >= share(loop(narrow, rounds=rounds + further, osl=400)) - 1e-12
    assert 0 <= before <= 1


def test_a_long_convoy_holds_together_longer() -> None:
    """A few steps to either side matter less to 32 steps of prompts than to one."""
    spread = "U(511,513)/(124,132)"
    assert share(loop(spread, 256), max_num_batched_tokens=4096) > 2 * share(loop(spread, 4))


@pytest.mark.parametrize(("tokens", "acceptance"), [(1, 0.5), (3, 0.7), (5, 0.9), (4, 0.2)])
def test_drafts_spread_the_steps_of_an_answer_as_drawn_ones_do(tokens: int, acceptance: float) -> None:
    found = points(loop("D(512,401)", osl=401), num_speculative_tokens=tokens, acceptance_rate=acceptance)
    draw = np.random.default_rng(7)
    brought = np.minimum(draw.geometric(1.0 - acceptance, (4000, 401)), tokens + 1)
    steps = (np.cumsum(brought, axis=1) < 400).sum(axis=1) + 1
    assert found.answer_deviation.item() == pytest.approx(steps.std(), rel=0.06)


@pytest.mark.parametrize("acceptance", [0.0, 1.0])
def test_drafts_that_are_never_or_always_right_spread_nothing(acceptance: float) -> None:
    drafted = {"num_speculative_tokens": 3, "acceptance_rate": acceptance}
    assert share(loop("D(512,128)"), **drafted) == pytest.approx(1)
    assert share(loop("D(512,128)"), num_speculative_tokens=3, acceptance_rate=0.5) < 0.2


def test_a_step_was_decided_before_unless_all_end_together() -> None:
    def steps(lengths: str, prompts: float, concurrency: int = 32, rounds: int = 1000, **params: Scalar) -> float:
        found, flight = points(loop(lengths, concurrency, rounds), **params), np.array([float(concurrency)])
        burst = burst_share(found, flight)
        return ahead(found, flight, burst, in_step(found, flight, burst), np.array([prompts])).item()

    fixed, varied = "D(512,128)", "N(512,256)/(128,64)"
    assert steps(fixed, 16) == pytest.approx(1, abs=0.01)
    assert steps(fixed, 32) == 0
    assert steps(varied, 32) == pytest.approx(1, abs=0.01)
    assert steps(varied, 1, concurrency=1) == 0
    assert steps(fixed, 16, rounds=2) == pytest.approx(0.5)
    assert steps(fixed, 16, async_scheduling=False) == 0
