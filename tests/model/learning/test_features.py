"""φ: what each kind of column becomes, and that the parameters can be read back off it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.learning.features import ONE_HOT, column_groups, encode
from perfdb.records import Grid, as_column


def grid(**columns):
    return Grid({name: as_column(values) for name, values in columns.items()})


def test_wide_positive_numbers_are_log2_and_others_linear_both_over_zero_to_one():
    x = encode(grid(tp=[1, 2, 4, 16], mem=[0.8, 0.85, 0.9, 0.8], signed=[-1, 0, 2, 3]))
    assert x[:, 0] == pytest.approx([0, 0.25, 0.5, 1])
    assert x[:, 1] == pytest.approx([0, 0.5, 1, 0])
    assert x[:, 2] == pytest.approx([0, 0.25, 0.75, 1])


def test_booleans_are_one_column_and_categories_lie_at_distance_one():
    x = encode(grid(flag=[True, False, True], dtype=["a", "b", "c"]))
    assert x[:, 0].tolist() == [1, 0, 1]
    assert x.shape == (3, 4)
    assert np.linalg.norm(x[0, 1:] - x[1, 1:]) == pytest.approx(1)


def test_not_set_is_a_category_of_its_own():
    numbers = encode(grid(threads=[None, 1, 4]))
    assert numbers[:, 0].tolist() == [0.5, 0, 1]
    assert numbers[:, 1].tolist() == [1, 0, 0]
    assert encode(grid(threads=[None, 2, 2])).tolist() == [[1], [0], [0]]
    assert encode(grid(x=[np.nan, 2.0, 2.0])).tolist() == [[1], [0], [0]]
    assert encode(grid(q=[None, "a", "a"])).shape == (3, 2)
    assert encode(grid(flag=[None, True, False])).shape == (3, 3)


def test_constant_columns_are_dropped_but_never_all():
    assert encode(grid(a=[1, 1], b=["x", "x"], c=[1, 2])).shape == (2, 1)
    assert encode(grid(a=[1, 1], b=[None, None])).tolist() == [[0], [0]]


def test_groups_keep_the_columns_of_a_category_together():
    x = encode(grid(hw=["a", "b", "c", "a"], tp=[1, 2, 4, 8], fw=["v", "s", "v", "t"], on=[True, False, False, True]))
    assert column_groups(x).tolist() == [0, 0, 0, 1, 2, 2, 2, 3]


def test_groups_of_categories_side_by_side_do_not_merge():
    x = encode(grid(a=["x", "y", "x", "y"], b=["p", "p", "q", "q"]))
    assert column_groups(x).tolist() == [0, 0, 1, 1]


def test_a_column_that_merely_looks_like_a_category_stands_alone():
    x = np.array([[0.0, ONE_HOT], [0.0, 0.0], [ONE_HOT, ONE_HOT]])
    assert column_groups(x).tolist() == [0, 1]


scalars = st.one_of(st.none(), st.integers(-5, 50), st.sampled_from(["a", "b"]), st.booleans())


@given(st.lists(st.tuples(scalars, scalars), min_size=1, max_size=20))
def test_any_grid_encodes_finitely_within_bounds_and_repeatably(rows):
    made = Grid.of([{"a": a, "b": b} for a, b in rows])
    x = encode(made)
    assert x.shape[0] == len(rows)
    assert x.shape[1] >= 1
    assert np.isfinite(x).all()
    assert ((x >= 0) & (x <= 1)).all()
    assert np.array_equal(x, encode(made))
    assert len(column_groups(x)) == x.shape[1]


@given(st.lists(st.sampled_from([None, 1, 2, 8, "a", "b"]), min_size=2, max_size=12))
def test_different_values_get_different_features_and_equal_ones_the_same(values):
    x = encode(Grid.of([{"p": value} for value in values]))
    for i, left in enumerate(values):
        for j, right in enumerate(values):
            assert (left == right) == bool(np.array_equal(x[i], x[j]))
