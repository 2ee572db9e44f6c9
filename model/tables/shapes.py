"""Shapes that tables are asked for: attention heads, a layer of experts, a layer of latent attention."""

from __future__ import annotations

from typing import NamedTuple

from model.checkpoint.architecture import Architecture


class Heads(NamedTuple):
    """Attention heads on one device, and the tokens that a sliding window sees (0: all)."""

    heads: float
    kv_heads: float
    head_dim: float
    window: float = 0.0


class Experts(NamedTuple):
    """A MoE layer: sizes of the model, and over how many devices experts are divided and spread.

    `skew` is the exponent of the power law by which tokens choose experts; 0 where they choose evenly.
    """

    hidden: float
    inter: float
    topk: float
    experts: float
    moe_tp: float = 1.0
    moe_ep: float = 1.0
    skew: float = 1.2


class Exchange(NamedTuple):
    """Tokens brought to their experts, which are spread over so many `devices`, or results brought back."""

    hidden: float
    topk: float
    experts: float
    devices: float


class Latent(NamedTuple):
    """A layer of multi-head latent attention (MLA: DeepSeek-V2, arXiv 2405.04434) with its projections.

    Weights of those down to the latent vectors, which every device has, and of each head's own; numbers that the cache
    keeps of a token; widths of a head's query and value together.
    """

    shared_weights: float
    head_weights: float
    latent: float
    head_width: float


class Sparse(NamedTuple):
    """A layer of sparse attention over a latent cache, without an indexer: it attends to tokens `chosen` by another
    layer, so many. The other sizes are those of `Latent`."""

    shared_weights: float
    head_weights: float
    latent: float
    head_width: float
    chosen: float


class Indexed(NamedTuple):
    """The same with an indexer (DeepSeek-V3.2), on every device: the width of its heads together, and its weights."""

    shared_weights: float
    head_weights: float
    latent: float
    head_width: float
    chosen: float
    index_width: float
    index_weights: float


INDEX_KEY_BYTES = 132.0
"""What an indexer's cache keeps of a token: 128 numbers of 8 bits and a scale of 32 (vLLM, SGLang)."""


def sparse_of(model: Architecture) -> Sparse:
    """The sizes of a layer without an indexer in a model with sparse attention."""
    return Sparse(*latent_of(model), model.index_topk)


def indexed_of(model: Architecture) -> Indexed:
    """The sizes of a layer with an indexer in a model with sparse attention."""
    return Indexed(*sparse_of(model), model.index_heads * model.index_dim, model.indexer_params)


def latent_of(model: Architecture) -> Latent:
    """The sizes of a model with latent attention."""
    query, latent = model.qk_nope_dim + model.qk_rope_dim, model.kv_lora_rank + model.qk_rope_dim
    head = query * (model.q_lora_rank or model.hidden)
    head += model.kv_lora_rank * (model.qk_nope_dim + model.v_head_dim) + model.v_head_dim * model.hidden
    return Latent(model.hidden * (model.q_lora_rank + latent), head, latent, query + model.v_head_dim)
