"""What real runs tell of an engine's overheads: the seconds that its kernels leave of measured steps and first tokens.

    measured TPOT − kernels per output token = c_step + c_seq · sequences of a step
    measured TTFT − steps until the first token = c_request

The engine's published overheads are the prior; what all its runs tell is the prior of one version's, and that the prior
of the version's on one platform. Runs weigh by their relative errors, those far off less (Cauchy weights), and runs of
one group share an error: however many they are, they do not outvote the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from model.learning.history import Columns, Training, column
from model.prediction import Bools, Floats
from model.steps.overheads import Overheads, overheads

_STEP_SD, _SEQUENCE_SD, _REQUEST_SD = 8.0, 2.0, 1.0
"""sds of the priors, in priors: published fits of one engine to several GPUs lie so far apart (1 ms, 9 µs, 16 ms)."""
_NARROWER = 0.5
"""sd of a version about its engine, and of a platform about its version, in sds of the prior."""
_TPOT_ERROR, _TTFT_ERROR = 0.15, 0.3
"""Relative errors of steps made of measured kernels, as large again for each group of runs: what they leave on runs
that nothing was fitted to (medians of both together: 14 and 39 %)."""
_UNMEASURED = 2.0
"""How many times as far off steps are whose kernels nobody measured on the platform."""
_FAR, _ROUNDS = 2.0, 8
_LEAST = 0.25
"""No overhead is less than this share of its prior: waits and kernels that are thought too long would leave nothing."""
_DIGITS = 3
_LEVELS = 3
"""Engine, version, platform."""


@dataclass(frozen=True)
class FittedOverheads:
    """Overheads, and how many runs of how many groups (model × platform × number format) they are fitted to; `here`
    are those on the same platform that count for most, and `own` these where they are of the same version, too."""

    overheads: Overheads
    runs: int
    groups: int
    here: int
    own: int


@dataclass(frozen=True)
class _Left:
    """Seconds that m runs leave to `causes` (`m x c`), each with an error of its own, and one as large of its group."""

    seconds: Floats
    causes: Floats
    error: Floats
    group: npt.NDArray[np.int64]

    def taking(self, rows: Bools) -> _Left:
        """Some of the runs, those that can be used."""
        rows = rows & np.isfinite(self.seconds) & np.isfinite(self.causes).all(axis=1)
        return _Left(self.seconds[rows], self.causes[rows], self.error[rows], self.group[rows])

    def fit(self, prior: Floats, sd: Floats, least: Floats) -> Floats:
        """Seconds per unit of each cause, `c`, none below `least`: the most likely under a Gaussian prior."""
        place, count = np.unique(self.group, return_inverse=True, return_counts=True)[1:]
        sure = 1.0 / (self.error**2 * (1.0 + count[place]))
        found, trust = prior, np.ones(len(sure))
        for _ in range(_ROUNDS):
            found = _most_likely(self, trust * sure, prior, sd, least)
            trust = 1.0 / (1.0 + ((self.seconds - self.causes @ found) / (_FAR * self.error)) ** 2)
        return found


def fitted_overheads(
    history: Columns, taught: Training, engine: str, version: str | None, on: str
) -> FittedOverheads | None:
    """The overheads of an engine's `version` on platform `on`, from the rows of `history` that `taught` could use.

    None where none is of the engine: its published overheads are the best guess then. Of a version or platform without
    runs others of the engine tell.
    """
    levels = _levels(history, taught, engine, version, on)
    if not levels[0].any():
        return None
    prior = overheads(engine)
    one, step = np.ones(len(taught.rows)), np.array([prior.step_s, prior.sequence_s])
    steps = _left(taught, "tpot_s", np.stack([one, taught.sequences], axis=1), step, _TPOT_ERROR)
    step_s, sequence_s = _narrowed(steps, levels, step, step * [_STEP_SD, _SEQUENCE_SD])
    request = np.array([prior.request_s])
    waits = _left(taught, "ttft_s", one[:, None], request, _TTFT_ERROR)
    (request_s,) = _narrowed(waits, levels, request, request * _REQUEST_SD)
    found = replace(prior, step_s=step_s, sequence_s=sequence_s, request_s=request_s)
    is_here = np.array([place == on for _, place, _, _ in taught.groups], bool)[taught.group]
    here = int((levels[-1] & is_here).sum())
    groups = len(np.unique(taught.group[levels[0]]))
    return FittedOverheads(found, int(levels[0].sum()), groups, here, here if len(levels) == _LEVELS else 0)


def _levels(history: Columns, taught: Training, engine: str, version: str | None, on: str) -> list[Bools]:
    """Which of m rows tell of the engine, which of these of the version, and of these (or of the engine's, where none
    does) of the platform. A version None is none in particular."""
    tells = np.isfinite(taught.residual["tpot_s"]) | np.isfinite(taught.residual["ttft_s"])
    versions = column(history, "engine_version", int(taught.rows.max(initial=-1)) + 1)[taught.rows]
    own = np.array([(served_by == engine, place == on) for _, place, served_by, _ in taught.groups], bool)
    of_engine, of_platform = own.reshape(-1, 2)[taught.group].T
    levels = [of_engine & tells]
    of_version = np.array([version is not None and told == version for told in versions.tolist()], bool)
    for narrower in (of_version, of_platform):
        if (levels[-1] & narrower).any():
            levels.append(levels[-1] & narrower)
    return levels


def _left(taught: Training, metric: str, causes: Floats, prior: Floats, error: float) -> _Left:
    """What the analytic answers, made with the prior overheads, leave to the causes that these stand for."""
    analytic = taught.analytic[metric]
    measured = analytic * np.exp(taught.residual[metric])
    # a run that is told to be far too fast is as wrong as what it is compared with
    error_s = error * np.where(taught.of_tables, 1.0, _UNMEASURED) * np.maximum(measured, analytic)
    return _Left(measured - analytic + causes @ prior, causes, error_s, taught.group)


def _narrowed(left: _Left, levels: list[Bools], prior: Floats, sd: Floats) -> list[float]:
    least = _LEAST * prior
    found = left.taking(levels[0]).fit(prior, sd, least)
    for rows in levels[1:]:
        found = left.taking(rows).fit(found, sd * _NARROWER, least)
    # of so many digits that a rounding error makes no other steps
    return [float(f"{value:.{_DIGITS}g}") for value in found.tolist()]


def _most_likely(left: _Left, sure: Floats, prior: Floats, sd: Floats, least: Floats) -> Floats:
    """Least squares weighted by `sure` (1/variance, `m`) and held to the prior; what would be less is `least`."""
    found, free = least.copy(), np.ones(len(prior), bool)
    while free.any():
        part, rest = left.causes[:, free], left.seconds - left.causes[:, ~free] @ least[~free]
        precision = (part * sure[:, None]).T @ part + np.diag(sd[free] ** -2.0)
        found[free] = np.linalg.solve(precision, part.T @ (sure * rest) + prior[free] * sd[free] ** -2.0)
        too_small = free & (found < least)
        if not too_small.any():
            return found
        found[too_small], free = least[too_small], free & ~too_small
    return found
