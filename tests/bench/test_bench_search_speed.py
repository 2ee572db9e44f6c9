"""Speed of the search on grids far larger than the field's: run with `poe bench`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from model.learning.gp import fit
from search.acquire import expected_improvement
from search.frontier import non_dominated
from search.hypervolume import hypervolume
from search.objective import Objective
from search.plan import State
from search.space import ConfigSpace
from search.strategies import strategy

OBJECTIVES = (Objective.parse("output_tps"), Objective.parse("ttft_s"), Objective.parse("tpot_s"))
MILLION = 1_000_000


@pytest.mark.parametrize("k", [2, 3])
def test_non_dominated_of_a_million(benchmark, k):
    points = np.random.default_rng(0).random((MILLION, k))
    assert benchmark(non_dominated, points).any()


@pytest.mark.parametrize("k", [2, 3])
def test_non_dominated_of_a_million_that_all_are(benchmark, k):
    points = np.abs(np.random.default_rng(0).standard_normal((MILLION, k)))
    assert benchmark(non_dominated, 1 - points / np.linalg.norm(points, axis=1)[:, None]).all()


@pytest.mark.parametrize(("k", "n"), [(2, 5000), (3, 5000), (4, 200), (5, 80)])
def test_hypervolume(benchmark, k, n):
    points = np.abs(np.random.default_rng(0).standard_normal((n, k)))
    assert benchmark(hypervolume, 1 - points / np.linalg.norm(points, axis=1)[:, None], np.full(k, 1.1)) > 0


@pytest.mark.parametrize(("k", "points"), [(2, 15), (3, 15), (4, 15)])
def test_expected_improvement_of_a_million(benchmark, k, points):
    rng = np.random.default_rng(0)
    front = np.abs(rng.standard_normal((points, k)))
    front = 1 - front / np.linalg.norm(front, axis=1)[:, None]
    mean, sd = rng.random((MILLION, k)), rng.random((MILLION, k)) * 0.3 + 0.05
    assert benchmark(expected_improvement, mean, sd, front, np.full(k, 1.1)).max() > 0


@pytest.mark.parametrize("t", [10, 20, 100])
def test_fit(benchmark, t):
    x = np.random.default_rng(0).random((t, 12))
    y = np.sin(3 * x[:, 0]) + x[:, 1]
    assert benchmark(fit, x, y, np.zeros(t), np.zeros((t, 0))).noise_sd > 0


def test_predict_a_million(benchmark):
    rng = np.random.default_rng(0)
    x, new = rng.random((20, 12)), rng.random((MILLION, 12))
    fitted = fit(x, np.sin(3 * x[:, 0]) + x[:, 1], np.zeros(20), np.zeros((20, 0)))
    assert benchmark(fitted.predict, new, np.zeros(MILLION), np.zeros((MILLION, 0)))[0].shape == (MILLION,)


@pytest.mark.parametrize("n", [100, 57_600, MILLION])
def test_one_proposal_with_three_objectives(benchmark, n):
    rng = np.random.default_rng(0)
    features = rng.random((n, 12))
    rows = rng.choice(n, 15, replace=False)
    values = np.exp(rng.standard_normal((15, 3)))
    state = State(features, OBJECTIVES, rows, np.ones(15, bool), values)
    active = strategy("active")
    assert benchmark(lambda: active.propose(state, 1, np.random.default_rng(0)))


def test_grid_of_57600(benchmark):
    forms = {"a": list(range(10)), "b": list(range(10)), "c": list(range(8)), "d": list(range(9)), "e": list(range(8))}
    space = ConfigSpace.of(forms, ["a <= b + 2", "c * d <= 60 or e > 1"])
    assert space.size == 57_600
    assert len(benchmark(space.grid))


def test_first_compilation_of_every_kernel(benchmark, tmp_path):
    """What a fresh clone pays once: `NUMBA_CACHE_DIR` points to an empty folder for each round."""
    code = "import search.strategies.active"
    rounds = iter(range(1000))

    def cold() -> None:
        environment = {"NUMBA_CACHE_DIR": str(tmp_path / str(next(rounds))), "PATH": ""}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    benchmark.pedantic(cold, rounds=3)
