"""What a compiled simulator keeps: arrays of records, each of which takes as long to compile as one array, not as an
array per field."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[np.void]
Record = Any
"""One of them, whose fields compiled code reads and writes as attributes."""


def of_ints(*names: str) -> np.dtype[np.void]:
    """A record of whole numbers."""
    return np.dtype([(name, np.int64) for name in names])


def of_floats(*names: str) -> np.dtype[np.void]:
    """A record of real numbers."""
    return np.dtype([(name, np.float64) for name in names])
