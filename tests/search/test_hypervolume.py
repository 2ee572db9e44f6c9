"""Exact hypervolume against a sum over the cells of the points' own grid."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from search.hypervolume import hypervolume, hypervolume_trace


@st.composite
def points_and_reference(draw):
    k = draw(st.integers(1, 5))
    n = draw(st.integers(0, 6 if k > 3 else 10))
    points = draw(hnp.arrays(np.float64, (n, k), elements=st.integers(0, 4).map(float)))
    return points, np.full(k, draw(st.sampled_from([2.0, 3.5, 5.0])))


def by_cells(points, reference):
    axes = [np.unique(np.append(points[:, j], reference[j])) for j in range(len(reference))]
    axes = [axis[axis <= reference[j]] for j, axis in enumerate(axes)]
    total = 0.0
    for corner in itertools.product(*(range(len(axis) - 1) for axis in axes)):
        low = np.array([axes[j][i] for j, i in enumerate(corner)])
        high = np.array([axes[j][i + 1] for j, i in enumerate(corner)])
        if (points <= low).all(axis=1).any():
            total += float(np.prod(high - low))
    return total


@given(points_and_reference())
def test_equals_the_sum_over_cells_for_one_to_five_objectives(case):
    points, reference = case
    assert hypervolume(points, reference) == pytest.approx(by_cells(points, reference))


@given(points_and_reference(), st.integers(0, 4))
def test_another_point_never_lowers_it(case, value):
    points, reference = case
    more = np.vstack([points, np.full((1, len(reference)), float(value))])
    assert hypervolume(more, reference) >= hypervolume(points, reference) - 1e-12


@pytest.mark.parametrize("k", [2, 3, 4])
def test_agrees_with_random_sampling_on_a_continuous_front(k):
    rng = np.random.default_rng(k)
    points = rng.random((25, k))
    samples = rng.random((50_000, k)) * 1.1
    inside = np.zeros(len(samples), bool)
    for point in points:
        inside |= (point <= samples).all(axis=1)
    assert hypervolume(points, np.full(k, 1.1)) == pytest.approx(inside.mean() * 1.1**k, abs=0.01)


def test_failures_and_points_beyond_the_reference_add_nothing():
    reference = np.array([1.0, 1.0])
    assert hypervolume(np.array([[np.nan, 0.0], [1.0, 0.0], [2.0, 0.5]]), reference) == 0.0


@given(points_and_reference())
def test_trace_is_the_hypervolume_of_every_prefix(case):
    points, reference = case
    expected = [hypervolume(points[: i + 1], reference) for i in range(len(points))]
    assert hypervolume_trace(points, reference) == pytest.approx(expected)
