"""What a simulated server held, at evenly spaced times, beside a count of it from the log."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.simulate.log import Served
from model.simulate.over_time import over_time
from model.simulate.run import Run
from model.simulate.state import EngineSettings
from model.simulate.trace import unshared

SETTINGS = EngineSettings(8192, 256, 16, num_blocks=10, max_model_len=4096)
NOTHING = np.zeros(0)


def run(times: list[tuple[float, float, float]], ends: list[float], used: list[float], seconds: float = 1.0) -> Run:
    arrived, first, last = np.array(times).T
    alike = np.full(len(ends), seconds)
    ones = np.ones(len(ends))
    served = Served(arrived, first, last, np.array(ends), ones, alike, alike, ones, np.array(used), NOTHING, 0, 10)
    trace = unshared(arrived, np.full(len(times), 8), np.full(len(times), 4))
    return Run(trace, SETTINGS, served)


@given(st.lists(st.tuples(*[st.floats(0.0, 9.0)] * 3), min_size=1, max_size=9), st.integers(2, 40))
def test_requests_are_counted_as_they_come_begin_and_end(gaps: list[tuple[float, ...]], most: int) -> None:
    times = [(come, come + wait, come + wait + answer) for come, wait, answer in gaps]
    found = over_time(run(times, [1.0], [5.0]), most=most)
    start = min(come for come, _, _ in times)
    for place, moment in enumerate(np.linspace(start, max(end for *_, end in times), most)):
        assert found["prompting"][place] == sum(come <= moment < first for come, first, _ in times)
        assert found["answering"][place] == sum(first <= moment < last for _, first, last in times)
    assert found["time_s"][0] == 0.0
    assert all(len(values) == most for values in found.values())


def test_blocks_lie_between_what_was_written_and_none_are_held_for_nobody() -> None:
    held = over_time(run([(0.0, 1.0, 4.0), (6.0, 7.0, 10.0)], [2.0, 4.0, 8.0, 10.0], [4.0, 6.0, 2.0, 4.0]), most=11)
    share = held["kv_share"]
    assert share[:5] == pytest.approx([0.0, 0.0, 0.4, 0.5, 0.0])
    assert share[5] == 0.0
    assert share[8:10] == pytest.approx([0.2, 0.3])


def test_several_replicas_are_a_mean_by_the_seconds_of_their_steps() -> None:
    one = run([(0.0, 1.0, 4.0)], [1.9, 2.0, 4.0], [2.0, 8.0, 6.0])
    longer = one.served._replace(gap_first=np.array([3.0, 1.0, 1.0]), gap_last=np.array([3.0, 1.0, 1.0]))
    share = over_time(replace(one, served=longer), replicas=2, most=5)["kv_share"]
    assert share[2] == pytest.approx((3.0 * 0.2 + 1.0 * 0.8) / 4.0)
    assert share[3] == pytest.approx(0.7)


def test_a_pool_that_nothing_came_to_holds_nothing() -> None:
    assert over_time(run([(0.0, 1.0, 1.0)], [], []), most=3)["kv_share"] == [0.0, 0.0, 0.0]
