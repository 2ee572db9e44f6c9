"""Conversations: a turn waits for the answer before it, and finds the keys and values of what was said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.simulate.blocks import NONE
from model.simulate.costs import StepCosts
from model.simulate.run import Run, simulate
from model.simulate.state import EngineSettings
from model.simulate.trace import Trace, Turns, unshared
from perfdb.errors import InputError

ENGINE = EngineSettings(4096, 8, 16, 4000, 8192)
KNOTS = np.array([0.0, 64.0, 4096.0])
COSTS = StepCosts(1e-3 + 1e-5 * np.arange(4097), np.zeros(9), KNOTS, KNOTS, KNOTS, KNOTS, np.zeros((3, 3, 3, 3)), 0.0)


def conversations(count: int, turns: int, gap_s: float = 0.0, think_s: float = 5.0, cap: int = 0) -> Trace:
    """`count` conversations of `turns` turns: 160 new tokens each, 33 generated; one opens every `gap_s`."""
    rows = np.arange(count * turns)
    turn = rows % turns
    prompt = 160 * (turn + 1) + 33 * turn
    plain = unshared(gap_s * (rows // turns), prompt, np.full(len(rows), 33), cap)
    previous = np.where(turn == 0, NONE, rows - 1)
    return replace(plain, turns=Turns(previous, np.full(len(rows), think_s)))


def run(trace: Trace, engine: EngineSettings = ENGINE) -> Run:
    return simulate(trace, engine, COSTS)


def test_a_turn_comes_after_the_answer_and_a_while_of_thinking() -> None:
    served = run(conversations(3, 4, gap_s=0.1)).served
    arrived, last = served.arrived.reshape(3, 4), served.last_s.reshape(3, 4)
    np.testing.assert_allclose(arrived[:, 1:], last[:, :-1] + 5.0)
    np.testing.assert_allclose(arrived[:, 0], [0.0, 0.1, 0.2])


def test_only_what_is_new_is_computed_where_prefixes_are_kept() -> None:
    trace = conversations(1, 3)
    kept, lost = run(trace).latencies()["ttft_s"], run(trace, replace(ENGINE, enable_prefix_caching=False)).latencies()
    # of 353 tokens, 160 + 33 - 1 were computed in the first turn: 12 whole blocks of 16
    assert kept[1] == pytest.approx(1e-3 + 1e-5 * (353 - 192))
    assert lost["ttft_s"][1] == pytest.approx(1e-3 + 1e-5 * 353)
    assert kept[0] == lost["ttft_s"][0]


def test_conversations_share_nothing_with_each_other_but_a_named_prefix() -> None:
    apart = conversations(2, 1, gap_s=10.0)
    together = replace(apart, shared=np.full(2, 64), turns=conversations(2, 1).turns)
    ttft = run(apart).latencies()["ttft_s"]
    assert ttft[0] == pytest.approx(ttft[1])
    ttft = run(together).latencies()["ttft_s"]
    assert ttft[0] - ttft[1] == pytest.approx(64e-5)


def test_a_cap_counts_conversations_not_requests() -> None:
    trace = conversations(6, 3, cap=2)
    served = run(trace).served
    opened, closed = served.arrived.reshape(6, 3)[:, 0], served.last_s.reshape(6, 3)[:, -1]
    under_way = [(opened <= at).sum() - (closed <= at).sum() for at in opened]
    assert max(under_way) == 2
    assert np.isfinite(served.last_s).all()


def test_a_turn_with_a_time_of_its_own_does_not_come_before_it() -> None:
    trace = conversations(1, 2, think_s=0.0)
    late = replace(trace, arrival_s=np.array([0.0, 100.0]))
    assert run(late).served.arrived[1] == 100.0


def test_conversations_under_priorities_are_refused() -> None:
    with pytest.raises(InputError, match="conversations under the priority policy"):
        run(conversations(1, 2), replace(ENGINE, is_priority=True))
