"""A Gaussian process for one metric in one context, from the few runs that were paid for (t up to about 100).

    y = p + c + Σ_k b_k z_k + w·φ + g(φ) + ε

p is what was believed before (a prior mean, say of a step-time model), c a common offset, z standardised predictions
with slopes b, φ the features (see `model.learning.features`), w·φ main effects, g a Matérn-5/2 process with one length
per parameter for what the parameters do together, ε the noise of a run. Everything but the lengths and scales is
integrated out too, roughly: predictions are the mixture of a few members spread over their posterior. One member at its
mode covers only three quarters of what it claims at t = 5 to 12, four cover nine tenths.

Notation: t observations, n configs to predict, d features, q parameters (groups of features), p slopes; θ = log of
(q lengths, scale of g, scale of w, noise), all on residuals y - p standardised to mean 0 and about unit variance.

Sources: Rasmussen and Williams 2006 (chapters 2, 5); mixture over θ after Rue, Martino and Chopin 2009 (INLA).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from model.learning.gp_kernel import moments
from model.prediction import Floats

LENGTH = (np.log(2.0), 0.8)
SCALE = (np.log(0.7), 0.7)
NOISE = (np.log(0.05), 1.0)
"""Log-normal priors (mean, sd of the log) of lengths, scales (standard deviations) and noise."""

SLOPE_SD = {True: 0.3, False: 1.0}
"""Prior sd of the slopes b, by whether the prior was validated; in y's unit (a log) per unit of z."""

MEMBERS = 4
"""How many θ are mixed; even."""

JITTER = 1e-8
_ROOT5 = np.sqrt(5.0)


@dataclass(frozen=True)
class _Data:
    """What a likelihood needs of the t observations: `apart` is `q x t x t` (squared distances per parameter)."""

    apart: Floats
    inner: Floats
    fixed: Floats
    target: Floats


@dataclass(frozen=True)
class _Member:
    """The process at one θ: Cholesky factor of its covariance `t x t`, weights K⁻¹y `t`, leave-one-out inflation."""

    theta: Floats
    factor: Floats
    weights: Floats
    inflation: float


@dataclass(frozen=True)
class GP:
    """A fitted process. Predictions are of the noise-free value; `noise_sd` is the sd of one run around it.

    `inflation` (>= 1) multiplies standard deviations: how much the leave-one-out residuals exceed what the process
    itself expected of them (mean over the members).
    """

    features: Floats
    z: Floats
    groups: npt.NDArray[np.int64]
    offset: float
    unit: float
    slope_variance: float
    members: tuple[_Member, ...]

    @property
    def noise_sd(self) -> float:
        """Standard deviation of one run around the noise-free value, in y's unit."""
        return self.unit * float(np.sqrt(np.mean([np.exp(2 * member.theta[-1]) for member in self.members])))

    @property
    def inflation(self) -> float:
        """κ, mean over the members."""
        return float(np.mean([member.inflation for member in self.members]))

    def predict(self, features: Floats, prior_mean: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation, both `n`, in y's unit.

        Args:
            features: `n x d`, encoded like those of the fit.
            prior_mean: p, `n`.
            z: `n x p`; no columns where there are no slopes.
        """
        means, variances = zip(*(self._at(member, features, z) for member in self.members), strict=True)
        mean: Floats = np.mean(means, axis=0)
        sd = np.sqrt(np.mean(variances, axis=0) + np.var(means, axis=0))
        return prior_mean + self.offset + self.unit * mean, self.unit * sd

    def _at(self, member: _Member, features: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of one member, both `n`, in standardised units."""
        scale, slope = np.exp(2 * member.theta[-3:-1])
        lengths, slopes = np.exp(-member.theta[self.groups]), (np.sqrt(slope), np.sqrt(self.slope_variance))
        mean, variance = moments(
            np.ascontiguousarray((features * lengths).T),
            self.features * lengths,
            np.ascontiguousarray(np.column_stack([features * slopes[0], z * slopes[1]]).T),
            np.column_stack([self.features * slopes[0], self.z * slopes[1]]),
            float(scale),
            np.ascontiguousarray(member.factor),
            member.weights,
        )
        return mean, member.inflation**2 * np.maximum(variance, JITTER)

    def sample(self, features: Floats, prior_mean: Floats, z: Floats, count: int, rng: np.random.Generator) -> Floats:
        """Joint draws of the noise-free values, `count x n`, in y's unit; n up to a few thousand (O(n³))."""
        apart, inner = _apart(features, features, self.groups), features @ features.T
        shared = 1.0 + self.slope_variance * (z @ z.T)
        draws = np.empty((count, len(features)))
        for i, member in enumerate(self.members):
            cross = self._cross(member.theta, features, z)
            spread = solve_triangular(member.factor, cross.T, lower=True, check_finite=False)
            covariance = _kernel(member.theta, apart, inner) + shared - spread.T @ spread
            # Configs that differ in nothing make it singular: a jitter far below any noise keeps the factor defined.
            covariance[np.diag_indices_from(covariance)] += 1e-6
            root = cholesky(covariance, lower=True, check_finite=False)
            # Every member gives every so-manieth draw: together they are the mixture.
            own = draws[i :: len(self.members)]
            own[:] = cross @ member.weights + member.inflation * rng.standard_normal(own.shape) @ root.T
        return prior_mean + self.offset + self.unit * draws

    def _cross(self, theta: Floats, features: Floats, z: Floats) -> Floats:
        """Covariance of new configs with the observations, `n x t`, in standardised units."""
        lengths = np.exp(-theta[self.groups])
        left, right = features * lengths, self.features * lengths
        squared = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
        scale, slope = np.exp(2 * theta[-3:-1])
        matern = _matern(np.maximum(squared, 0.0), float(scale))
        cross: Floats = matern + 1.0 + slope * (features @ self.features.T) + self.slope_variance * (z @ self.z.T)
        return cross


def _matern(squared: Floats, scale: float) -> Floats:
    distance = _ROOT5 * np.sqrt(squared)
    value: Floats = scale * (1 + distance + distance**2 / 3) * np.exp(-distance)
    return value


def _apart(left: Floats, right: Floats, groups: npt.NDArray[np.int64]) -> Floats:
    """Squared distances per parameter, `q x n x m`."""
    out = np.zeros((int(groups.max()) + 1, len(left), len(right)))
    for column, group in enumerate(groups):
        out[group] += (left[:, column][:, None] - right[:, column]) ** 2
    return out


def _kernel(theta: Floats, apart: Floats, inner: Floats) -> Floats:
    """Covariance of w·φ + g(φ), `n x m`."""
    q = len(apart)
    squared = np.tensordot(np.exp(-2 * theta[:q]), apart, axes=1)
    value: Floats = _matern(squared, float(np.exp(2 * theta[q]))) + np.exp(2 * theta[q + 1]) * inner
    return value


def _theta_prior(q: int) -> tuple[Floats, Floats]:
    stack = np.array([LENGTH] * q + [SCALE, SCALE, NOISE])
    return stack[:, 0], stack[:, 1]


def _loss(theta: Floats, data: _Data) -> tuple[float, Floats]:
    """Negative log posterior of θ, and its gradient, `q + 3` (Rasmussen and Williams 2006, eq. 5.9)."""
    q, t = len(data.apart), len(data.target)
    lengths, (scale, slope, noise) = np.exp(-2 * theta[:q]), np.exp(2 * theta[q:])
    scaled = data.apart * lengths[:, None, None]
    distance = _ROOT5 * np.sqrt(scaled.sum(axis=0))
    decay = scale * np.exp(-distance)
    matern = (1 + distance + distance**2 / 3) * decay
    covariance = matern + slope * data.inner + data.fixed
    covariance[np.diag_indices(t)] += noise + JITTER
    factor = cholesky(covariance, lower=True, check_finite=False)
    weights = cho_solve((factor, True), data.target, check_finite=False)
    change = cho_solve((factor, True), np.eye(t), check_finite=False) - np.outer(weights, weights)
    by_length = np.tensordot(scaled, change * (5 / 3 * (1 + distance) * decay), axes=2)
    gradient = np.concatenate(
        [
            0.5 * by_length,
            [(change * matern).sum(), slope * (change * data.inner).sum(), noise * np.trace(change)],
        ]
    )
    mean, sd = _theta_prior(q)
    standard = (theta - mean) / sd
    value = 0.5 * data.target @ weights + np.log(np.diag(factor)).sum() + 0.5 * standard @ standard
    return float(value), gradient + standard / sd


def fit(
    features: Floats,
    y: Floats,
    prior_mean: Floats,
    z: Floats,
    validated: bool = False,
    groups: npt.NDArray[np.int64] | None = None,
    spread: float = 0.3,
) -> GP:
    """Fit to t observations; with none, the process is what its priors say.

    Args:
        features: `t x d`.
        y: observed values, `t`, finite; a log where effects multiply.
        prior_mean: p, `t`; zeros where nothing was believed.
        z: standardised predictions with a slope each, `t x p`; `t x 0` for none.
        validated: the prior was checked against related measurements: its slopes stay near 1.
        groups: which parameter each feature belongs to, `d` (see `model.learning.features.column_groups`); None: each
            its own.
        spread: expected sd of y - p, in y's unit; counts as one observation of it.

    Raises:
        ValueError: shapes disagree, or a value is not finite.
    """
    _check(features, y, prior_mean, z)
    t, d = features.shape
    groups = np.arange(d) if groups is None else groups
    residual = y - prior_mean
    offset = float(residual.mean()) if t else 0.0
    unit = float(np.sqrt((((residual - offset) ** 2).sum() + spread**2) / max(t, 1)))
    slope_variance = (SLOPE_SD[validated] / unit) ** 2
    fixed = 1.0 + slope_variance * (z @ z.T)
    data = _Data(_apart(features, features, groups), features @ features.T, fixed, (residual - offset) / unit)
    around = tuple(_member(theta, data) for theta in _spread(_mode(data), data))
    return GP(features, z, groups, offset, unit, slope_variance, around)


def _check(features: Floats, y: Floats, prior_mean: Floats, z: Floats) -> None:
    t = len(features)
    if y.shape != (t,) or prior_mean.shape != (t,) or len(z) != t:
        raise ValueError(f"y, prior_mean and z need {t} rows, not {y.shape}, {prior_mean.shape} and {z.shape}")
    if not (np.isfinite(y).all() and np.isfinite(prior_mean).all() and np.isfinite(features).all()):
        raise ValueError("a Gaussian process needs finite features, values and prior means")


def _member(theta: Floats, data: _Data) -> _Member:
    covariance = _kernel(theta, data.apart, data.inner) + data.fixed
    covariance[np.diag_indices_from(covariance)] += np.exp(2 * theta[-1]) + JITTER
    factor = cholesky(covariance, lower=True, check_finite=False)
    weights = cho_solve((factor, True), data.target, check_finite=False)
    return _Member(theta, factor, weights, _inflation(factor, weights))


def _spread(mode: Floats, data: _Data) -> list[Floats]:
    """Equally likely θ around the mode: antithetic pairs at the typical distance of its normal approximation.

    The curvature there comes from differences of the gradient. Random directions, always the same ones, stand in for
    the whole sphere: two pairs cover as well as eight independent draws.
    """
    if len(data.target) < 2:
        return [mode]
    size, step = len(mode), 1e-4
    level = _loss(mode, data)[1]
    slopes = [(_loss(mode + step * axis, data)[1] - level) / step for axis in np.eye(size)]
    curvature, axes = np.linalg.eigh((np.array(slopes) + np.transpose(slopes)) / 2)
    # No direction is wider than the prior leaves it, also where the mode lies on a bound.
    widths = 1 / np.sqrt(np.maximum(curvature, 1 / _theta_prior(len(data.apart))[1].max() ** 2))
    directions = np.random.default_rng(0).standard_normal((MEMBERS // 2, size))
    steps = np.sqrt(size) * directions / np.linalg.norm(directions, axis=1)[:, None] * widths @ axes.T
    return [mode + sign * step for step in steps for sign in (1, -1)]


def _mode(data: _Data) -> Floats:
    """Most probable θ, from the prior's mode downhill; the prior keeps it well defined for any t."""
    mean, sd = _theta_prior(len(data.apart))
    if len(data.target) < 2:
        return mean
    bounds = list(zip(mean - 4 * sd, mean + 4 * sd, strict=True))
    found = minimize(_loss, mean, args=(data,), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
    theta: Floats = found.x
    return theta


def _inflation(factor: Floats, weights: Floats) -> float:
    """κ = √((Σ z² + 3)/(t + 3)) within 1..3, z the standardised leave-one-out residuals (R and W 2006, eq. 5.12)."""
    t = len(weights)
    precision = np.diag(cho_solve((factor, True), np.eye(t), check_finite=False))
    squares = float((weights**2 / precision).sum()) if t else 0.0
    return float(np.clip(np.sqrt((squares + 3) / (t + 3)), 1.0, 3.0))
