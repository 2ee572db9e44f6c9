"""Sizes of a layer of multi-head latent attention (MLA: DeepSeek-V2, arXiv 2405.04434) with its projections."""

from __future__ import annotations

from typing import NamedTuple

from model.architecture import Architecture


class Latent(NamedTuple):
    """Weights of the projections down to the latent vectors, which every device has, and of each head's own; numbers
    that the cache keeps of a token; widths of a head's query and value together."""

    shared_weights: float
    head_weights: float
    latent: float
    head_width: float


def latent_of(model: Architecture) -> Latent:
    """The sizes of a model with latent attention."""
    query, latent = model.qk_nope_dim + model.qk_rope_dim, model.kv_lora_rank + model.qk_rope_dim
    head = query * (model.q_lora_rank or model.hidden)
    head += model.kv_lora_rank * (model.qk_nope_dim + model.v_head_dim) + model.v_head_dim * model.hidden
    return Latent(model.hidden * (model.q_lora_rank + latent), head, latent, query + model.v_head_dim)
