"""Kernels of sparse attention over a latent cache (DeepSeek-V3.2: an indexer picks the tokens that are attended to).

An indexer scores every cached token with a few narrow heads; only the `topk` best are attended to. Layers that take the
choice of another one (GLM-5.2) have no indexer. Measured as whole layers with their projections, as latent attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.prediction import Floats
from model.tables.kernels import (
    ISL_AXIS,
    LATENT_CONTEXT,
    LATENT_GENERATION,
    Kernel,
    Numbers,
    Rates,
    attended,
    plain,
)
from model.tables.shapes import INDEX_KEY_BYTES, Indexed, Latent, Sparse

_TURN = 65536.0
"""Prompt length at which the indexer's scores cost as much as the rest of a layer does."""
_INDEX_SPEED = 2.0
"""Scores are products of numbers in 8 bits: twice as fast as in 16."""


def latent_kernel(phase: str, layer: Latent | Sparse | Indexed) -> Kernel:
    """The kernel of a layer of latent attention in a phase, "context" or "generation"."""
    context, generation = _KERNELS[type(layer)]
    return generation if phase == "generation" else context


def _context(rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats]) -> Floats:
    topk = keys[5]
    heads, batch, isl, prefix = arguments
    met, seen = batch * attended(isl, prefix, topk), batch * attended(isl, prefix, 0.0)
    return _layer(rates, keys, heads, batch * isl, batch * (isl + prefix), met, seen)


def _generation(rates: Rates, keys: Sequence[Numbers], arguments: Sequence[Floats]) -> Floats:
    topk = keys[5]
    heads, batch, cached = arguments
    return _layer(rates, keys, heads, batch, batch * cached, batch * np.minimum(cached, topk), batch * cached)


def _layer(
    rates: Rates, keys: Sequence[Numbers], heads: Floats, tokens: Floats, cached: Floats, met: Floats, seen: Floats
) -> Floats:
    """`tokens` new ones attend to `met` latent vectors in all, after an indexer, if any, has scored `seen` tokens."""
    weight_bytes, shared, per_head, latent, _, _ = keys[:6]
    index_width, index_weights = keys[6:] if len(keys) > 6 else (0.0, 0.0)
    weights = shared + heads * per_head + index_weights
    scored = np.where(np.asarray(index_width) > 0, cached, 0.0)
    data = weights * weight_bytes + met * latent * rates.cached + scored * INDEX_KEY_BYTES
    flops = 2.0 * tokens * weights * np.maximum(weight_bytes, 1.0) / 2.0 + 4.0 * heads * latent * met
    flops = flops + 2.0 * index_width * seen / _INDEX_SPEED
    return rates.launch_s + np.maximum(flops / rates.flops, data / rates.bandwidth)


def _coordinate(axis: int, values: Floats, _keys: Sequence[Numbers]) -> Floats:
    return values + values * values / _TURN if axis == ISL_AXIS else values


def _pair(keys: tuple[str, ...], ending: str) -> tuple[Kernel, Kernel]:
    named = ("weight_bytes", *keys)
    context = ("heads", "batch_size", "isl", "prefix")
    return (
        Kernel(f"dsa_context_module{ending}", named, context, _context, _coordinate),
        Kernel(f"dsa_generation_module{ending}", named, ("heads", "batch_size", "kv"), _generation, plain),
    )


_KERNELS = {
    Latent: (LATENT_CONTEXT, LATENT_GENERATION),
    Indexed: _pair(Indexed._fields, ""),
    Sparse: _pair(Sparse._fields, "_skip_indexer"),
}
INDEXED_CONTEXT, INDEXED_GENERATION = _KERNELS[Indexed]
