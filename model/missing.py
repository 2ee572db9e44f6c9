"""What a column of mixed values says where it says nothing."""

from __future__ import annotations

import math


def is_missing(value: object) -> bool:
    """Whether a value is None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))
