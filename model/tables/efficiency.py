"""Rates that devices reach where nothing was measured: shares of their peaks, by kernel and number format.

Those of GPUs ship with the product in `efficiency.json`, which says what they were fitted to and how far they stray.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import hypot
from pathlib import Path

from model.dtypes import Dtype, dtype, peak_flops
from model.steps.roofline import CPU, SLOWEST_LINK
from model.tables.exchange import EXCHANGES
from model.tables.kernels import ALL_REDUCE, MESSAGES, TILE, Rates
from model.tables.sources import OTHER_FORMAT_SD, SIBLINGS
from perfdb.facts.platforms import PlatformFacts

ROOFLINE_SD = 0.35
"""sd of log(measured / formula) where no fit says it."""
_ANY_GPU = ""
_SLOW_LINK = "slow link"
_HALF = {"bf16", "fp16", "fp32"}
_BESIDE_HALF = {"mxfp4"}
"""Formats of weights beside 16-bit activations that devices with narrower units need not multiply so."""
_SPARSE, _WITHOUT_INDEXER = "dsa_", "_skip_indexer"
_FAST_LINK = 100e9
"""Bytes per second above which devices are joined by links of their own rather than by the host's bus."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What a kernel reaches on a device: seconds of a launch, shares of the peak FLOP/s and of the bandwidth (of the
    link for messages), and the sd of log(measured / formula) at them."""

    launch_s: float
    flops: float
    bandwidth: float
    sd: float = ROOFLINE_SD


_CPU_GEMM = Shares(4e-6, CPU.gemm_flops, CPU.gemm_bytes)
_CPU_ATTENTION = Shares(4e-6, CPU.attention_flops, CPU.attention_bytes)
_CPU_MESSAGE = Shares(CPU.link_latency_s, 1.0, CPU.link_bytes)


def rates_of(platform: PlatformFacts, op: str, number_format: str, cached_format: str) -> Rates:
    """The rates of a device for one kernel and its number formats.

    Raises:
        UnknownNameError: a number format is not known.
    """
    return rates_at(platform, op, number_format, cached_format, _shares(platform, op, number_format, cached_format))


def rates_at(platform: PlatformFacts, op: str, number_format: str, cached_format: str, shares: Shares) -> Rates:
    """The rates at these shares; attention multiplies in 16 bits, whatever its cache is in.

    Raises:
        UnknownNameError: a number format is not known.
    """
    weights = dtype(number_format)
    peak = peak_flops(platform.flops, dtype("bf16") if _attends(op) else weights) * shares.flops
    link = (platform.link_bytes_s or SLOWEST_LINK) * shares.bandwidth
    bandwidth = platform.bandwidth_bytes_s * shares.bandwidth
    cached = dtype(cached_format).bytes
    tile = 1.0 if platform.kind == "cpu" else TILE  # vector units take any number of rows
    moved = activation_bytes(weights)
    return Rates(peak, bandwidth, shares.launch_s, weights.bytes, cached, link, shares.sd, moved, tile)


def activation_bytes(weights: Dtype) -> float:
    """Bytes per activation that is multiplied with weights of a format: of those that keep activations in more bits,
    what those take; wider ones than 16 bits are not counted."""
    if weights.name in _BESIDE_HALF or weights.compute[0] in _HALF:
        return 2.0
    return 1.0 if weights.compute[0] in {"fp8", "int8"} else weights.bytes


def like(platform: PlatformFacts, op: str) -> str:
    """Whose generic rates a device has that was never measured: for messages, those of devices with links as slow."""
    return _SLOW_LINK if op == ALL_REDUCE.op and (platform.link_bytes_s or 0.0) < _FAST_LINK else _ANY_GPU


def told_apart_by(op: str, number_format: str, cached_format: str) -> str:
    """The format that fits of a kernel are told apart by: that of what it reads most of."""
    return cached_format if _attends(op) else number_format


def _attends(op: str) -> bool:
    return op.endswith("attention") or op.startswith(("mla_", _SPARSE))


def _shares(platform: PlatformFacts, op: str, number_format: str, cached_format: str) -> Shares:
    if op in MESSAGES or op in EXCHANGES:
        op = ALL_REDUCE.op  # what its links reach, all of them do
    op = op.removesuffix(_WITHOUT_INDEXER)
    if platform.kind == "cpu":
        return _CPU_MESSAGE if op == ALL_REDUCE.op else _CPU_ATTENTION if op.endswith("attention") else _CPU_GEMM
    wanted = told_apart_by(op, number_format, cached_format)
    for name in (wanted, *SIBLINGS.get(wanted, ()), "bf16"):
        known = _fitted().get(f"{op} {name}")
        if known:
            launch, flops, bandwidth, sd = known.get(platform.name, known[like(platform, op)])
            return Shares(launch * 1e-6, flops, bandwidth, sd if name == wanted else hypot(sd, OTHER_FORMAT_SD))
    raise KeyError(op)  # every kernel has been fitted in bf16


@lru_cache(maxsize=1)
def _fitted() -> Mapping[str, Mapping[str, Sequence[float]]]:
    found: dict[str, Mapping[str, Sequence[float]]] = json.loads(
        Path(__file__).with_name("efficiency.json").read_text(encoding="utf-8")
    )
    del found["about"]
    return found
