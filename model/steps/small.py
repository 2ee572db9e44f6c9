"""Small kernels between the large ones, which no table measures: conventions of what they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.prediction import Floats

SEND_S = 10e-6
"""What handing something to the next group of layers takes beside its bytes."""
_BYTES: Mapping[str, float] = {"norm": 8.0, "embedding": 2.0, "sampling": 4.0}
"""Bytes per number of a row: a norm reads and writes a value and its residual in 16 bits, an embedding writes a row of
16 bits, a sampler reads logits of 32."""


@dataclass(frozen=True, slots=True)
class SmallKernels:
    """One takes `launch_s` and its bytes at `share` of the bandwidth; each attention of prompts `attention_s` more."""

    launch_s: float
    share: float
    attention_s: float


OURS = SmallKernels(1.5e-6, 0.8, 0.0)
"""Launched within a captured graph, where 1 to 2 µs pass between one kernel's start and the next one's."""
AICONFIGURATOR = SmallKernels(3e-6, 0.8, 13.2e-6)
"""That tool's convention (0.12.0, read off its answers): 4.4 more of them with each attention of prompts."""
PROFILES = {"ours": OURS, "aiconfigurator": AICONFIGURATOR}


def small_bytes(op: str, rows: Floats, width: Floats) -> Floats:
    """Bytes that a "norm" or "embedding" moves (`rows` tokens of `width` numbers), or "sampling" (of logits)."""
    return rows * width * _BYTES[op]


def p2p_s(size: Floats, link: float) -> Floats:
    """Seconds that `size` bytes take from a device to its peer over a `link` of so many bytes per second."""
    return SEND_S + size / link
