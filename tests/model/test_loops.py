"""Loops that compile when it pays: the same answer in plain Python, within other loops and in compiled ones."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from model import loops
from model.compiled import njit
from model.loops import Loop, loop
from model.steps.planned import _at
from model.tables.grid import look_up
from model.tables.pack import pack


@loop(error_model="numpy")
def half(value: float) -> float:
    """Half of it."""
    return value / 2.0


@loop()
def halves(values: np.ndarray, by: float) -> np.ndarray:
    """Half of each, over another."""
    found = np.empty(len(values))
    for row in range(len(values)):
        found[row] = half(values[row]) / by
    return found


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has compiled nothing."""
    monkeypatch.setattr(Loop, "_spent_s", 0.0)
    monkeypatch.setattr(loops, "is_loaded", lambda: False)


def test_a_compiled_loop_calls_others_and_is_called_by_compiled_code() -> None:
    @njit
    def twice(value: float) -> float:
        return float(half(half(value)))

    assert halves(np.array([2.0, 6.0]), 1.0).tolist() == [1.0, 3.0]
    assert twice(8.0) == 2.0


@pytest.mark.usefixtures("fresh")
def test_little_work_is_done_in_python_with_the_same_answer() -> None:
    values = np.array([2.0, 6.0, 0.0])
    wanted = halves(values, 3.0)
    plain = halves.taking(1e-3)
    assert plain is not halves
    assert plain(values, 3.0).tolist() == wanted.tolist()


@pytest.mark.usefixtures("fresh")
def test_a_division_by_zero_is_infinite_either_way() -> None:
    assert halves.taking(1e-3)(np.array([1.0]), np.float64(0.0)).tolist() == [np.inf]


@pytest.mark.usefixtures("fresh")
def test_work_adds_up_until_compiling_pays() -> None:
    assert halves.taking(10.0) is halves
    kinds = [halves.taking(0.09) is halves for _ in range(5)]
    assert kinds == [False, False, False, True, True]


def test_what_is_loaded_anyway_is_used() -> None:
    assert "numba" in sys.modules
    assert halves.taking(0.0) is halves


@pytest.mark.usefixtures("fresh")
def test_an_error_in_python_leaves_later_calls_compiled() -> None:
    with pytest.raises(TypeError):
        halves.taking(1e-3)(np.array(1.0), 1.0)
    assert half(4.0) == 2.0


@pytest.mark.usefixtures("fresh")
def test_tables_are_looked_up_alike() -> None:
    rng = np.random.default_rng(1)
    x, y = (rng.integers(1, 20, 300).astype(float) for _ in range(2))
    table = pack(np.zeros((300, 0)), [x, y], rng.uniform(1, 2, 300), lambda _, a: a[0], lambda _, v, __: v)
    asked = [rng.uniform(0, 25, 200), rng.uniform(0, 25, 200), np.zeros(200), np.zeros(1)]
    which, waves = np.zeros(1, np.int64), rng.uniform(0.1, 3, 200)
    plain = look_up.taking(1e-3)(table.packed, which, *asked, waves)
    for one, other in zip(plain, look_up(table.packed, which, *asked, waves), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14)
    assert _at.taking(1e-6)(np.array([0.0, 1.0, 4.0]), 1.5) == 2.5 == _at(np.array([0.0, 1.0, 4.0]), 1.5)


def test_to_import_loops_imports_no_compiler() -> None:
    rooms = "model.tables.library, model.steps.planned, model.closed_form.queueing"
    code = f"import sys, {rooms}; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
