"""Requests at a rate: the birth-death chain against closed forms, and against the simulator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.closed_form.queueing import Prompting, in_flight, prompting

LEVELS = np.array([[1.0, 2.0, 4.0, 8.0, 16.0]])


def mean(rates: list[float], wanted: float) -> tuple[float, float]:
    found, waiting = in_flight(LEVELS, np.array([rates]), np.array([wanted]))
    return found.item(), waiting.item()


@given(st.floats(0.05, 0.9))
@settings(deadline=None)
def test_a_single_server_is_the_textbooks(load: float) -> None:
    """M/M/1: a constant rate of departures has ρ/(1 − ρ) requests in the system."""
    found, _ = mean([1.0] * 5, load)
    assert found == pytest.approx(load / (1.0 - load), rel=1e-6)


@given(st.floats(0.05, 0.6))
@settings(deadline=None)
def test_servers_for_everyone_have_a_poisson_number_at_work(load: float) -> None:
    """M/M/∞: a rate that grows with the number in flight has λ/µ of them."""
    found, waiting = mean([1.0, 2.0, 4.0, 8.0, 16.0], 16.0 * load / 2)
    assert found == pytest.approx(8.0 * load, rel=0.02)
    assert waiting < 0.1


@given(st.floats(0.1, 0.95), st.floats(1.0, 1.05))
@settings(deadline=None)
def test_more_arrivals_are_more_in_flight(load: float, factor: float) -> None:
    rates = [1.0, 1.8, 3.0, 4.2, 5.0]
    assert mean(rates, 5.0 * load)[0] <= mean(rates, min(5.0 * load * factor, 4.99))[0] + 1e-9


def test_a_deep_queue_does_not_overflow() -> None:
    found, waiting = mean([1.0] * 5, 0.9999)
    assert found == pytest.approx(9999, rel=0.01)
    assert 0 < waiting < found


def prompts(rate: float, idle: float, each: float, fitting: float, varied: float = 0.0) -> Prompting:
    given_ = (np.array([value]) for value in (rate, idle, each, fitting, varied))
    return Prompting(*(column.item() for column in prompting(*given_)))


@given(st.floats(0.05, 0.9))
@settings(deadline=None)
def test_one_prompt_a_step_waits_as_in_m_d_1(load: float) -> None:
    """Steps of nothing but one prompt: ρs/(2(1 − ρ)), of which ρs/2 is what is left of the one under way."""
    found = prompts(load / 0.1, 1e-9, 0.1, 1.0)
    assert found.wait == pytest.approx(load * 0.1 / (2.0 * (1.0 - load)) - load * 0.1 / 2.0, rel=1e-5)
    assert found.own == pytest.approx(0.1, rel=1e-6)


def test_a_prompt_of_many_steps_waits_for_whole_prompts() -> None:
    """Four steps of 20 ms a prompt, five of them a second: M/D/1 with 80 ms, less the half step counted apart."""
    found = prompts(5.0, 0.005, 0.06, 0.25)
    assert found.own == pytest.approx(0.08)
    assert found.wait == pytest.approx(0.4 * 0.08 / (2.0 * 0.6) - 0.4 * 0.02 / 2.0)


@given(st.floats(0.001, 0.02), st.floats(0.001, 0.1), st.floats(0.1, 50.0))
@settings(deadline=None)
def test_a_lone_prompt_waits_for_nothing(idle: float, each: float, fitting: float) -> None:
    found = prompts(1e-9, idle, each, fitting)
    assert found.wait == pytest.approx(0.0, abs=1e-6)
    assert found.residual == pytest.approx(idle / 2.0)
    assert found.own == pytest.approx(np.ceil(1.0 / min(fitting, 1.0)) * idle + each)


@given(st.floats(0.1, 0.9), st.floats(0.2, 20.0), st.floats(0.0, 1.0))
@settings(deadline=None)
def test_more_and_unlike_prompts_wait_longer(load: float, fitting: float, varied: float) -> None:
    rate = load / (0.03 + 0.01 / fitting)
    less, more = prompts(rate, 0.01, 0.03, fitting, varied), prompts(rate * 1.05, 0.01, 0.03, fitting, varied)
    assert less.wait <= more.wait
    assert less.residual <= more.residual
    assert less.own <= more.own
    assert prompts(rate, 0.01, 0.03, fitting).wait <= less.wait


def test_room_for_many_prompts_leaves_no_wait_but_crowds_the_step() -> None:
    narrow, wide = prompts(20.0, 0.01, 0.02, 1.0), prompts(20.0, 0.01, 0.02, 32.0)
    assert wide.wait < 1e-3 * narrow.wait
    assert wide.own > narrow.own


def test_prompts_hold_up_answers_only_in_steps_that_are_longer_than_most() -> None:
    """Steps of prompts as short as others delay nobody; long ones delay by nearly all of the wait."""
    short, long = prompts(5.0, 0.0099, 0.004, 0.04), prompts(5.0, 0.005, 0.15, 1.0)
    assert short.delay < 0.1 * (short.own + short.wait)
    assert long.delay > 0.85 * (long.own + long.wait)
