"""Requests through two pools: queueing formulas against the textbook, closed loops against Little's law."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.disagg.flow import (
    ACTIVE,
    MOVE_S,
    PROMPT_S,
    RATE,
    STEP_S,
    WAIT_S,
    Units,
    before_decode,
    closed_loop,
    link_s,
    prompt_s,
    step_at,
    steps_at,
    unit_of,
)
from model.prediction import Floats

CURVE = np.array([[0.005, 0.006, 0.008, 0.012, 0.02]])


def units(**said: float) -> Units:
    """One unit: a prompt takes 50 ms alone, four take 160 ms; 16 sequences decode in 20 ms, 100 steps each."""
    plain = {
        "prompt_engines": 1.0, "alone": 0.05, "full": 0.16, "most": 4.0, "once": 0.002, "sends": 500.0, "takes": 500.0,
        "decode_engines": 1.0, "top": 16.0, "steps": 100.0, "think": 0.03, "varied": 0.0, "limit": np.inf,
    }  # fmt: skip
    columns = {name: np.array([value]) for name, value in {**plain, **said}.items()}
    return Units(curves=CURVE, place=np.zeros(1, np.int64), **columns)


def closed(amount: float, **said: float) -> Floats:
    return closed_loop.taking(1e-9)(units(**said), np.array([amount]))[0]


def prompt(rate: float, **said: float) -> float:
    return prompt_s.taking(1e-9)(unit_of.taking(1e-9)(units(**said), 0), rate)


@given(st.floats(0.01, 0.9))
@settings(deadline=None)
def test_one_prompt_at_a_time_is_the_textbooks(load: float) -> None:
    """M/D/1: S + ρS/(2(1 − ρ))."""
    found = prompt(load / 0.05, full=0.05, most=1.0)
    assert found == pytest.approx(0.05 + load * 0.05 / (2.0 * (1.0 - load)))


def test_an_idle_pool_takes_a_prompts_own_time() -> None:
    assert prompt(1e-6) == pytest.approx(0.05, rel=1e-3)


@given(st.floats(0.1, 24.0), st.floats(1.0, 1.3), st.sampled_from([1.0, 2.0, 4.0]))
@settings(deadline=None)
def test_more_prompts_never_wait_less_and_more_engines_never_more(rate: float, factor: float, engines: float) -> None:
    assert prompt(rate * factor) >= prompt(rate) * (1 - 1e-9)
    shared = prompt(rate * 2.0 * engines, prompt_engines=2.0 * engines)
    assert shared <= prompt(rate * engines, prompt_engines=engines) * (1 + 1e-9)


def test_prompts_together_are_served_faster_than_one_by_one() -> None:
    """At 22 prompts a second one by one would be beyond what an engine can do; four at a time is 25 a second."""
    assert prompt(22.0, full=0.05, most=1.0) > 3 * prompt(22.0)


def test_lengths_that_vary_wait_longer() -> None:
    assert prompt(15.0, varied=1.0) > prompt(15.0)


def test_a_link_is_a_server_too() -> None:
    assert link_s.taking(1e-9)(0.0, 0.01, 100.0) == pytest.approx(0.01)
    assert link_s.taking(1e-9)(50.0, 0.01, 100.0) == pytest.approx(0.015)


def test_a_step_is_read_off_the_curve() -> None:
    found = [step_at.taking(1e-9)(CURVE[0], 16.0, n) for n in (0.3, 1.0, 2.0, 3.0, 16.0, 40.0)]
    assert found == pytest.approx([0.005, 0.005, 0.006, 0.007, 0.02, 0.02])
    same = steps_at.taking(1e-9)(units(), np.array([3.0]))
    assert same == pytest.approx([0.007])


@given(st.floats(1.0, 500.0), st.floats(0.5, 8.0), st.floats(0.5, 8.0), st.sampled_from([0.0, 1.0]))
@settings(deadline=None)
def test_littles_law(amount: float, prompts: float, decodes: float, varied: float) -> None:
    """Requests in flight = requests per second · seconds of a request; nothing is faster than it can be."""
    said = {"prompt_engines": prompts, "decode_engines": decodes, "varied": varied}
    found = closed(amount, **said)
    seconds = found[PROMPT_S] + found[MOVE_S] + found[WAIT_S] + 100.0 * found[STEP_S] + 0.03
    assert found[RATE] * seconds == pytest.approx(amount, rel=1e-4)
    capacity = min(prompts * 4.0 / 0.16, 500.0, decodes * 16.0 / (100.0 * 0.02))
    assert found[RATE] <= capacity * (1 + 1e-9)
    assert found[ACTIVE] <= 16.0
    assert found[ACTIVE] * decodes == pytest.approx(found[RATE] * 100.0 * found[STEP_S])


@pytest.mark.parametrize(
    ("said", "rate"),
    [
        ({"decode_engines": 100.0}, 25.0),
        ({"prompt_engines": 100.0}, 8.0),
        ({"prompt_engines": 100.0, "decode_engines": 100.0, "sends": 40.0}, 40.0),
        ({"prompt_engines": 100.0, "decode_engines": 100.0, "limit": 11.0}, 11.0),
    ],
)
def test_the_slowest_of_all_sets_the_pace(said: dict[str, float], rate: float) -> None:
    """Prefill, decode, the link or the router."""
    assert closed(5000.0, **said)[RATE] == pytest.approx(rate, rel=1e-3)


def test_one_request_never_waits() -> None:
    found = closed(1.0)
    assert found[PROMPT_S] == pytest.approx(0.05)
    assert found[MOVE_S] == pytest.approx(0.002)
    assert found[WAIT_S] < 0.005
    assert found[RATE] == pytest.approx(1.0 / (0.05 + 0.002 + 0.03 + 0.5 + found[WAIT_S]), rel=1e-6)


def test_compiled_and_plain_agree() -> None:
    rows = units(prompt_engines=2.0)
    amount, rate = np.array([37.0]), np.array([6.0])
    assert closed_loop(rows, amount) == pytest.approx(closed_loop.taking(1e-9)(rows, amount), rel=1e-12)
    assert before_decode(rows, rate) == pytest.approx(before_decode.taking(1e-9)(rows, rate), rel=1e-12)
