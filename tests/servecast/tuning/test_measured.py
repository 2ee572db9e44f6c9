"""The measured frontier: from real results only, repeats taken together, gains with an honest interval."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.metrics import Direction
from perfdb.records import Config, Experiment, Outcome, Target
from search.objective import Objective
from servecast.tuning.measured import PRIOR_NOISE, Measured

TPS, TTFT = Objective("output_tps", Direction.MAX), Objective("ttft_s", Direction.MIN)


def experiments(*configs):
    return [
        Experiment(f"r-{i}", "r", i, Config({"a": a}), Target("m", "p", "e"), Outcome.OK, "active")
        for i, a in enumerate(configs)
    ]


def measured(configs, values):
    return Measured.of(experiments(*configs), np.array(values, dtype=float), (TPS, TTFT))


def test_failed_experiments_are_never_on_the_frontier():
    """S0.12: the actual frontier comes from real results only."""
    found = measured([1, 2, 3], [[100, 1.0], [np.nan, np.nan], [50, 2.0]])
    assert [dict(m.config) for m in found.front] == [{"a": 1}]


def test_the_frontier_holds_every_compromise_best_throughput_first():
    found = measured([1, 2, 3, 4], [[50, 0.5], [100, 1.0], [90, 1.5], [10, 0.1]])
    assert [m.config["a"] for m in found.front] == [2, 1, 4]
    assert found.knee.config["a"] in {1, 2}


def test_repeats_count_as_one_config_by_their_geometric_mean():
    found = measured([1, 1], [[100, 1.0], [400, 4.0]])
    assert len(found.configs) == 1
    assert found.configs[0].values == pytest.approx([200, 2.0])


def test_repeats_that_differ_widen_the_gain():
    quiet = measured([1, 1, 2], [[100, 1.0], [100, 1.0], [200, 0.5]])
    noisy = measured([1, 1, 2], [[90, 1.0], [111, 1.0], [200, 0.5]])
    widths = [
        math.log(g.hi / g.lo)
        for g in (m.gain(over=m.configs[0], of=m.configs[1])["output_tps"] for m in (quiet, noisy))
    ]
    assert widths[1] > widths[0]
    assert quiet.noise_sd[0] < PRIOR_NOISE < noisy.noise_sd[0]


@given(st.floats(1, 1e6), st.floats(1, 1e6), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_a_gain_above_one_is_better_whatever_the_direction(a, b, c, d):
    found = measured([1, 2], [[a, c], [b, d]])
    gain = found.gain(over=found.configs[0], of=found.configs[1])
    assert gain["output_tps"].mean == pytest.approx(b / a)
    assert gain["ttft_s"].mean == pytest.approx(c / d)
    for interval in gain.values():
        assert interval.lo < interval.mean < interval.hi


def test_a_config_gains_nothing_over_itself():
    found = measured([1], [[100, 1.0]])
    gain = found.gain(over=found.configs[0], of=found.configs[0])["output_tps"]
    assert (gain.mean, gain.lo, gain.hi) == (1, 1, 1)


def test_nothing_measured_is_an_empty_frontier():
    found = measured([1], [[np.nan, np.nan]])
    assert found.front == []
    assert found.knee is None
