"""Fits kept on disk: the same answer without a fit, another one for other data, and none that harms."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import compiled
from model.kept.fits import kept
from model.learning.crossfit import CrossFit
from model.learning.trees import Trees, fit_trees


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "servecast" / "kept"


def data(seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(80, 3))
    return features, features[:, 0] ** 2


class Fit:
    """Two members for some data; counts how often it was asked to fit."""

    def __init__(self, seed: int = 0) -> None:
        self.data, self.times = data(seed), 0

    def __call__(self) -> tuple[list[Trees], np.ndarray[Any, Any]]:
        self.times += 1
        features, target = self.data
        trees = [fit_trees(features[:part], target[:part], np.ones(part)) for part in (60, 80)]
        return trees, target - trees[0].predict(features)

    def kept(self) -> tuple[list[Trees], np.ndarray[Any, Any]]:
        return kept(self.data, self)


def test_the_second_answer_is_the_first_without_a_fit(folder: Path) -> None:
    fit = Fit()
    (first, errors), (second, again) = fit.kept(), fit.kept()
    assert fit.times == 1
    assert np.array_equal(errors, again)
    assert len(list(folder.iterdir())) == 1
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.predict(fit.data[0]), other.predict(fit.data[0]))


def test_other_data_is_fitted_by_itself(folder: Path) -> None:
    fits = [Fit(0), Fit(1)]
    for fit in (*fits, *fits):
        fit.kept()
    assert [fit.times for fit in fits] == [1, 1]
    nearly = Fit(0)
    nearly.data[1][7] += 1e-12
    nearly.kept()
    assert nearly.times == 1


def test_a_damaged_file_is_as_good_as_none(folder: Path) -> None:
    for content in (b"", b"PK\x03\x04 but no more"):
        fit = Fit()
        fit.kept()
        [file] = folder.iterdir()
        file.write_bytes(content)
        again = Fit()
        assert again.kept()[0][0].base == fit.kept()[0][0].base
        assert again.times == 1


def test_a_kept_fit_needs_no_learning_library(folder: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(240, 16))
    here = CrossFit("e2e_s", features, np.abs(features[:, -1]), np.arange(240) % 8, 0.7).expected(features[:2], None)
    code = (
        "import sys, numpy as np; from model.learning.crossfit import CrossFit; rng = np.random.default_rng(0); "
        "x = rng.normal(size=(240, 16)); y = np.abs(x[:, -1]); g = np.arange(240) % 8; "
        "print(CrossFit('e2e_s', x, y, g, 0.7).expected(x[:2], None).tolist(), "
        "[m for m in ('sklearn', 'xgboost', 'pandas') if m in sys.modules])"
    )
    # compiled kernels stay where they are: to compile them anew would take seconds
    environment = {**os.environ, "NUMBA_CACHE_DIR": compiled.config.CACHE_DIR}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == f"{here.tolist()} []"
