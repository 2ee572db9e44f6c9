"""Standard deviations that hold what they promise: calibrated on predictions of groups that the fit had not seen.

Source: split conformal prediction by group, Dunn, Wasserman, Ramdas 2023 (arXiv 1809.07441).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from model.prediction import Z90, Floats

Ints = npt.NDArray[np.int64]


def folds(labels: Ints, count: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Masks of at most `count` folds, each `n`; rows of one label are always in one fold. Deterministic.

    Labels are dealt out largest first, each to the fold that is smallest by then.
    """
    names, sizes = np.unique(labels, return_counts=True)
    held: dict[int, int] = {}
    filled = np.zeros(min(count, len(names)))
    for place in np.lexsort((names, -sizes)):
        fold = int(np.argmin(filled))
        held[int(names[place])] = fold
        filled[fold] += sizes[place]
    fold_of = np.array([held[int(label)] for label in labels], np.int64)
    for fold in range(len(filled)):
        yield fold_of == fold


def balanced_weights(labels: Ints) -> Floats:
    """Row weights, `n`, mean 1: a label weighs as the square root of its rows: large ones drown no small one."""
    _, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    weights = 1.0 / np.sqrt(sizes[place])
    normal: Floats = weights / weights.mean()
    return normal


def conformal_sd(errors: Floats, labels: Ints) -> float:
    """sd of a normal whose central 90 % is the interval that holds 90 % of held-out `errors` (`n`, log units).

    Rows are weighted so that each label counts alike; with G labels the quantile asked for is 0.9·(1 + 1/G), at most 1.
    """
    _, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    weights = 1.0 / sizes[place]
    order = np.argsort(np.abs(errors))
    reached = np.cumsum(weights[order]) / weights.sum()
    wanted = min(0.9 * (1.0 + 1.0 / len(sizes)), 1.0)
    row = min(int(np.searchsorted(reached, wanted - 1e-12)), len(errors) - 1)
    return float(np.abs(errors[order[row]]) / Z90)
