"""The operations of one step of a model on one device: FLOPs, bytes and how often each is done.

Notation: n rows; T tokens in the step, S sequences that need logits, h hidden size, L layers. Tensor parallelism
divides heads and widths; a mixture of experts reads E·(1 − (1 − k/E)^T) of its E experts for T tokens that choose k.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from model.checkpoint.architecture import Architecture
from model.checkpoint.parts import ATTENTION, DENSE_MLP, EXPERTS, LINEAR_ATTENTION, SHARED_EXPERTS
from model.points import Points
from model.prediction import Floats
from model.tables.shapes import INDEX_KEY_BYTES

ACTIVATION_BYTES = 2.0
"""Activations are 16 bits wide."""


class Kind(StrEnum):
    """What limits an operation: dense products, attention, plain memory traffic, or messages between devices."""

    GEMM = "gemm"
    ATTENTION = "attention"
    MEMORY = "memory"
    ALL_REDUCE = "all_reduce"
    SEND = "send"


@dataclass(frozen=True)
class StepLoad:
    """What n steps work on: all arrays `n`.

    `prefill` prompt tokens, each attending to `context` keys on average, of `prompts` prompts of which `past` tokens in
    all were computed before; `decode` sequences with `kv` cached tokens each, of which a step computes `per_decode`
    tokens (more than one where drafted tokens are verified).
    """

    prefill: Floats
    context: Floats
    prompts: Floats
    past: Floats
    decode: Floats
    kv: Floats
    per_decode: Floats | float = 1.0

    @classmethod
    def stacked(cls, loads: Sequence[StepLoad]) -> StepLoad:
        """k kinds of steps of each row as one: arrays `k x n`."""
        *columns, _ = zip(*(vars(load).values() for load in loads), strict=True)
        per_decode = [np.broadcast_to(load.per_decode, load.prefill.shape) for load in loads]
        return cls(*map(np.array, [*columns, per_decode]))

    @property
    def flat(self) -> StepLoad:
        """Several kinds of steps as rows below each other, `k * n`."""
        return StepLoad(*(np.ravel(values) for values in vars(self).values()))

    @property
    def tokens(self) -> Floats:
        """Tokens scheduled, T."""
        return self.prefill + self.decode * self.per_decode

    @property
    def sequences(self) -> Floats:
        """Places that need logits, S: one of each sequence, or each that is verified."""
        return self.prompts + self.decode * self.per_decode


@dataclass(frozen=True)
class Operation:
    """One operation, done `count` times per step; `flops` and `bytes` are of one time and one device, `n`.

    `part` is the one of `model.checkpoint.parts` whose weights it multiplies, empty where it does not.
    """

    name: str
    kind: Kind
    flops: Floats
    bytes: Floats
    count: Floats | float
    part: str = ""


def operations(points: Points, load: StepLoad) -> Iterator[Operation]:
    """All operations of one step of every row, on one of the devices that work in step."""
    model = points.architecture
    dense = _Dense(points, load)
    yield from _attention_layer(points, load, dense)
    if model.linear_layers:
        yield from _linear_layer(points, load, dense)
    dense_layers = model.layers - model.moe_layers
    if dense_layers:
        yield dense.gemm(
            "mlp", DENSE_MLP, model.dense_mlp_params / points.tp, model.intermediate * model.mlp_matrices, dense_layers
        )
    if model.moe_layers:
        yield from _experts(points, load, dense)
    yield from _elsewhere(points, load, dense)


class _Dense:
    """Products of all tokens of a step with one weight matrix."""

    def __init__(self, points: Points, load: StepLoad) -> None:
        self.points = points
        self.tokens = load.tokens
        # a physical batch smaller than the step reads the weights once for each of its pieces
        self.passes = np.maximum(np.ceil(self.tokens / points.prefill_chunk), 1.0)

    def gemm(self, name: str, part: str, weights: Floats, width: float, count: float) -> Operation:
        """`weights` per device (`n`) of a part, `width` of the activations written beside the hidden state read."""
        traffic = self.tokens * ACTIVATION_BYTES * (self.points.architecture.hidden + width / self.points.tp)
        data = weights * self.points.bytes_of(part) * self.passes + traffic
        return Operation(name, Kind.GEMM, 2.0 * self.tokens * weights, data, count, part)


def _attention_layer(points: Points, load: StepLoad, dense: _Dense) -> Iterator[Operation]:
    model = points.architecture
    value_dim = model.v_head_dim or model.head_dim
    out = model.heads * value_dim * model.hidden / points.tp
    # key and value heads are copied where there are fewer than devices
    copied = 0.0 if model.is_mla else 2 * model.head_dim * model.hidden * np.maximum(points.tp - model.kv_heads, 0)
    qkv = (model.attention_params + copied) / points.tp - out
    width = model.heads * (model.qk_nope_dim + model.qk_rope_dim or model.head_dim)
    yield dense.gemm("qkv_proj", ATTENTION, qkv, width, model.attention_layers)
    yield dense.gemm("out_proj", ATTENTION, out, model.hidden, model.attention_layers)
    if model.index_topk:
        yield _attention(points, load, "sparse_attention", model.attention_layers, float(model.index_topk))
        yield _indexer(points, load)
        return
    full = model.attention_layers - model.sliding_layers
    if full:
        yield _attention(points, load, "attention", full, np.inf)
    if model.sliding_layers:
        yield _attention(points, load, "sliding_attention", model.sliding_layers, float(model.sliding_window))


def _attention(points: Points, load: StepLoad, name: str, count: float, window: float) -> Operation:
    """Context and generation attention as one operation: their arithmetic and their traffic overlap."""
    model = points.architecture
    context, kv = np.minimum(load.context, window), np.minimum(load.kv, window)
    per_key, per_cached = _score_flops(model)
    flops = (per_key * load.prefill * context + per_cached * load.decode * kv) / points.tp
    per_token = 2 * model.head_dim * np.maximum(model.kv_heads / points.tp, 1.0)
    if model.is_mla:
        per_token = np.full(len(points), model.kv_lora_rank + model.qk_rope_dim)
    past = np.minimum(load.past, np.maximum(load.prompts, 1.0) * window)
    cached = load.decode * kv + past + load.prefill
    queries = load.tokens * 2 * model.heads * model.head_dim / points.tp * ACTIVATION_BYTES
    return Operation(name, Kind.ATTENTION, flops, cached * per_token * points.kv_bytes + queries, count)


def _indexer(points: Points, load: StepLoad) -> Operation:
    """Scores of all cached tokens, on every device alike."""
    model = points.architecture
    scored = load.prefill * load.context + load.decode * load.kv
    cached = load.decode * load.kv + load.past + load.prefill
    flops = 2.0 * model.index_heads * model.index_dim * scored
    return Operation("indexer", Kind.ATTENTION, flops, cached * INDEX_KEY_BYTES, model.index_layers)


def _score_flops(model: Architecture) -> tuple[float, float]:
    """FLOPs of one query token against one key, in context and in generation. MLA decodes on the latent vector."""
    if model.is_mla:
        context = 2.0 * model.heads * (model.qk_nope_dim + model.qk_rope_dim + model.v_head_dim)
        return context, 2.0 * model.heads * (2 * model.kv_lora_rank + model.qk_rope_dim)
    return 4.0 * model.heads * model.head_dim, 4.0 * model.heads * model.head_dim


def _linear_layer(points: Points, load: StepLoad, dense: _Dense) -> Iterator[Operation]:
    model = points.architecture
    weights = model.linear_params / points.tp
    yield dense.gemm("linear_attention_proj", LINEAR_ATTENTION, weights, 2.0 * model.hidden, model.linear_layers)
    state = model.linear_state / points.tp
    flops = 6.0 * load.tokens * state
    data = 2.0 * load.sequences * state * ACTIVATION_BYTES
    yield Operation("linear_attention", Kind.ATTENTION, flops, data, model.linear_layers)


def _experts(points: Points, load: StepLoad, dense: _Dense) -> Iterator[Operation]:
    model = points.architecture
    shared = (model.shared_params + model.hidden * model.experts) / points.tp
    wide = model.shared_intermediate + model.experts
    yield dense.gemm("router_and_shared_experts", SHARED_EXPERTS, shared, wide, model.moe_layers)
    # tokens of all ranks meet at the experts, which all their devices share
    tokens, devices = load.tokens * points.attention_dp, points.tp * points.attention_dp
    routed = tokens * model.top_k
    share = model.top_k / model.experts
    met = model.experts * -np.expm1(tokens * np.log1p(-share)) if share < 1 else float(model.experts)
    weights = model.expert_params / devices
    width = model.hidden / points.attention_dp + model.mlp_matrices * model.expert_intermediate / devices
    traffic = routed * ACTIVATION_BYTES * width
    data = met * weights * points.bytes_of(EXPERTS) * dense.passes + traffic
    yield Operation("experts", Kind.GEMM, 2.0 * routed * weights, data, model.moe_layers, EXPERTS)
    others = points.attention_dp - 1.0
    message = 2.0 * others * load.tokens * model.hidden * ACTIVATION_BYTES
    count = np.where(others > 0, float(model.moe_layers), 0.0)
    yield Operation("dispatch_and_combine", Kind.SEND, np.zeros_like(tokens), message, count)


def _elsewhere(points: Points, load: StepLoad, dense: _Dense) -> Iterator[Operation]:
    model = points.architecture
    hidden = load.tokens * model.hidden * ACTIVATION_BYTES
    nothing = np.zeros_like(hidden)
    # two norms and two residual additions, each reading and writing the hidden state
    yield Operation("norms", Kind.MEMORY, nothing, 8.0 * hidden, model.layers)
    yield Operation("embedding", Kind.MEMORY, nothing, 2.0 * hidden, 1.0)
    head = model.vocab * model.hidden / points.tp
    logits = load.sequences * model.vocab / points.tp * 4.0
    yield Operation("lm_head", Kind.GEMM, 2.0 * load.sequences * head, head * points.head_bytes + logits, 1.0)
    yield Operation("all_reduce", Kind.ALL_REDUCE, nothing, hidden, np.where(points.tp > 1, 2.0 * model.layers, 0.0))
    yield Operation("send", Kind.SEND, nothing, hidden / points.tp, points.pp - 1.0)
