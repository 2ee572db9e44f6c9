"""The target-context Gaussian process: interpolation, priors, gradients, coverage, draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from model.learning import gp
from model.learning.gp import fit
from model.learning.gp_kernel import BLOCK, moments
from model.prediction import Z90


def none(n):
    return np.zeros((n, 0))


def smooth(x):
    return np.sin(3 * x[:, 0]) + x[:, 1] ** 2


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.random((20, 3))
    return x, smooth(x), rng.random((200, 3))


def test_it_passes_near_the_observations_and_learns_the_rest(data):
    x, y, new = data
    fitted = fit(x, y, np.zeros(20), none(20))
    mean, sd = fitted.predict(x, np.zeros(20), none(20))
    assert mean == pytest.approx(y, abs=0.1)
    far, far_sd = fitted.predict(new, np.zeros(200), none(200))
    assert np.sqrt(np.mean((far - smooth(new)) ** 2)) < 0.4 * smooth(new).std()
    assert sd.mean() < far_sd.mean()


def test_gradient_equals_finite_differences():
    rng = np.random.default_rng(1)
    x = rng.random((12, 4))
    groups = np.array([0, 0, 1, 2])
    fixed = 1 + 0.1 * np.eye(12)
    made = gp._Data(gp._apart(x, x, groups), x @ x.T, fixed, rng.standard_normal(12))
    for seed in range(3):
        theta = gp._theta_prior(3)[0] + 0.4 * np.random.default_rng(seed).standard_normal(6)
        error = check_grad(lambda t: gp._loss(t, made)[0], lambda t: gp._loss(t, made)[1], theta)
        assert error < 1e-3


def test_intervals_cover_about_nine_in_ten():
    hits = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = rng.random((30, 3))
        scale = rng.uniform(0.5, 3)
        y = scale * np.sin(2 * x[:, 0] + seed) + rng.normal() * x[:, 1] + 0.05 * rng.standard_normal(30)
        fitted = fit(x[:12], y[:12], np.zeros(12), none(12))
        mean, sd = fitted.predict(x[12:], np.zeros(18), none(18))
        hits.append(np.abs(y[12:] - mean) <= Z90 * np.hypot(sd, fitted.noise_sd))
    assert 0.82 <= np.mean(hits) <= 0.99


def test_a_right_prior_mean_needs_no_data_and_a_biased_one_a_single_run(data):
    x, y, new = data
    fitted = fit(x[:1], y[:1], y[:1] - 0.7, none(1), validated=True, spread=0.05)
    mean, _ = fitted.predict(new, smooth(new) - 0.7, none(200))
    assert np.abs(mean - smooth(new)).max() < 0.1


def test_a_slope_on_the_prediction_is_learned(data):
    x, _, new = data
    z, z_new = x[:, :1] * 3, new[:, :1] * 3
    fitted = fit(x[:, 1:], 5 + 0.6 * z[:, 0], np.zeros(20), z)
    mean, _ = fitted.predict(new[:, 1:], np.zeros(200), z_new)
    assert mean == pytest.approx(5 + 0.6 * z_new[:, 0], abs=0.15)


def test_slopes_stay_nearer_to_the_prior_where_it_was_validated():
    x, z, y = np.zeros((2, 1)), np.array([[-1.0], [1.0]]), np.array([-1.0, 1.0])
    rises = [np.ptp(fit(x, y, np.zeros(2), z, validated=v).predict(x, np.zeros(2), z)[0]) for v in (True, False)]
    assert rises[0] < rises[1]


@pytest.mark.parametrize("t", [0, 1, 2])
def test_it_answers_with_hardly_any_data(data, t):
    x, y, new = data
    fitted = fit(x[:t], y[:t], np.zeros(t), none(t))
    mean, sd = fitted.predict(new, np.zeros(200), none(200))
    assert np.isfinite(mean).all()
    assert (sd > 0).all()


def test_constant_and_repeated_observations_are_no_trouble():
    x = np.zeros((6, 2))
    mean, sd = fit(x, np.full(6, 4.0), np.zeros(6), none(6)).predict(x, np.zeros(6), none(6))
    assert mean == pytest.approx(np.full(6, 4.0), abs=1e-3)
    assert (sd < 0.3).all()


def test_draws_have_the_predicted_moments_and_move_together(data):
    x, y, new = data
    fitted = fit(x, y, np.zeros(20), none(20))
    new = np.vstack([new[:30], new[:1] + 1e-4])
    draws = fitted.sample(new, np.zeros(31), none(31), 4000, np.random.default_rng(0))
    mean, sd = fitted.predict(new, np.zeros(31), none(31))
    assert draws.shape == (4000, 31)
    assert draws.mean(axis=0) == pytest.approx(mean, abs=4 * sd.max() / np.sqrt(4000))
    assert draws.std(axis=0) == pytest.approx(sd, rel=0.08, abs=2e-3)
    assert np.corrcoef(draws[:, 0], draws[:, -1])[0, 1] > 0.99


def test_the_compiled_moments_are_those_of_the_textbook():
    rng = np.random.default_rng(0)
    t, n, d = 7, 2 * BLOCK + 3, 3
    seen, new, target = rng.random((t, d)), rng.random((n, d)), rng.standard_normal(t)

    def covariance(left, right):
        r = np.sqrt(5) * np.linalg.norm(left[:, None] - right[None], axis=2)
        return 1 + 0.5 * left[:, :2] @ right[:, :2].T + 1.7 * (1 + r + r**2 / 3) * np.exp(-r)

    known = covariance(seen, seen) + 0.01 * np.eye(t)
    cross = covariance(new, seen)
    weights = np.linalg.solve(known, target)
    mean, variance = moments(
        np.ascontiguousarray(new.T),
        seen,
        np.ascontiguousarray(np.sqrt(0.5) * new[:, :2].T),
        np.ascontiguousarray(np.sqrt(0.5) * seen[:, :2]),
        1.7,
        np.linalg.cholesky(known),
        weights,
    )
    assert mean == pytest.approx(cross @ weights)
    assert variance == pytest.approx(np.diag(covariance(new, new) - cross @ np.linalg.solve(known, cross.T)))


def test_wrong_shapes_and_values_are_refused():
    with pytest.raises(ValueError, match="need 3 rows"):
        fit(np.zeros((3, 1)), np.zeros(2), np.zeros(3), none(3))
    with pytest.raises(ValueError, match="finite"):
        fit(np.zeros((1, 1)), np.array([np.nan]), np.zeros(1), none(1))
