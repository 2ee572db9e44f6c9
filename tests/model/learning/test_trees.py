"""Trees as arrays: few rows and many get the same answer, several are summed as one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.learning.trees import _FEW, Trees, fit_trees, joined


@lru_cache(maxsize=2)
def fitted(seed: int) -> Trees:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(300, 4))
    return fit_trees(features, features[:, 0] ** 2 + features[:, 1], rng.uniform(0.5, 2.0, 300))


def leaf(value: float) -> Trees:
    """One tree of one leaf."""
    none = np.zeros(1, np.int32)
    return Trees(1.0, none, none, np.array([value], np.float32), none - 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, _FEW), st.integers(0, 2**32 - 1), st.sampled_from((0.5, np.inf, -np.inf, np.nan)))
def test_few_rows_are_answered_as_many(rows: int, seed: int, odd: float) -> None:
    features = np.random.default_rng(seed).normal(size=(_FEW + 1, 4))
    features[seed % (_FEW + 1)] = odd
    many = fitted(0).predict(features)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.learning.trees.is_loaded", lambda: False)
        few = fitted(0).predict(features[:rows])
    assert few.tolist() == many[:rows].tolist()


def test_a_value_on_a_threshold_goes_right_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    trees = fitted(0)
    place = int(np.flatnonzero(trees.left >= 0)[0])
    features = np.full((_FEW + 1, 4), float(trees.threshold[place]))
    many = trees.predict(features)
    monkeypatch.setattr("model.learning.trees.is_loaded", lambda: False)
    assert trees.predict(features[:1])[0] == many[0]


def test_several_are_summed_as_one() -> None:
    features = np.random.default_rng(3).normal(size=(_FEW * 2, 4))
    members = (fitted(0), leaf(2.5), fitted(1))
    wanted = np.sum([trees.predict(features) for trees in members], axis=0)
    np.testing.assert_allclose(joined(members).predict(features), wanted, rtol=1e-12)
    np.testing.assert_allclose(joined(members).predict(features[:2]), wanted[:2], rtol=1e-12)


def test_no_rows_have_no_answers() -> None:
    assert fitted(0).predict(np.zeros((0, 4))).shape == (0,)
