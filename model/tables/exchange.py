"""Kernels that bring tokens to the devices of their experts and the results back, where an engine has such kernels.

Engines without them gather all tokens on all devices and sum the results up (see `model.tables.kernels.MESSAGES`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.prediction import Floats
from model.tables.kernels import Kernel, Numbers, Rates, plain

NVLINK, DEEPEP = "nvlink", "deepep"
"""Ways to exchange tokens: over an NVLink domain of several hosts (TensorRT-LLM), and DeepEP."""
LOW_LATENCY_TOKENS = 256
"""Most tokens of a device that DeepEP's low-latency kernels take (SGLang's and vLLM's default is 128 to 256)."""
_HALF_BYTES = 2.0


def exchange_kernel(op: str, way: str, is_low_latency: bool) -> Kernel:
    """The kernel of `moe_dispatch` or `moe_combine` in one of the ways."""
    return _KERNELS[op, way if way == NVLINK else "deepep_ll" if is_low_latency else "deepep_ht"]


def _dispatch(rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats]) -> Floats:
    return _moved(rates, keys, arguments, rates.activation)


def _combine(rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats]) -> Floats:
    return _moved(rates, keys, arguments, _HALF_BYTES)


def _moved(rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats], width: float) -> Floats:
    """A token goes once to each of the other devices that one of its experts is on."""
    hidden, topk, _, devices = (np.asarray(key, np.float64) for key in keys)
    (tokens,) = arguments
    reached = (devices - 1.0) * (1.0 - (1.0 - 1.0 / devices) ** topk)
    return np.asarray(rates.launch_s + tokens * hidden * width * reached / rates.link)


_KEYS = ("hidden", "topk", "experts", "expert_devices")
_MADE_BY = {NVLINK: "NVLinkTwoSided", "deepep_ll": "deepep_ll", "deepep_ht": "deepep_ht"}
_KERNELS = {
    (op, way): Kernel(op, _KEYS, ("tokens",), formula, plain, made_by)
    for op, formula in (("moe_dispatch", _dispatch), ("moe_combine", _combine))
    for way, made_by in _MADE_BY.items()
}
EXCHANGES = frozenset(op for op, _ in _KERNELS)
"""The operations."""
