"""How far tables of two versions of one engine differ, by the distance of the versions, and those of two engines.

    python tests/bench/version_distance.py DB

DB holds operation tables of several versions (`servecast import aiconfigurator --db DB`). Of each kernel, its number
formats and pair of versions of one engine on one platform (of two engines: their newest), the places that both measured
are compared: |log(latency of one / of the other)|, as if one had to stand in for the other. A pair counts as one,
whatever its rows. Printed for one half of the platforms, which the constants of `model.tables.sources` are from, and
for the other, by distance: pairs, the median over pairs of their median and of their ninth tenth, the sd that holds
nine tenths of all, and the share of rows that is held by the sd that the product adds.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np

from model.tables.distinct import distinct
from model.tables.kernels import CONTEXT, EXPERTS, GEMM, GENERATION, LATENT_CONTEXT, LATENT_GENERATION, Kernel
from model.tables.rows import Rows, measured_rows
from model.tables.sources import OTHER_ENGINE_SD, distance, version_number, version_sd
from model.tables.spread import NOISE
from perfdb.operations import OperationSet
from perfdb.store import Store

KERNELS = {kernel.op: kernel for kernel in (GEMM, CONTEXT, GENERATION, EXPERTS, LATENT_CONTEXT, LATENT_GENERATION)}
PLATFORMS = ("h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200", "gb300", "l40s", "arc_b60", "a100_sxm_80gb")
FITTED = ("h100_sxm", "b200_sxm", "gb200", "arc_b60", "a100_sxm_80gb")
LEAST_PLACES = 50
OTHER = "another"
Found = dict[tuple[bool, str, float], list[np.ndarray]]


def rows_of(store: Store, platform: str, kernel: Kernel, one: OperationSet) -> Rows:
    """The usable rows of one set."""
    table = store.operations(platform, one.engine, one.engine_version, kernel.op, one.dtype)
    return measured_rows(table if one.kv_dtype is None else table.where(kv_dtype=one.kv_dtype), kernel)


def ratios(one: Rows, other: Rows) -> np.ndarray:
    """|log| of the ratio of the means at every place that both have."""
    arguments = [np.concatenate(pair) for pair in zip(one.arguments, other.arguments, strict=True)]
    columns = [*np.concatenate([one.keys, other.keys]).T, *arguments]
    seconds = np.log(np.concatenate([one.seconds, other.seconds]))
    _, place = distinct(columns, len(seconds))
    side = np.arange(len(seconds)) >= len(one.seconds)
    n = place.max() + 1
    first, second = (np.bincount(place[of], seconds[of], n) / np.bincount(place[of], None, n) for of in (~side, side))
    found = np.abs(first - second)
    return found[np.isfinite(found)]


def pairs(store: Store, found: Found) -> None:
    """All pairs of versions, by half, engine and distance."""
    for platform in PLATFORMS:
        groups = defaultdict(list)
        for one in store.operation_sets(platform):
            if one.op in KERNELS and one.rows >= LEAST_PLACES:
                groups[one.engine, one.op, one.dtype, one.kv_dtype].append(one)
        for (engine, op, _, _), sets in groups.items():
            for one, other in combinations(sets, 2):
                errors = ratios(*(rows_of(store, platform, KERNELS[op], each) for each in (one, other)))
                if len(errors) >= LEAST_PLACES:
                    far = round(distance(engine, one.engine_version, other.engine_version), 1)
                    found[platform in FITTED, str(engine), far].append(errors)


def of_engines(store: Store, found: Found) -> None:
    """All pairs of engines, each in its newest version."""
    for platform in PLATFORMS:
        newest: dict[tuple[str, str | None, str | None], dict[str, OperationSet]] = defaultdict(dict)
        for one in sorted(store.operation_sets(platform), key=lambda one: version_number(one.engine_version)):
            if one.op in KERNELS and one.rows >= LEAST_PLACES and one.engine in {"vllm", "sglang", "trtllm"}:
                newest[one.op, one.dtype, one.kv_dtype][one.engine] = one
        for (op, _, _), sets in newest.items():
            for names in combinations(sorted(sets), 2):
                errors = ratios(*(rows_of(store, platform, KERNELS[op], sets[name]) for name in names))
                if len(errors) >= LEAST_PLACES:
                    found[platform in FITTED, OTHER, 0.0].append(errors)


def needed(errors: list[np.ndarray]) -> float:
    """sd that holds nine tenths of all rows, each pair counting as one."""
    together, weight = np.concatenate(errors), np.concatenate([np.full(len(one), 1 / len(one)) for one in errors])
    order = np.argsort(together)
    held = np.cumsum(weight[order]) / weight.sum()
    return float(together[order][np.searchsorted(held, 0.9)]) / 1.645


def main() -> None:
    """Print the table."""
    found: Found = defaultdict(list)
    with np.errstate(all="ignore"):
        pairs(Store(Path(sys.argv[1])), found)
        of_engines(Store(Path(sys.argv[1])), found)
    print(f"{'half':8}{'engine':8}{'distance':>9}{'pairs':>7}{'median':>9}{'p90':>9}{'sd':>7}{'held':>7}")
    for (is_fitted, engine, far), errors in sorted(found.items(), key=lambda item: (not item[0][0], item[0][1:])):
        median, p90 = (np.median([np.quantile(each, share) for each in errors]) for share in (0.5, 0.9))
        sd = np.hypot(OTHER_ENGINE_SD if engine == OTHER else version_sd(far), np.sqrt(2.0) * NOISE)
        held = np.mean([(each < 1.645 * sd).mean() for each in errors])
        half = "fitted" if is_fitted else "other"
        print(f"{half:8}{engine:8}{far:9.1f}{len(errors):7}{median:9.3f}{p90:9.3f}{needed(errors):7.2f}{held:7.2f}")


if __name__ == "__main__":
    main()
