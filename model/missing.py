"""What a column of mixed values says where it says nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt


def is_missing(value: object) -> bool:
    """Whether a value is None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def missing_in(column: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which values of a column are missing, `n`; only a column of objects is looked at one by one."""
    if column.dtype == object:
        return np.array([is_missing(value) for value in column.tolist()], bool)
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), bool)
