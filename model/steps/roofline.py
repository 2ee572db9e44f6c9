"""Roofline time of one operation: the longer of its arithmetic and its memory traffic, each at an achievable rate.

Source: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.prediction import Floats

SLOWEST_LINK = 16e9
"""Bytes per second of PCIe 3.0 x16: for devices that are joined by something that no source describes."""


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Which share of a peak is reached, by kind of operation, and the latency of one message between devices (s)."""

    gemm_flops: float
    attention_flops: float
    gemm_bytes: float
    attention_bytes: float
    link_bytes: float
    link_latency_s: float


GPU = Efficiency(0.75, 0.50, 0.88, 0.80, 0.70, 10e-6)
"""What well-tuned kernels reach on large shapes; the learned residual corrects it for each platform and engine."""

CPU = Efficiency(0.15, 0.05, 0.60, 0.40, 0.50, 20e-6)
"""The same for CPU kernels on block-quantised weights, where unpacking costs most of the vector units' time."""


def roofline_s(flops: Floats, rate: Floats, data: Floats, bandwidth: Floats) -> tuple[Floats, Floats]:
    """Seconds for `flops` at `rate` (FLOP/s) and `data` (bytes) at `bandwidth` (bytes/s): (time, share computing).

    The second answer is 1 where arithmetic is the longer, else 0. All arrays are `n`.
    """
    compute, memory = flops / rate, data / bandwidth
    return np.maximum(compute, memory), (compute >= memory).astype(np.float64)
