"""What a group's rows say of its other rows: shrunk offsets, trends over places, errors that the spread promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.learning.kriging import Kriging, Spread, spaced, spread_of

SPREAD = Spread(overall=0.1, between=0.5, within=0.2)


def test_without_distance_it_is_a_shrunk_offset() -> None:
    """One row moves the mean by the share of its variance that is common to the group."""
    here = np.zeros((1, 2))
    mean, sd = Kriging(here, np.array([1.1]), SPREAD).predict(here)
    common, noise = 0.5**2 + 0.85 * 0.2**2, 0.15 * 0.2**2
    assert mean[0] == pytest.approx(0.1 + common / (common + noise))
    assert sd[0] ** 2 == pytest.approx(0.5**2 + 0.2**2 - common**2 / (common + noise))


def test_far_away_only_the_common_offset_is_told() -> None:
    process = Kriging(np.zeros((20, 1)), np.full(20, 1.1), SPREAD)
    (near, far), (near_sd, far_sd) = process.predict(np.array([[0.0], [50.0]]))
    assert 0.6 < far < near < 1.1
    assert near_sd < far_sd < np.hypot(0.5, 0.2)


def test_a_trend_over_places_is_followed() -> None:
    places = np.linspace(0, 3, 13)[:, None]
    errors = 0.2 * np.sin(places[:, 0])
    mean, _ = Kriging(places[::2], errors[::2], SPREAD).predict(places[1::2])
    assert mean == pytest.approx(errors[1::2], abs=0.03)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_left_out_errors_are_those_of_processes_without_the_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places, errors = rng.normal(size=(6, 2)), rng.uniform(0.0, 0.2, 6)
    scores = Kriging(places, errors, SPREAD).left_out
    for row in range(6):
        kept = np.arange(6) != row
        mean, sd = Kriging(places[kept], errors[kept], SPREAD).predict(places[[row]])
        assert scores[row] == pytest.approx(((errors[row] - mean) / sd)[0], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("wrong", [-2.3, 6.5])
def test_a_row_that_the_others_do_not_bear_out_says_little_of_them(wrong: float) -> None:
    """One run of a public sweep took its first tokens 600 times later than its neighbours."""
    places, errors = np.linspace(0, 2, 9)[:, None], np.full(9, 0.1)
    asked = np.linspace(0, 2.2, 12)[:, None]
    plain, plain_sd = Kriging(places, errors, SPREAD).predict(asked)
    off = errors + np.where(np.arange(9) == 6, wrong, 0.0)
    found, sd = Kriging(places, off, SPREAD).predict(asked)
    assert found == pytest.approx(plain, abs=0.06)
    assert sd == pytest.approx(plain_sd, abs=0.05)
    # the others are borne out all the same
    assert (np.abs(np.delete(Kriging(places, off, SPREAD).left_out, 6)) < 1.0).all()


@pytest.mark.parametrize("error", [0.5, 1.5, 3.0])
def test_the_first_run_of_a_group_is_all_that_is_known_of_it(error: float) -> None:
    """However far from the model it is, and the further the further."""
    one = Kriging(np.zeros((1, 1)), np.array([error]), SPREAD)
    assert one.predict(np.zeros((1, 1)))[0].item() > 0.9 * error
    twice = Kriging(np.zeros((2, 1)), np.full(2, error), SPREAD)
    assert twice.predict(np.zeros((1, 1)))[0].item() > 0.95 * error


def test_several_rows_that_agree_are_no_outliers() -> None:
    places, errors = np.linspace(0, 6, 13)[:, None], np.where(np.arange(13) > 6, 0.7, 0.1)
    found = Kriging(places, errors, SPREAD).predict(np.array([[0.0], [6.0]]))[0]
    assert found == pytest.approx([0.1, 0.7], abs=0.1)


def test_intervals_hold_where_the_world_is_as_assumed() -> None:
    rng, held = np.random.default_rng(0), []
    for _ in range(200):
        places = rng.uniform(0, 3, (12, 1))
        apart = (places - places.T) ** 2
        smooth = rng.multivariate_normal(np.zeros(12), 0.85 * 0.04 * np.exp(-apart / 2))
        errors = 0.1 + rng.normal(0, 0.5) + smooth + rng.normal(0, np.sqrt(0.15) * 0.2, 12)
        mean, sd = Kriging(places[:6], errors[:6], SPREAD).predict(places[6:])
        held.append(np.abs(errors[6:] - mean) <= 1.645 * sd)
    assert np.mean(held) == pytest.approx(0.9, abs=0.03)


def test_spread_is_drawn_to_the_priors() -> None:
    group = np.repeat([0, 1, 2], 50)
    errors = np.array([1.0, 1.2, 0.8])[group] + np.tile([0.01, -0.01], 75)
    found, alone = spread_of(errors, group, 0.6), spread_of(errors[:1], group[:1], 0.6)
    assert found.overall == pytest.approx(0.75)
    assert found.within < 0.1 < alone.within
    assert 0.3 < found.between < 0.6
    assert alone.overall == pytest.approx(0.505)


@given(st.integers(1, 500), st.integers(1, 60))
def test_spaced_places_are_few_distinct_and_reach_the_ends(count: int, most: int) -> None:
    found = spaced(count, most)
    assert len(found) == min(count, most)
    assert found[0] == 0
    assert found[-1] == (count - 1 if most > 1 else 0)
