"""None and NaN say nothing, everything else does, and a grid tells them apart from values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.learning.features import encode
from model.missing import is_missing, missing_in
from perfdb.records import Grid


@pytest.mark.parametrize("value", [None, math.nan, np.float64("nan")])
def test_nothing_is_said(value: object) -> None:
    assert is_missing(value)


@pytest.mark.parametrize("value", [0, 0.0, False, "", "nan", math.inf])
def test_something_is_said(value: object) -> None:
    assert not is_missing(value)


@pytest.mark.parametrize(
    "values", [[1, 2], [1.0, math.nan], [True, False], ["a", "nan"], [None, 1, math.nan, ""], []], ids=str
)
def test_a_column_is_looked_at_as_its_values_are(values: list[object]) -> None:
    as_objects = np.empty(len(values), object)
    as_objects[:] = values
    for column in (np.array(values), as_objects):
        assert missing_in(column).tolist() == [is_missing(value) for value in column.tolist()]


def test_nan_in_a_column_of_objects_is_not_set_as_none_is() -> None:
    with_nan, with_none = (Grid({"n": np.array([1, 2, gap], object)}) for gap in (math.nan, None))
    np.testing.assert_array_equal(encode(with_nan), encode(with_none))
    assert np.isfinite(encode(with_nan)).all()
