"""One config as several servers that share the devices and the load: what one of them does, times as many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from model.load import Load
from model.prediction import Floats, GridPrediction

Ints = npt.NDArray[np.int64]
_RATES = ("output_tps", "request_tps", "total_tps")


def share_of_one(load: Load, replicas: Ints, efficiency: float = 1.0) -> tuple[Load, Floats]:
    """The load of one of so many `replicas`, and how many times as much as it all of them serve; both `n`.

    As `model.disagg.units` shares it: for requests from outside, replicas that serve less are as if more came to them.
    """
    count = np.maximum(replicas, 1)
    each = np.where(count > 1, efficiency, 1.0)
    at_work = np.where(load.is_open, count, np.minimum(count, load.amount))
    amount = load.amount / np.where(load.is_open, at_work * each, at_work)
    return replace(load, amount=amount, requests=load.requests / at_work), at_work * each


def of_all(answer: GridPrediction, worth: Floats, replicas: Ints) -> GridPrediction:
    """The prediction of one of so many replicas as that of all, which serve `worth` times as much; both `n`."""
    each = worth / np.maximum(replicas, 1)
    factors = {**dict.fromkeys(_RATES, worth), "output_tps_per_gpu": each, "cost_per_mtok": 1.0 / each}
    metrics = {
        name: found.times(np.log(factors[name])) if name in factors else found for name, found in answer.metrics.items()
    }
    return replace(answer, metrics=metrics)
