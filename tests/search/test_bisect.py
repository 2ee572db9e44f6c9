"""The largest good load, for many configs at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.prediction import Bools, Floats
from search.bisect import largest_good

RUNGS = tuple(2.0**power for power in range(-3, 8))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0.01, 500), min_size=1, max_size=8), st.sampled_from([0.5, 0.02, 1e-4]))
def test_every_config_gets_its_own_limit(limits: list[float], tolerance: float) -> None:
    limit = np.array(limits)
    calls = 0

    def meets(loads: Floats) -> Bools:
        nonlocal calls
        calls += 1
        assert (loads > 0).all()
        assert loads.shape == limit.shape
        return np.asarray(loads <= limit)

    found = largest_good(meets, len(limit), RUNGS, tolerance)
    assert found.evaluations == calls
    assert (found.low <= limit).all()
    assert (found.high > limit).all()
    inside = (limit >= RUNGS[0]) & (limit < RUNGS[-1])
    assert (found.high[inside] <= found.low[inside] * (1 + tolerance) * (1 + 1e-12)).all()
    assert (found.low[limit < RUNGS[0]] == 0).all()
    assert (found.high[limit < RUNGS[0]] == RUNGS[0]).all()
    assert np.isinf(found.high[limit >= RUNGS[-1]]).all()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=8))
def test_whole_loads_are_found_exactly_without_tolerance(limits: list[int]) -> None:
    limit = np.array(limits, dtype=np.float64)
    tried: list[Floats] = []

    def meets(loads: Floats) -> Bools:
        tried.append(loads)
        return np.asarray(loads <= limit)

    found = largest_good(meets, len(limit), (1.0, 2.0, 4.0, 32.0, 128.0), 0.0, is_whole=True)
    inside = limit < 128
    np.testing.assert_array_equal(found.low[inside], limit[inside])
    np.testing.assert_array_equal(found.high[inside & (limit > 0)], limit[inside & (limit > 0)] + 1)
    assert all((loads == np.rint(loads)).all() for loads in tried)


def test_what_is_good_again_above_a_bad_load_does_not_count() -> None:
    found = largest_good(lambda loads: np.asarray((loads < 3) | (loads > 30)), 1, RUNGS, 0.01)
    assert found.low[0] == pytest.approx(3, rel=0.02)


def test_the_work_is_that_of_one_config() -> None:
    """Climbing and halving are done for all at once: evaluations grow with the digits, not with the configs."""
    limit = np.geomspace(0.2, 100, 1000)
    found = largest_good(lambda loads: np.asarray(loads <= limit), 1000, RUNGS, 0.01)
    assert found.evaluations <= len(RUNGS) + 7
