"""Does a config fit, and how many sequences can it keep in flight?

Device memory of GPUs: available = memory·fraction; needed = weights + activations and context + the KV cache of one
longest sequence; what is left is KV cache. A llama.cpp server reserves the KV cache of all its slots at start.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.checkpoint.parts import EXPERTS
from model.points import Points
from model.prediction import Bools, Floats
from model.tables.shapes import INDEX_KEY_BYTES

GIB = float(2**30)
_CONTEXT_BYTES = 0.7 * GIB
"""Driver context and libraries; with the terms below 1.1–1.5 GiB in all, as eight dense runs on GPUs measured."""
_MESSAGE_BYTES = 0.2 * GIB
_VISIBLE = 0.98
"""Share of a GPU's memory that its driver leaves to programs: 23.5 of 24 GiB on an RTX 4090, 79 of 80 on an H100."""
_HOST_BYTES = 0.1 * GIB
_HOST_FRACTION = 0.9
"""What a CPU server may take of the host's memory: the system and the load generator need the rest."""
RESERVES_SLOTS = "llamacpp"
"""The engine that divides its context among its slots when it starts."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, all `n`: `available`, `weights`, `overhead`, `kv_per_token`; `kv_needed` is what the config
    must be able to hold at least, `sequences` how many of the load's sequences its KV cache holds (inf: all).

    `blocks` of the KV cache are what is left, or what the config says that the engine's log told.
    """

    available: Floats
    weights: Floats
    overhead: Floats
    kv_per_token: Floats
    kv_needed: Floats
    sequences: Floats
    blocks: Floats

    @property
    def kv_room(self) -> Floats:
        """Bytes that are left for the KV cache, `n`."""
        return np.maximum(self.available - self.weights - self.overhead, 0.0)

    @property
    def headroom(self) -> Floats:
        """log(memory available / memory needed), `n`: positive where the config fits."""
        return np.log(self.available / (self.weights + self.overhead + self.kv_needed))

    @property
    def room(self) -> Floats:
        """`sequences`, and no limit where the config does not fit: should it run all the same, this account of it is
        wrong, and one sequence at a time the least likely answer."""
        return np.where(self.feasible, self.sequences, np.inf)

    @property
    def feasible(self) -> Bools:
        """Rows that fit."""
        return self.headroom >= 0.0


def memory(points: Points) -> Memory:
    """Account for the memory of every row."""
    model, load = points.architecture, points.load
    split = points.tp * points.pp
    routed = model.part_params[EXPERTS] * points.bytes_of(EXPERTS)
    layers = points.layer_bytes * model.layer_params - routed * (1.0 - 1.0 / points.attention_dp)
    drafting = np.where(points.draft_tokens > 0, points.draft_layers / model.layers, 0.0)
    weights = (layers * (1.0 + drafting) + points.head_bytes * model.head_params) / split
    per_token = kv_bytes_per_token(points)
    beside = overhead_parts(points)
    overhead = beside["context"] + beside["communication"] + beside["activations"]
    available = _available(points, weights + overhead)
    one = load.isl + load.osl
    if points.engine.name == RESERVES_SLOTS:
        reserved = np.where(points.max_model_len > 0, points.max_model_len, points.max_num_seqs * one)
        slots = np.maximum(reserved // one, 1.0)
        blocks = reserved // points.block_size
        return Memory(available, weights, overhead, per_token, reserved * per_token, slots, blocks)
    # the other engines start all the same, and refuse sequences that do not fit
    longest = np.maximum(points.max_model_len, one) if points.engine.name == "vllm" else one
    block = per_token * points.block_size
    left = np.floor(np.maximum(available - weights - overhead, 0.0) / block)
    blocks = np.where(points.kv_blocks > 0, points.kv_blocks, left)
    # a counted number of blocks says what was left, whatever this account of it makes of the rest
    available = np.where(points.kv_blocks > 0, weights + overhead + blocks * block, available)
    # the last block of a sequence is half full on average; what prompts have in common is there once
    own = (points.computed + load.osl / 2) / points.block_size + 0.5
    shared = points.reused if points.shared is None else points.shared
    sequences = np.maximum((blocks - shared / points.block_size) / own, 1.0)
    return Memory(available, weights, overhead, per_token, longest * per_token, sequences, blocks)


def _available(points: Points, needed: Floats) -> Floats:
    """Bytes that weights, overhead and KV cache may take together. TensorRT-LLM's fraction is of what is left of the
    memory when weights and overhead are `needed` bytes, the others' of all of it."""
    if points.platform.kind == "cpu":
        return np.full(len(points), points.platform.memory_bytes * _HOST_FRACTION)
    total = points.platform.memory_bytes * _VISIBLE
    if points.engine.name == "trtllm":
        return np.where(needed < total, needed + points.memory_fraction * (total - needed), total)
    return total * points.memory_fraction


def kv_bytes_per_token(points: Points) -> Floats:
    """Bytes of KV cache per token and device, `n`: 2·L·max(kv/tp, 1)·d·bytes, for MLA L·(r + d_rope)·bytes; indexers
    keep a key of their own."""
    model = points.architecture
    return (model.kv_elements(points.tp) * points.kv_bytes + model.index_layers * INDEX_KEY_BYTES) / points.pp


def overhead_parts(points: Points) -> dict[str, Floats]:
    """Bytes on one device beside weights and KV cache, each `n`: the "context" of driver and libraries, buffers for
    "communication", and "activations", the larger of logits (32 bits, two copies) and those of the MLP (16 bits).

    SGLang keeps the latter two in what its static fraction leaves.
    """
    model, nothing = points.architecture, np.zeros(len(points))
    context = nothing + (_HOST_BYTES if points.platform.kind == "cpu" else _CONTEXT_BYTES)
    if points.engine.name == "sglang":
        return {"context": context, "communication": nothing, "activations": nothing}
    logits = points.max_num_seqs * model.vocab / points.tp * 8.0
    width = max(model.intermediate, model.expert_intermediate * model.top_k)
    tokens = np.minimum(points.max_num_batched_tokens, points.prefill_chunk)
    activations = tokens * 2.0 * width / points.tp * 2.0
    messages = np.where(points.tp * points.pp * points.attention_dp > 1, _MESSAGE_BYTES, 0.0)
    return {"context": context, "communication": messages, "activations": np.maximum(logits, activations)}
