"""Expected hypervolume improvement against sampling, and the probability of feasibility."""

from __future__ import annotations

import numpy as np
import pytest

from search import acquire
from search.acquire import expected_improvement, probability_of_feasibility
from search.hypervolume import hypervolume


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_equals_the_mean_gain_of_sampled_outcomes(k):
    rng = np.random.default_rng(k)
    front, reference = rng.random((6, k)), np.full(k, 1.1)
    mean, sd = rng.random((3, k)) * 0.6, rng.random((3, k)) * 0.2 + 0.05
    before = hypervolume(front, reference)
    for m, s, exact in zip(mean, sd, expected_improvement(mean, sd, front, reference), strict=True):
        outcomes = m + s * rng.standard_normal((400, k))
        sampled = [hypervolume(np.vstack([front, outcome]), reference) - before for outcome in outcomes]
        assert exact == pytest.approx(np.mean(sampled), abs=4 * np.std(sampled) / np.sqrt(400) + 1e-9)


def test_without_uncertainty_it_is_the_plain_gain():
    front, reference = np.array([[0.2, 0.8], [0.8, 0.2]]), np.ones(2)
    points = np.array([[0.5, 0.5], [0.9, 0.9], [0.1, 0.1]])
    gain = expected_improvement(points, np.full((3, 2), 1e-9), front, reference)
    assert gain == pytest.approx([0.09, 0.0, 0.81 - 0.28], abs=1e-6)


def test_failures_and_an_empty_front_count_for_nothing():
    mean, sd, reference = np.zeros((1, 2)), np.full((1, 2), 1e-9), np.ones(2)
    assert expected_improvement(mean, sd, np.full((2, 2), np.nan), reference) == pytest.approx([1.0])
    assert expected_improvement(mean, sd, np.zeros((0, 2)), reference) == pytest.approx([1.0])


def test_too_many_cells_give_the_exact_value_to_the_promising_ones(monkeypatch):
    rng = np.random.default_rng(0)
    angles = np.abs(rng.standard_normal((20, 4)))
    front = 1 - angles / np.linalg.norm(angles, axis=1)[:, None]
    mean, sd, reference = rng.random((50, 4)) * 0.8, np.full((50, 4), 0.1), np.full(4, 1.1)
    exact = expected_improvement(mean, sd, front, reference)
    monkeypatch.setattr(acquire, "CELL_BUDGET", 8 * 10**3)
    screened = expected_improvement(mean, sd, front, reference)
    assert np.argmax(screened) == np.argmax(exact)
    assert screened.max() == pytest.approx(exact.max())
    assert 0 < (screened > 0).sum() < 50


def test_feasibility_rises_with_evidence_and_with_successes_nearby():
    evidence, mean, sd = np.array([-1.5, 0.0, 0.0, 1.5]), np.array([0.0, -1.0, 1.0, 0.0]), np.full(4, 0.1)
    chance = probability_of_feasibility(evidence, mean, sd)
    assert chance[0] < 0.01
    assert chance[1] < 0.05
    assert chance[2] > 0.95
    assert chance[3] > 0.99
