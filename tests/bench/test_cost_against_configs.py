"""The bench of cost against configs counts right and says what it drew."""

from __future__ import annotations

from math import isnan

import pytest

from tests.bench.cost_against_configs import LARGE, SIZES, page, slope


def test_every_grid_has_as_many_configs_as_it_says() -> None:
    assert all(configs == 4 * 25 * seqs * tokens for configs, (seqs, tokens) in SIZES.items())
    assert sorted(SIZES) == [10**power for power in range(2, 7)]


def test_the_slope_is_that_of_large_grids() -> None:
    linear = {100: 7.0, LARGE: 1.0, 10 * LARGE: 10.0, 100 * LARGE: 100.0}
    assert slope(linear) == pytest.approx(1.0)
    assert slope({LARGE: 1.0, 100 * LARGE: 1e4}) == pytest.approx(2.0)
    assert isnan(slope({100: 1.0, LARGE: 1.0}))


def test_the_page_says_the_slope() -> None:
    text = page({100: 0.5, LARGE: 1.0, 10 * LARGE: 10.0})
    assert "slope 1.000 from 10,000 on" in text
    assert "seconds of CPU" in text
