"""S0.8: dominance (C4), reference point and knee, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from search.frontier import knee, non_dominated, reference_point
from search.objective import Objective, to_loss

TPS, TTFT = Objective.parse("output_tps"), Objective.parse("ttft_s")


@st.composite
def losses(draw, least=0, most=5):
    k = draw(st.integers(1, most))
    n = draw(st.integers(least, 25))
    # Few distinct values make ties and equal vectors common, which is where dominance goes wrong.
    value = st.one_of(st.integers(0, 4).map(float), st.sampled_from([np.nan, np.inf, 0.5]))
    return draw(hnp.arrays(np.float64, (n, k), elements=value))


def brute(points):
    finite = np.isfinite(points).all(axis=1)
    return np.array(
        [
            finite[i] and not any(finite[j] and (b <= a).all() and (b < a).any() for j, b in enumerate(points))
            for i, a in enumerate(points)
        ],
        dtype=bool,
    )


@given(losses())
def test_s0_8_mask_equals_the_definition_for_one_to_five_objectives(points):
    assert non_dominated(points).tolist() == brute(points).tolist()


@given(losses(least=1), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(points, random):
    order = list(range(len(points)))
    random.shuffle(order)
    assert non_dominated(points)[order].tolist() == non_dominated(points[order]).tolist()


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_many_points_take_the_filtered_path_and_agree_with_pairwise_comparison(k):
    points = np.random.default_rng(k).random((1500, k)).round(2)
    mask = non_dominated(points)
    front = points[mask]
    assert mask.sum() > 1
    for point, kept in zip(points, mask, strict=True):
        dominated = ((front <= point).all(axis=1) & (front < point).any(axis=1)).any()
        assert kept != dominated


def test_c4_equal_vectors_are_both_kept_and_failures_never():
    points = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 3.0], [np.nan, 0.0]])
    assert non_dominated(points).tolist() == [True, True, False, False]


def test_mixed_directions_go_through_losses():
    values = np.array([[100.0, 1.0], [50.0, 0.5], [50.0, 1.0], [0.0, 0.1]])
    assert non_dominated(to_loss(values, (TPS, TTFT))).tolist() == [True, True, False, False]


@given(losses(), st.sampled_from([0.5, 1.0, 2.0]))
def test_c4_eps_drops_only_what_is_beaten_by_eps_everywhere(points, eps):
    finite = np.isfinite(points).all(axis=1)
    expected = [
        bool(finite[i]) and not any(finite[j] and (b <= a - eps).all() and (b < a).any() for j, b in enumerate(points))
        for i, a in enumerate(points)
    ]
    mask = non_dominated(points, eps)
    assert mask.tolist() == expected
    assert (mask | ~non_dominated(points)).all(), "noise never removes a point of the exact front"


def test_reference_is_the_nadir_moved_by_a_tenth_of_the_range():
    points = np.array([[0.0, 1.0], [1.0, 0.0], [5.0, 5.0]])
    assert reference_point(points, (TTFT, TTFT)) == pytest.approx([1.1, 1.1])


def test_reference_without_range_moves_the_native_value_by_a_tenth():
    point = to_loss(np.array([[200.0, 0.5]]), (TPS, TTFT))
    back = np.exp(reference_point(point, (TPS, TTFT)) * [-1, 1])
    assert back == pytest.approx([200 * 0.9, 0.5 * 1.1])


def test_reference_needs_a_success():
    with pytest.raises(ValueError, match="at least one successful"):
        reference_point(np.full((2, 2), np.nan), (TPS, TTFT))


def test_knee_is_the_front_point_nearest_to_the_ideal():
    points = np.array([[0.0, 1.0], [0.2, 0.2], [1.0, 0.0], [0.1, 0.9], [3.0, 3.0]])
    assert knee(points) == 1
    assert knee(np.full((3, 2), np.nan)) is None


@given(losses(least=1))
def test_knee_is_on_the_front(points):
    row = knee(points)
    assert (row is None) == (not non_dominated(points).any())
    assert row is None or non_dominated(points)[row]
