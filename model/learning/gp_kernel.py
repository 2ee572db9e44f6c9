"""The hot loop of a Gaussian process's prediction, compiled: one thread, whatever else the machine is doing.

The same in numpy spends its time in small threaded matrix products, which on a busy machine take a hundred times as
long as on an idle one.
"""

from __future__ import annotations

import math

import numpy as np

from model.compiled import njit
from model.prediction import Floats

BLOCK = 256


@njit("void(f8[:,::1], f8[:,::1], f8[:,::1], f8)", cache=True, fastmath=True)
def _covariance(new: Floats, seen: Floats, out: Floats, scale: float) -> None:
    """Add scale · Matérn-5/2 of a block's distances, `d x b`, from the observations, `t x d`, to `out`, `t x b`."""
    d, b = new.shape
    squared = np.empty(b)
    for j in range(seen.shape[0]):
        squared[:] = 0.0
        for c in range(d):
            at = seen[j, c]
            for i in range(b):
                squared[i] += (new[c, i] - at) ** 2
        for i in range(b):
            r = math.sqrt(5.0 * squared[i])
            out[j, i] += scale * (1.0 + r + r * r / 3.0) * math.exp(-r)


@njit("void(f8[:,::1], f8[:,::1], f8[:,::1], f8[::1])", cache=True, fastmath=True)
def _linear(new: Floats, seen: Floats, out: Floats, norm: Floats) -> None:
    """Set `out`, `t x b`, to 1 + inner products of a block, `d x b`, with `t x d`; add squared lengths to `norm`."""
    d, b = new.shape
    for c in range(d):
        for i in range(b):
            norm[i] += new[c, i] ** 2
    out[:] = 1.0
    for j in range(seen.shape[0]):
        for c in range(d):
            at = seen[j, c]
            for i in range(b):
                out[j, i] += new[c, i] * at


@njit("void(f8[:,::1], f8[:,::1], f8[::1])", cache=True, fastmath=True)
def _explained(cross: Floats, factor: Floats, variance: Floats) -> None:
    """Subtract the squared columns of L⁻¹ · cross (`t x b`, overwritten) from `variance`, `b`."""
    t, b = cross.shape
    for j in range(t):
        for m in range(j):
            share = factor[j, m]
            for i in range(b):
                cross[j, i] -= share * cross[m, i]
        for i in range(b):
            cross[j, i] /= factor[j, j]
            variance[i] -= cross[j, i] ** 2


@njit("UniTuple(f8[::1], 2)(f8[:,::1], f8[:,::1], f8[:,::1], f8[:,::1], f8, f8[:,::1], f8[::1])", cache=True)
def moments(
    scaled: Floats,
    scaled_seen: Floats,
    linear: Floats,
    linear_seen: Floats,
    scale: float,
    factor: Floats,
    weights: Floats,
) -> tuple[Floats, Floats]:
    """Posterior mean and variance, both `n`, of a process with covariance 1 + l·l' + scale · Matérn-5/2(|s - s'|).

    Args:
        scaled: features over their lengths s, columns of the new configs, `d x n`.
        scaled_seen: the same of the observations, `t x d`.
        linear: features times the root of their slope variance l, `e x n`.
        linear_seen: the same of the observations, `t x e`.
        scale: variance of the Matérn part.
        factor: lower Cholesky factor L of the observations' covariance, `t x t`.
        weights: K⁻¹y, `t`.
    """
    n, t = scaled.shape[1], len(weights)
    mean, variance = np.zeros(n), np.full(n, 1.0 + scale)
    for start in range(0, n, BLOCK):
        end = min(n, start + BLOCK)
        cross = np.empty((t, end - start))
        _linear(np.ascontiguousarray(linear[:, start:end]), linear_seen, cross, variance[start:end])
        _covariance(np.ascontiguousarray(scaled[:, start:end]), scaled_seen, cross, scale)
        for j in range(t):
            for i in range(end - start):
                mean[start + i] += weights[j] * cross[j, i]
        _explained(cross, factor, variance[start:end])
    return mean, variance
