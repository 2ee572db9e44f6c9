"""Small operation tables of every kernel that can be asked for, as rows of a file."""

from __future__ import annotations

from typing import Any

import numpy as np

from model.tables.kernels import CONTEXT, EXPERTS, GEMM, GENERATION, Rates

RATES = Rates(6e14, 4e12, 4e-6)
SAID = {"platform": "h200_sxm", "engine": "vllm", "engine_version": "0.24.0", "dtype": "bf16"}


def rows(op: str, seconds: np.ndarray, **columns: Any) -> list[dict[str, Any]]:
    arrays = np.broadcast_arrays(seconds, *columns.values())[1:]
    named = dict(zip(columns, arrays, strict=True))
    return [
        {**SAID, "op": op, "latency_s": float(seconds[at]), **{name: int(v[at]) for name, v in named.items()}}
        for at in range(len(seconds))
    ]


def mesh(*axes: Any) -> list[np.ndarray]:
    return [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]


def measured() -> list[dict[str, Any]]:
    """Small tables of every operation that can be asked for."""
    m, n, k = mesh([1.0, 128, 4096], [1024.0, 4096], [1024.0, 8192])
    found = rows("gemm", GEMM.formula(RATES, (), [m, n, k]), m=m, n=n, k=k)
    heads, batch, isl = mesh([32.0], [1.0, 8], [1.0, 128, 1024, 4096, 8192, 16384])
    key, shape = (128.0, 0.0, 8.0), {"kv_heads": 8, "head_dim": 128, "window_size": 0}
    seconds = CONTEXT.formula(RATES, key, [heads, batch, isl, 0 * isl])
    kv = {"kv_dtype": "bf16"}
    for row in rows("context_attention", seconds, heads=heads, batch_size=batch, isl=isl, prefix=0, **shape):
        found.append(row | kv)
    seconds = GENERATION.formula(RATES, key, [heads, batch, isl + 1])
    for row in rows("generation_attention", seconds, heads=heads, batch_size=batch, isl=1, prefix=isl, **shape):
        found.append(row | kv)
    size = 2.0 ** np.arange(8, 24)
    found += rows("all_reduce", 8e-6 + size / 1e11, elements=size, devices=8)
    tokens = 2.0 ** np.arange(0, 14)
    layer = {"hidden": 2048, "inter": 768, "topk": 8, "experts": 128, "moe_tp": 1, "moe_ep": 1}
    seconds = EXPERTS.formula(RATES, (*layer.values(), 1.2), [tokens])
    return found + [row | {"distribution": "power_law_1.2"} for row in rows("moe", seconds, tokens=tokens, **layer)]
