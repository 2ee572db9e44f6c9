"""Inner kernels as a test calls them."""

from __future__ import annotations

from typing import Any

import numba


def called(kernel: Any) -> Any:
    """A kernel that only kernels call, compiled with what Python needs to call it."""
    return numba.njit(kernel.py_func)
