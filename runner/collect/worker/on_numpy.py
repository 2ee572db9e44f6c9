"""NumPy's products on this CPU, in single precision: what there is without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

_MOST_COPIES = 128

Run = Callable[[int], float]


def open_library(
    device: str, _threads: int, cold_bytes: int, clock: Callable[[Sequence[Callable[[], object]]], Run]
) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], tuple[str, Run]]]:
    """What NumPy is here, and how a case becomes the kernel's name and what times it.

    Raises:
        ImportError: there is no NumPy. RuntimeError: the device is no CPU.
    """
    if device != "cpu":
        raise RuntimeError("numpy computes on CPUs only; expected --library torch for other devices")
    numpy: Any = import_module("numpy")
    blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    about = {
        "version": numpy.__version__,
        "build": f"{blas['name']} {blas['version']}",
        "formats": {"gemm": ["fp32"]},
        "usual": ["fp32"],
        "how": "Products are those of a linear layer (weights n×k), by numpy.dot.",
    }

    def prepare(case: Mapping[str, Any]) -> tuple[str, Run]:
        m, n, k = case["m"], case["n"], case["k"]
        copies = 1 + min(cold_bytes // (4 * n * k), _MOST_COPIES)
        left, out = numpy.ones((m, k), numpy.float32), numpy.empty((m, n), numpy.float32)
        weights = [numpy.full((n, k), 0.5, numpy.float32) for _ in range(copies)]
        return "dot", clock([partial(numpy.dot, left, right.T, out=out) for right in weights])

    return about, prepare
