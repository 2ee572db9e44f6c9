"""The compiled part of `model.learning.trees`. Importing this module imports numba."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.compiled import njit
from model.prediction import Floats

Ints32 = npt.NDArray[np.int32]
Floats32 = npt.NDArray[np.float32]


@njit(cache=True, nogil=True)
def add_up(rows: Floats32, roots: Ints32, feature: Ints32, threshold: Floats32, left: Ints32) -> Floats:
    """Sum of the leaves that each row falls into, `n`. Rows are the outer loop: a row stays in cache over all trees."""
    total = np.zeros(rows.shape[0])
    for i in range(rows.shape[0]):
        answer = 0.0
        for root in roots:
            node = root
            while left[node] >= 0:
                # the right child stands beside the left one: no branch to mispredict
                node = left[node] + np.int32(rows[i, feature[node]] >= threshold[node])
            answer += threshold[node]
        total[i] = answer
    return total
