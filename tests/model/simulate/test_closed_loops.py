"""Closed loops with a front end: users send their next request when they have the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.simulate.costs import StepCosts
from model.simulate.replicas import Replicas, simulate_replicas
from model.simulate.run import Run, simulate, summary, with_front_end
from model.simulate.sglang.server import SglangSettings
from model.simulate.state import EngineSettings
from model.simulate.trace import Trace, Turns, unshared

KNOTS = np.array([0.0, 1.0, 4096.0])
COSTS = StepCosts(
    1e-3 + 1e-5 * np.arange(2049.0), np.zeros(65), KNOTS, KNOTS, KNOTS, KNOTS, np.zeros((3, 3, 3, 3)), 0.0
)
VLLM = EngineSettings(2048, 64, 16, 9000, 4096, False)
SGLANG = SglangSettings(64, 90_000, 1, 4096)
REQUEST_S, TOKEN_S = 0.02, 1e-4


def loop(cap: int, output: int, varies: bool = False) -> Trace:
    n = 400 * cap
    tokens = np.random.default_rng(5).integers(1, 2 * output, n) if varies else np.full(n, output)
    return unshared(np.zeros(n), np.full(n, 200), tokens, cap)


def under_way(run: Run) -> float:
    """Throughput times the mean of what users wait."""
    told, waited = summary(run, REQUEST_S, TOKEN_S), run.latencies(REQUEST_S, TOKEN_S)["e2e_s"]
    assert isinstance(told["request_tps"], float)
    return told["request_tps"] * float(waited.mean())


@pytest.mark.parametrize("engine", [VLLM, SGLANG])
@pytest.mark.parametrize(("cap", "output", "varies"), [(1, 1, False), (4, 8, False), (9, 30, True), (40, 2, True)])
def test_littles_law(engine: EngineSettings | SglangSettings, cap: int, output: int, varies: bool) -> None:
    trace = with_front_end(loop(cap, output, varies), engine, REQUEST_S, TOKEN_S)
    assert under_way(simulate(trace, engine, COSTS)) == pytest.approx(cap, rel=0.01)
    both = simulate_replicas(trace, engine, Replicas(2, COSTS))
    assert under_way(both) == pytest.approx(cap, rel=0.01 if cap % 2 == 0 else 0.1)


def test_one_request_takes_as_long_as_its_user_waits() -> None:
    trace = with_front_end(loop(1, 30), VLLM, REQUEST_S, TOKEN_S).first()
    run = simulate(with_front_end(trace, VLLM, REQUEST_S, TOKEN_S), VLLM, COSTS)
    assert summary(run)["duration_s"] == run.latencies(REQUEST_S, TOKEN_S)["e2e_s"].item()


def test_who_has_a_short_answer_sends_before_those_whose_long_ones_ended_before() -> None:
    """Of two users one has an answer of a token, which is there at once, beside one of 40 that takes a second."""
    trace = replace(loop(2, 1), lag_s=np.where(np.arange(800) == 0, 1.0, 0.01))
    arrived = simulate(trace, VLLM, COSTS).served.arrived
    assert (np.diff(arrived) >= 0).all()
    assert 50 < (arrived < 1.0).sum() < 150


def test_conversations_open_when_users_have_the_last_answer_of_another() -> None:
    previous = np.where(np.arange(30) % 3 == 0, -1, np.arange(30) - 1)
    prompts = np.tile([100, 200, 300], 10)
    trace = replace(unshared(np.zeros(30), prompts, np.full(30, 20), 1), turns=Turns(previous, np.full(30, 0.5)))
    caching = replace(VLLM, enable_prefix_caching=True)
    for engine in (caching, SGLANG):
        served = simulate(with_front_end(trace, engine, REQUEST_S, TOKEN_S), engine, COSTS).served
        think_s = np.where(previous[1:] < 0, 0.0, 0.5)
        lag_s = REQUEST_S + TOKEN_S * 19
        np.testing.assert_allclose(served.arrived[1:] - served.last_s[:-1], lag_s + think_s, atol=1e-9)


def test_a_rate_waits_for_nobody() -> None:
    trace = replace(loop(1, 8), arrival_s=0.01 * np.arange(400.0), cap=0)
    assert with_front_end(trace, VLLM, REQUEST_S, TOKEN_S) is trace
