"""DuckDB's masked columns as plain numpy arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def as_arrays(found: Mapping[str, Any], numbers: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    """Columns as float64 with NaN where named in `numbers`, else as objects with None; all of one length."""
    return {name: _numbers(column) if name in numbers else _objects(column) for name, column in found.items()}


def _numbers(column: Any) -> npt.NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)


def _objects(column: Any) -> npt.NDArray[Any]:
    objects = np.array(np.ma.getdata(column), dtype=object)
    objects[np.ma.getmaskarray(column)] = None
    return objects
