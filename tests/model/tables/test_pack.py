"""Packed grids: how far they can be trusted between their knots, checked on knots left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tables.grid import look_up
from model.tables.pack import Table, nearest, pack
from model.tables.spread import NOISE, UNTRIED, left_out, spread_of

NO_WAVES = np.empty(0)


def packed(seconds: np.ndarray, knots: np.ndarray) -> Table:
    """One axis, filled in proportion."""
    return pack(np.zeros((len(knots), 0)), [knots], seconds, lambda _, axes: axes[0], lambda _, values, __: values)


def at(table: Table, places: list[float]) -> tuple[np.ndarray, np.ndarray]:
    asked = np.array(places)
    return look_up(table.packed, np.zeros(1, np.int64), asked, *[np.zeros(len(places))] * 3, NO_WAVES)[:2]


def test_the_spread_between_knots_is_what_leaving_knots_out_strays_by() -> None:
    knots = np.arange(1.0, 42.0)
    rng = np.random.default_rng(5)
    smooth, rough = 1e-6 * knots, 1e-6 * knots * np.exp(rng.normal(0, 0.1, len(knots)))
    (_, small), (_, large) = at(packed(smooth, knots), [7.5, 7.0]), at(packed(rough, knots), [7.5, 7.0])
    assert small.tolist() == pytest.approx([NOISE, NOISE])
    assert 0.05 < large[0] < 0.25
    assert large[1] == NOISE


def test_two_knots_alone_are_trusted_less() -> None:
    table = packed(np.array([1e-6, 2e-6]), np.array([1.0, 2.0]))
    seconds, sd = at(table, [1.5])
    assert seconds[0] == pytest.approx(1.5e-6)
    assert sd[0] == pytest.approx(np.hypot(NOISE, UNTRIED))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.floats(1e-7, 1e-2)), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_any_scattered_rows_make_a_table_that_answers_them(
    rows: list[tuple[int, int, float]], random: np.random.Generator
) -> None:
    """Slices of different lengths and holes: every row that is alone in its place is answered exactly."""
    random.shuffle(rows)
    knots, keys, seconds = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    table = pack(keys[:, None], [knots, knots % 3], seconds, lambda _, axes: 1.0 + axes[0], lambda _, v, __: v)
    which = np.searchsorted(table.keys[:, 0], keys)
    zeros = np.zeros(len(rows))
    found, sd, _, far = look_up(table.packed, which, knots, knots % 3, zeros, zeros, NO_WAVES)
    for row in range(len(rows)):
        alike = (knots == knots[row]) & (keys == keys[row])
        assert found[row] == pytest.approx(np.median(seconds[alike]), rel=1e-12)
    assert not far.any()
    assert np.isfinite(sd).all()


def test_knots_beside_each_other_do_not_hide_what_lies_between_the_others() -> None:
    """Both sides of a tile are measured: each predicts the other well, and neither says how the next gap goes."""
    ends = 2.0 ** np.arange(4, 16)
    knots = np.sort(np.r_[ends, ends + 0.01 * ends])
    seconds = 1e-6 * knots * (1.0 + 2.0 * (np.floor(np.log2(knots)) % 2))
    _, sd = at(packed(seconds, knots), [1.5 * 64])
    assert sd[0] > 2 * UNTRIED


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_holes_take_the_nearest_known_place_of_two_the_first(known: list[bool]) -> None:
    length = len(known)
    wanted = [
        min(range(length), key=lambda j: (not known[j], abs(i - j), j)) if any(known) else 0 for i in range(length)
    ]
    assert nearest(np.array([known, known]))[1].tolist() == wanted


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(1, 5), st.floats(1e-6, 1e-3)),
        min_size=1,
        max_size=120,
    ),
    st.sampled_from([np.inf, 3.0]),
)
def test_slices_are_packed_as_each_by_itself(rows: list[tuple[int, int, int, float]], factor: float) -> None:
    keys, x, y, seconds = (np.array(column, np.float64) for column in zip(*rows, strict=True))

    def of(part: np.ndarray) -> Table:
        named = keys[part, None]
        return pack(named, [x[part], y[part]], seconds[part], lambda k, a: a[0] * a[1] + k[0], bend, factor)

    def bend(axis: int, values: np.ndarray, key: Sequence[Any]) -> np.ndarray:
        return values + key[0] * values * values if axis else values

    whole, alone = of(np.ones(len(keys), bool)), [of(keys == key) for key in np.unique(keys)]
    for name in ("knots", "values", "codes"):
        parts = np.concatenate([getattr(part.packed, name) for part in alone])
        np.testing.assert_array_equal(getattr(whole.packed, name), parts)
    for name in ("keys", "lows", "highs"):
        np.testing.assert_array_equal(getattr(whole, name), np.concatenate([getattr(part, name) for part in alone]))


def test_spreads_cover_nine_tenths_of_a_slice_or_of_all_where_it_has_few() -> None:
    rng = np.random.default_rng(1)
    whose = rng.permutation(np.repeat([0, 1, 3, 4], [40, 19, 40, 77]))
    errors = rng.exponential(1.0 + whose, len(whose))
    of_all = np.quantile(errors, 0.9)
    wanted = [np.quantile(errors[whose == own], 0.9) if own in {0, 3, 4} else of_all for own in range(5)]
    np.testing.assert_allclose(spread_of(errors, whose, 5), np.array(wanted) / 1.645)
    assert spread_of(np.empty(0), np.empty(0, np.int64), 2).tolist() == [0.15, 0.15]


def test_of_knots_beside_each_other_one_is_left_out() -> None:
    """Two grids, of which one has both sides of a tile."""
    knots = np.array([[1.0, 2.0, 2.01, 4.0], [1.0, 2.0, 3.0, 4.0]])
    values = np.array([[1.0, 3.0, 9.0, 5.0], [1.0, 2.0, 4.0, 4.0]])
    errors, whose = left_out(values, knots, 1)
    assert whose.tolist() == [0, 1, 1]
    wanted = np.log([(7.0 / 3.0) / 3.0, 2.5 / 2.0, 3.0 / 4.0]) / [2.0 / 3.0, 1.0, 1.0]
    np.testing.assert_allclose(errors, np.abs(wanted))
    assert left_out(np.where(values == 4.0, np.nan, values), knots, 1)[1].tolist() == [0]
    assert len(left_out(values[:, :2], knots[:, :2], 1)[0]) == 0
