"""Requests at a rate: the birth-death chain against closed forms, and against the simulator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.queueing import in_flight, prompt_wait

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


def test_prompts_wait_as_in_m_d_1() -> None:
    """One prompt a step of 0.1 s at 5 a second: ρ s/(2(1 − ρ)); lengths that differ wait longer."""
    rate, one = np.array([5.0]), np.array([1.0])
    alike = prompt_wait(rate, np.array([0.1]), one, one, np.array([0.0]))
    assert alike.item() == pytest.approx(0.5 * 0.1 / (2 * 0.5))
    assert prompt_wait(rate, np.array([0.1]), one, one, np.array([1.0])).item() > alike.item()
    assert prompt_wait(rate, np.array([0.1]), np.array([8.0]), one, np.array([0.0])).item() < 0.01 * alike.item()
