"""Condition predictions on what was measured in the same scenario: one Gaussian process per metric (see
`model.learning.gp`)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model.learning.features import column_groups, encode
from model.learning.scenario import ScenarioRows
from model.prediction import Bools, Estimate, Floats
from model.question import Question
from perfdb.facts.engines import EngineFacts
from perfdb.records import Grid

if TYPE_CHECKING:
    from model.learning.gp import GP

NOISE_SD = 0.04
"""sd of the log of one run around its mean where there are no repeats: 3 % on a quiet machine (measured), and a bit."""
_DOUBLING_SD = 0.1
"""Doubt of the log for each doubling between an asked load and the nearest that was measured."""
_BETWEEN = 0.4
"""Share of that doubt where the very config was measured at a load above and at one below: on 150 public ladders of
loads with an inner one left out, intervals of the whole doubt held in 97 % (first tokens) to 100 % of them."""


@dataclass(frozen=True)
class Encoded:
    """φ of the n asked configs and t measured rows, load included; `same` is `n x t`: asked is what was measured.
    `beyond`, `n`: doublings or halvings from the nearest load that was measured to an asked one outside of these; φ is
    that of the nearest. `between`, `n`: the very config was measured at a load above and at one below."""

    asked: Floats
    rows: Floats
    groups: npt.NDArray[np.int64]
    same: Bools
    beyond: Floats
    between: Bools


def encode_both(question: Question, rows: ScenarioRows, engine: EngineFacts, amount: Floats) -> Encoded:
    """Encode the question's grid and the measured rows on one scale; `amount` is the asked load, `n`."""
    n = len(question.grid)
    features = encode(_joined(question.grid, rows.grid, (n, len(rows.rows)), engine.defaults()))
    groups = column_groups(features)
    loads = np.log2(np.concatenate([amount, rows.load.amount]))
    alike, above = _equal(features, n), loads[None, n:] >= loads[:n, None]
    below = loads[None, n:] <= loads[:n, None]
    between = (alike & above).any(axis=1) & (alike & below).any(axis=1)
    least, most = loads[n:].min(), loads[n:].max()
    held = np.clip(loads, least, most)
    if most > least:
        features = np.column_stack([features, (held - least) / max(most - least, 1.0)])
        groups = np.append(groups, groups.max() + 1)
    beyond = np.abs(loads - held)[:n]
    return Encoded(features[:n], features[n:], groups, alike & above & below, beyond, between)


def _equal(features: Floats, n: int) -> Bools:
    same: Bools = np.ones((n, len(features) - n), bool)
    for column in features.T:
        same &= column[:n, None] == column[None, n:]
    return same


def _joined(asked: Grid, rows: Grid, sizes: tuple[int, int], defaults: dict[str, Any]) -> Grid:
    """Both grids, one below the other; what one of them does not name has the engine's default there."""
    names = dict.fromkeys([*asked.columns, *rows.columns])
    pairs = {name: (asked.columns.get(name), rows.columns.get(name)) for name in names}
    return Grid({name: _column(pair, sizes, defaults.get(name)) for name, pair in pairs.items()}, sum(sizes))


def _column(
    pair: tuple[npt.NDArray[Any] | None, npt.NDArray[Any] | None], sizes: tuple[int, int], default: Any
) -> npt.NDArray[Any]:
    parts = [_filled(column, default, n) for column, n in zip(pair, sizes, strict=True)]
    if all(part.dtype.kind in "iuf" for part in parts) or all(part.dtype == bool for part in parts):
        return np.concatenate(parts)
    return np.concatenate([part.astype(object) for part in parts])


def _filled(column: npt.NDArray[Any] | None, default: Any, n: int) -> npt.NDArray[Any]:
    if column is None:
        return np.full(n, default, None if isinstance(default, bool | int | float) else object)
    if column.dtype != object or default is None:
        return column
    return np.array([default if value is None else value for value in column.tolist()], object)


def condition(
    prior: Estimate, rows_prior: Estimate, measured: Floats, encoded: Encoded, validated: bool
) -> tuple[Estimate, Bools]:
    """The estimate of one metric given t measured values, and which of the n rows were measured themselves.

    Args:
        prior: before these rows, `n`.
        rows_prior: the same for the measured rows, `t`.
        measured: native values, `t`, NaN where absent.
        encoded: configs as numbers.
        validated: whether the prior was checked on related contexts.
    """
    known = np.isfinite(measured)
    if not known.any():
        return prior, np.zeros(len(prior.log_mean), bool)
    values = np.log(measured[known])
    means = np.concatenate([prior.log_mean, rows_prior.log_mean[known]])
    z = ((means - means.mean()) / (means.std() or 1.0))[:, None]
    n = len(prior.log_mean)
    spread = float(rows_prior.log_sd[known].mean())
    process = _fitted(encoded.rows[known], values, means[n:], z[n:], encoded.groups, spread, validated)
    # a trend along the load is not carried on: it has no end, and nothing measured says how far it goes
    there = np.where((encoded.beyond > 0)[:, None], np.clip(z[:n], z[n:].min(), z[n:].max()), z[:n])
    mean, sd = process.predict(encoded.asked, means[:n], there)
    sd = np.hypot(sd, _DOUBLING_SD * encoded.beyond)
    # A process over few rows trusts its slopes too much: on 236 public scenarios with one row left out (3 to 5 kept)
    # 72 % of its 90 % intervals held, with this share of the prior's doubt 91 %.
    trusted = np.where(encoded.between, _BETWEEN, 1.0) / np.sqrt(known.sum())
    doubt = np.hypot(np.where(encoded.between, np.minimum(sd, trusted * prior.log_sd), sd), trusted * prior.log_sd)
    sd = np.hypot(np.minimum(doubt, prior.log_sd), process.noise_sd)
    return _measured_rows(mean, sd, encoded.same[:, known], values)


def as_measured(prior: Estimate, measured: Floats, encoded: Encoded) -> tuple[Estimate, Bools]:
    """The prior, but for rows that were measured themselves, and which those are; arguments as of `condition`."""
    known = np.isfinite(measured)
    return _measured_rows(prior.log_mean, prior.log_sd, encoded.same[:, known], np.log(measured[known]))


def _measured_rows(mean: Floats, sd: Floats, same: Bools, values: Floats) -> tuple[Estimate, Bools]:
    """Where a config was measured itself, its mean and the noise of a run, pooled over all repeats."""
    count = same.sum(axis=1)
    is_measured = count > 0
    if not is_measured.any():
        return Estimate(mean, sd), is_measured
    own = (same @ values) / np.maximum(count, 1)
    noise = _noise(same[is_measured], values)
    return Estimate(np.where(is_measured, own, mean), np.where(is_measured, noise, sd)), is_measured


def _noise(same: Bools, values: Floats) -> float:
    """sd of one run from repeats of equal configs, drawn to `NOISE_SD` (three pseudo-observations)."""
    distinct = np.unique(same, axis=0)
    squares = sum(float(((values[row] - values[row].mean()) ** 2).sum()) for row in distinct)
    freedom = int(distinct.sum()) - len(distinct)
    return float(np.sqrt((squares + 3 * NOISE_SD**2) / (freedom + 3)))


_FITTED: OrderedDict[str, GP] = OrderedDict()
_MOST_FITTED = 256


def _fitted(
    features: Floats, y: Floats, mean: Floats, z: Floats, groups: npt.NDArray[np.int64], spread: float, validated: bool
) -> GP:
    """`model.learning.gp.fit`, remembered by content: the same question asked again costs no second fit."""
    from model.learning.gp import fit

    parts = (features, y, mean, z, groups, np.array([spread, validated]))
    key = hashlib.sha256(b"|".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
    if key not in _FITTED:
        _FITTED[key] = fit(features, y, mean, z, validated=validated, groups=groups, spread=spread)
        if len(_FITTED) > _MOST_FITTED:
            _FITTED.popitem(last=False)
    return _FITTED[key]
