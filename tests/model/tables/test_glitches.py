"""Measurements that are far from all their neighbours: replaced, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tables.answer import INTERPOLATED, MEASURED
from model.tables.glitches import GLITCH, on_grid, on_lines
from model.tables.grid import look_up
from model.tables.pack import Table, pack

NO_WAVES = np.empty(0)
SHAPE = (6, 5, 4)


def packed(seconds: np.ndarray, *arguments: np.ndarray, factor: float = GLITCH) -> Table:
    """One slice whose formula is the product of its arguments."""
    keys = np.zeros((len(seconds), 0))
    return pack(keys, arguments, seconds, lambda _, axes: np.prod(axes, axis=0), lambda _, values, __: values, factor)


def mesh() -> list[np.ndarray]:
    return [axis.ravel() for axis in np.meshgrid(*(2.0 ** np.arange(size) for size in SHAPE), indexing="ij")]


def ask(table: Table, *places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    zeros = [np.zeros(len(places[0]))] * (4 - len(places))
    return look_up(table.packed, np.zeros(1, np.int64), *places, *zeros, NO_WAVES)[:3]


@given(st.integers(0, 119), st.sampled_from([0.02, 0.3, 3.4, 50.0]), st.integers(0, 1000))
def test_one_glitch_is_replaced_and_all_else_is_exact(at: int, times: float, seed: int) -> None:
    axes = mesh()
    seconds = np.prod(axes, axis=0) * np.exp(np.random.default_rng(seed).uniform(-0.05, 0.05, len(axes[0])))
    wrong = seconds.copy()
    wrong[at] *= times
    found, sd, code = ask(packed(wrong, *axes), *axes)
    others = np.arange(len(seconds)) != at
    np.testing.assert_allclose(found[others], seconds[others], rtol=1e-12)
    assert (code[others] == MEASURED).all()
    place = np.unravel_index(at, SHAPE)
    if all(0 < index < size - 1 for index, size in zip(place, SHAPE, strict=True)) or 0 < place[0] < 5:
        assert found[at] == pytest.approx(seconds[at], rel=0.12)
        assert code[at] == INTERPOLATED
        assert sd[at] > sd[others].max()


@given(st.lists(st.floats(-1.0, 1.0), min_size=120, max_size=120))
def test_nothing_within_the_factor_is_touched(noise: list[float]) -> None:
    """However rough: e / (1 / e) apart, and yet no point is three times what its neighbours say, either way."""
    axes = mesh()
    seconds = np.prod(axes, axis=0) * np.exp(np.array(noise) * np.log(GLITCH) / 2.01)
    found, _, code = ask(packed(seconds, *axes), *axes)
    np.testing.assert_allclose(found, seconds, rtol=1e-12)
    assert (code == MEASURED).all()


def test_a_step_is_no_glitch() -> None:
    """Another kernel from some size on: both of its sides have a neighbour that agrees."""
    sizes = 2.0 ** np.arange(10)
    seconds = sizes * np.where(sizes >= 32, 9.0, 1.0)
    found, _, code = ask(packed(seconds, sizes), sizes)
    np.testing.assert_allclose(found, seconds)
    assert (code == MEASURED).all()


def test_what_agrees_along_one_axis_is_kept() -> None:
    """A whole row five times as long is a kernel of its own, not a glitch."""
    ratio = np.zeros((5, 5))
    ratio[2] = np.log(5.0)
    assert not on_grid(ratio, GLITCH)[0].any()
    ratio[2] = 0.0
    ratio[0, :2] = np.log(5.0)
    assert not on_grid(ratio, GLITCH)[0].any()
    ratio[0] = 0.0
    ratio[2, 2] = np.log(5.0)
    wrong, said = on_grid(ratio, GLITCH)
    assert np.argwhere(wrong).tolist() == [[2, 2]]
    assert said[2, 2] == 0.0


def test_neighbours_that_were_not_measured_say_nothing() -> None:
    ratio = np.array([[0.0, np.nan, 0.0], [np.nan, 9.0, np.nan], [0.0, np.nan, 0.0]])
    assert not on_grid(ratio, GLITCH)[0].any()


def test_lines_do_not_touch_each_other() -> None:
    ratio = np.array([0.0, 0.0, 4.0, 0.0, 0.0, 4.0])
    assert on_lines(ratio, np.array([0, 0, 0, 1, 1, 1]), GLITCH)[0].tolist() == [False] * 6
    assert np.flatnonzero(on_lines(ratio, np.zeros(6, np.int64), GLITCH)[0]).tolist() == [2]
    assert not on_lines(ratio[:2], np.zeros(2, np.int64), GLITCH)[0].any()


def test_without_a_factor_every_row_is_taken() -> None:
    sizes = 2.0 ** np.arange(5)
    seconds = sizes * np.array([1.0, 1.0, 90.0, 1.0, 1.0])
    found, _, _ = ask(packed(seconds, sizes, factor=np.inf), sizes)
    np.testing.assert_allclose(found, seconds)


def test_an_end_without_two_neighbours_along_any_axis_is_kept() -> None:
    """Nothing says how it goes on there."""
    assert not on_grid(np.array([0.0, 0.0, 4.0]), GLITCH)[0].any()
    corner = np.zeros((4, 4))
    corner[0, 3] = 4.0
    assert not on_grid(corner, GLITCH)[0].any()
    edge = np.zeros((4, 4))
    edge[0, 2] = 4.0
    assert np.argwhere(on_grid(edge, GLITCH)[0]).tolist() == [[0, 2]]


def test_grids_of_one_shape_say_nothing_of_each_other() -> None:
    sizes, keys = np.tile(2.0 ** np.arange(6), 2), np.repeat([[1.0], [2.0]], 6, axis=0)
    seconds = sizes * np.tile([1.0, 1.0, 9.0, 1.0, 1.0, 1.0], 2)
    table = pack(keys, [sizes, np.ones(12)], seconds, lambda _, a: a[0], lambda _, values, __: values, GLITCH)
    np.testing.assert_allclose(table.packed.values, sizes)
