"""Small kernels between the large ones, which no table measures: conventions of what they take."""

from __future__ import annotations

from dataclasses import dataclass


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
