"""Arguments of kernels as arrays of one length."""

from __future__ import annotations

import numpy as np

from model.prediction import Floats
from model.tables.kernels import Numbers


def arrays(*values: Numbers) -> list[Floats]:
    """All of one length, as contiguous numbers."""
    found = np.broadcast_arrays(*(np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in values))
    return [np.ascontiguousarray(array) for array in found]


def if_one(values: Floats) -> Numbers:
    """A single number where all are the same."""
    first = float(values.flat[0])
    return first if (values == first).all() else values
