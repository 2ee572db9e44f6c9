"""Which measured table answers: that of the engine's own version, else of the nearest, else of another engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from perfdb.operations import OperationSet

OTHER_VERSION_SD = 0.08
OTHER_ENGINE_SD = 0.15
OTHER_FORMAT_SD = 0.25
_LEAST_ROWS = 12
"""A table of fewer rows is not asked."""
_ENGINES = ("sglang", "trtllm", "vllm", "nccl")
"""Whose kernels are asked first where an engine has no table: tables of the later ones hold more of the host's time."""
_LIBRARIES = {"nccl", "oneccl"}
"""What every engine calls: no proxy for its own kernels."""
SIBLINGS = {
    "fp16": ("bf16",),
    "bf16": ("fp16",),
    "fp8": ("fp8_block", "bf16"),
    "fp8_block": ("fp8", "bf16"),
    "int8": ("fp8", "bf16"),
    "int4": ("bf16",),
    "nvfp4": ("fp8", "bf16"),
    "mxfp4": ("bf16",),
}
"""Formats whose efficiency stands in for that of another, the likest first."""
_ALIKE = {("fp16", "bf16"), ("bf16", "fp16")}


@dataclass(frozen=True)
class Choice:
    """One table: whose, and of which formats. `sd` is what to add to its spread; `is_proxy` where it is another
    version's or engine's, `is_sibling` where it is another number format's."""

    engine: str | None
    version: str | None
    dtype: str | None
    kv_dtype: str | None
    sd: float = 0.0
    is_proxy: bool = False
    is_sibling: bool = False


def choose(
    sets: Sequence[OperationSet],
    op: str,
    engine: str,
    version: str | None,
    number_format: str,
    cached_format: str | None,
) -> Choice | None:
    """The best table for one kernel, None where no set holds anything near.

    Without a version the newest of the engine is meant.
    """
    if version is not None and not re.search(r"\d", version):
        version = None  # "latest" is the newest
    usable = [s for s in sets if s.op == op and s.rows >= _LEAST_ROWS]
    for candidate in (number_format, *SIBLINGS.get(number_format, ())):
        found = [
            s for s in usable if candidate in {s.dtype, None} and (cached_format is None or s.kv_dtype == cached_format)
        ]
        if found:
            best = min(found, key=lambda s: _rank(s, engine, version))
            is_sibling = candidate != number_format and (number_format, candidate) not in _ALIKE
            return _choice(best, engine, version, is_sibling)
    return None


def _choice(found: OperationSet, engine: str, version: str | None, is_sibling: bool) -> Choice:
    is_other = found.engine != engine and found.engine not in _LIBRARIES
    is_older = found.engine == engine and version is not None and found.engine_version != version
    sd = OTHER_ENGINE_SD * is_other + OTHER_VERSION_SD * is_older + OTHER_FORMAT_SD * is_sibling
    return Choice(found.engine, found.engine_version, found.dtype, found.kv_dtype, sd, is_other or is_older, is_sibling)


def _rank(found: OperationSet, engine: str, version: str | None) -> tuple[float, ...]:
    """Own engine first, then the nearest version, the newest where none is asked for; then the larger table."""
    name = found.engine or ""
    whose = -1 if name == engine else _ENGINES.index(name) if name in _ENGINES else len(_ENGINES)
    number = version_number(found.engine_version)
    distance = -number if version is None else abs(number - version_number(version))
    return whose, float(found.engine_version != version), distance, -found.rows


def version_number(text: str | None) -> float:
    """Versions as numbers to measure distances by: 0.24.1 is 24.01, 1.3.0rc20 a little below 103; 0 where unknown."""
    release, _, candidate = (text or "").partition("rc")
    parts = [float(part) for part in re.findall(r"\d+", release)[:3]]
    number = sum(part * scale for part, scale in zip(parts, (100.0, 1.0, 0.01), strict=False))
    before = re.match(r"\d+", candidate)
    return number - (1000.0 - float(before[0])) * 1e-6 if before else number
