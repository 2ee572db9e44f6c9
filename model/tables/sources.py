"""Which measured table answers: that of the engine's own version, else of the nearest, else of another engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfdb.facts.engines import is_untagged
from perfdb.operations import OperationSet

_PATCH_SD, _RELEASE_SD, _MOST_SD = 0.03, 0.17, 0.75
OTHER_ENGINE_SD = 0.53
"""What holds nine tenths of the rows of half of the platforms of a public collection (37 pairs of versions, 138 of
engines; see `tests/bench/version_distance.py`): 0.04, 0.21, 0.52 and 0.76 at 0.3, 1, 2 and 5 or more releases, 0.53
between engines; on the other half 0.05, 0.16 and 1.03 (no pair is 2 apart), and 0.55. Some kernels did not change in
five releases, others tenfold."""
OTHER_FORMAT_SD = 0.25
_BUILD = re.compile(r"\.dev|\+")
"""Begins what tells builds of one version apart."""
_CANDIDATES = 1e-3
"""Below it two version numbers differ in their release candidates alone."""
LEAST_ROWS = 12
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
    "int8_wo": ("int4", "bf16"),
    "int4_fp8": ("int4", "fp8", "bf16"),
    "nvfp4_wo": ("int4", "mxfp4", "bf16"),
    "mxfp4_mxfp8": ("mxfp4", "fp8", "bf16"),
    "fp32": ("bf16", "fp16"),
}
"""Formats whose efficiency stands in for that of another, the likest first."""
_HOST_BOUND = 4.0
"""A table is taken for timed with the host's own time where its shortest latency is so many times another's: kernels
take 2 to 20 µs where they were timed in graphs, and 55 to 160 µs in the tables of vLLM's block-scaled products."""
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

    def is_of(self, found: OperationSet) -> bool:
        """Whether a set is of this table."""
        own = (self.engine, self.version, self.dtype, self.kv_dtype)
        return (found.engine, found.engine_version, found.dtype, found.kv_dtype) == own


def choose(
    sets: Sequence[OperationSet],
    op: str,
    engine: str,
    version: str | None,
    number_format: str,
    cached_format: str | None,
    in_steps: bool = False,
) -> Choice | None:
    """The best table for one kernel, None where no set holds anything near.

    Without a version the newest of the engine is meant. In steps (`in_steps`) kernels follow each other without the
    host: tables that hold its time are passed over where there are others.
    """
    if version is not None and not re.search(r"\d", version):
        version = None  # "latest" is the newest
    usable = [s for s in sets if s.op == op and s.rows >= LEAST_ROWS]
    for candidate in (number_format, *SIBLINGS.get(number_format, ())):
        found = [
            s for s in usable if s.dtype in {candidate, None} and (cached_format is None or s.kv_dtype == cached_format)
        ]
        if found:
            found = _without_host_time(found) if in_steps else found
            best = min(found, key=lambda s: _rank(s, engine, version))
            is_sibling = candidate != number_format and (number_format, candidate) not in _ALIKE
            return _choice(best, engine, version, is_sibling)
    return None


def _without_host_time(sets: Sequence[OperationSet]) -> list[OperationSet]:
    least = min((s.least_s for s in sets if s.least_s > 0), default=0.0)
    return [s for s in sets if s.least_s <= _HOST_BOUND * least]


def _choice(found: OperationSet, engine: str, version: str | None, is_sibling: bool) -> Choice:
    is_other = found.engine != engine and found.engine not in _LIBRARIES
    is_older = found.engine == engine and version is not None and found.engine_version != version
    of_version = version_sd(distance(engine, found.engine_version, version)) if is_older else 0.0
    sd = OTHER_ENGINE_SD * is_other + of_version + OTHER_FORMAT_SD * is_sibling
    return Choice(found.engine, found.engine_version, found.dtype, found.kv_dtype, sd, is_other or is_older, is_sibling)


def version_sd(far: float) -> float:
    """sd of the logarithm of what a kernel takes in one version over another so far away."""
    return min(_PATCH_SD + _RELEASE_SD * far, _MOST_SD)


def distance(engine: str | None, one: str | None, other: str | None) -> float:
    """Releases between two versions, inf where one of them is not known: SGLang counts them by its third number, others
    by their second; ten candidates of one release count as one."""
    numbers = version_number(one), version_number(other)
    if not all(numbers):
        return np.inf
    apart = abs(numbers[0] - numbers[1])
    if apart < _CANDIDATES:
        return min(apart * 1e5, 1.0)
    return apart / (0.01 if engine == "sglang" else 1.0)


def _rank(found: OperationSet, engine: str, version: str | None) -> tuple[float, ...]:
    """Own engine first, then the nearest version, the newest of another engine or where none is asked for; then
    releases before builds between them, then the larger table."""
    name, there = found.engine or "", found.engine_version
    whose = -1 if name == engine else _ENGINES.index(name) if name in _ENGINES else len(_ENGINES)
    last = float(_BUILD.search(there or "") is not None), -found.rows
    if version is None or name != engine:
        return whose, 0.0, -version_number(there), *last
    return whose, float(there != version), distance(name, there, version), *last


def version_number(text: str | None) -> float:
    """Versions as numbers to measure distances by: 0.24.1 is 24.01, 1.3.0rc20 a little below 103; 0 where unknown."""
    if text is not None and is_untagged(text):
        return 0.0
    release, _, candidate = _BUILD.split(text or "", maxsplit=1)[0].partition("rc")
    parts = [float(part) for part in re.findall(r"\d+", release)[:3]]
    number = sum(part * scale for part, scale in zip(parts, (100.0, 1.0, 0.01), strict=False))
    before = re.match(r"\d+", candidate)
    return number - (1000.0 - float(before[0])) * 1e-6 if before else number
