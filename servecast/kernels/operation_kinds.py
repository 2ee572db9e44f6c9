"""The operations that `servecast ops` answers: what their columns a1, a2, … say, and whom they are asked of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from model.checkpoint.architecture import Architecture
from model.steps.small import OURS, p2p_s, small_bytes
from model.tables.answer import Answer
from model.tables.exchange import DEEPEP, EXCHANGES, NVLINK
from model.tables.kernels import MESSAGES
from model.tables.library import Tables
from model.tables.shapes import Exchange, Experts, Heads, Indexed, Latent, Sparse, indexed_of, latent_of, sparse_of
from perfdb.operations import DTYPE_BYTES

Numbers = np.ndarray
Keys = Sequence[float]


class Formats(NamedTuple):
    """Number formats of an operation, and of the KV cache where it is told apart."""

    dtype: str
    kv_dtype: str | None = None

    @property
    def cache(self) -> str:
        """The format of the cache; attention alone has no other."""
        return self.kv_dtype or self.dtype


Ask = Callable[[Tables, Formats, Keys, Numbers], Answer]


@dataclass(frozen=True)
class Asked:
    """The arguments of one operation, a1 on ("": not read); the last of them may be empty and are `defaults` then.

    `keys`, places from 0, tell tables apart; rows that have the same ones are asked for together.
    """

    arguments: tuple[str, ...]
    keys: slice
    ask: Ask
    defaults: tuple[float, ...] = field(default=())


def _gemm(tables: Tables, formats: Formats, _: Keys, a: Numbers) -> Answer:
    return tables.query_gemm(formats.dtype, a[0], a[1], a[2])


def _context(tables: Tables, formats: Formats, heads: Keys, a: Numbers) -> Answer:
    return tables.query_attention("context", formats.cache, Heads(*heads), a[0], a[1], a[2])


def _generation(tables: Tables, formats: Formats, heads: Keys, a: Numbers) -> Answer:
    return tables.query_attention("generation", formats.cache, Heads(*heads), a[0], a[1])


def _message(op: str) -> Ask:
    def ask(tables: Tables, formats: Formats, devices: Keys, a: Numbers) -> Answer:
        return tables.query_message(op, a[0] * a[1] * DTYPE_BYTES.get(formats.dtype, 2.0), *devices)

    return ask


def _experts(tables: Tables, formats: Formats, layer: Keys, a: Numbers) -> Answer:
    hidden, inter, topk, experts, moe_ep, moe_tp, skew = layer
    return tables.query_experts(formats.dtype, Experts(hidden, inter, topk, experts, moe_tp, moe_ep, skew), a[0])


def _exchange(op: str) -> Ask:
    def ask(tables: Tables, formats: Formats, layer: Keys, a: Numbers) -> Answer:
        way = NVLINK if tables.engine == "trtllm" else DEEPEP
        return tables.query_exchange(op, way, formats.dtype, Exchange(*layer), a[0])

    return ask


def _latent(phase: str, sizes_of: Callable[[Architecture], Latent | Sparse | Indexed]) -> Ask:
    def ask(tables: Tables, formats: Formats, sizes: Keys, a: Numbers) -> Answer:
        heads, hidden, *ranks = map(int, sizes)
        named: dict[str, Any] = dict(zip(_RANKS, ranks, strict=False))
        model = Architecture("", hidden, 1, heads, 1.0, 0, 0, 0, index_layers=1, **named)
        known = (formats.dtype, formats.kv_dtype or "bf16")
        return tables.query_latent_attention(phase, known, sizes_of(model), heads, a[0], a[1], a[2])

    return ask


def _small(op: str) -> Ask:
    def ask(tables: Tables, _formats: Formats, _: Keys, a: Numbers) -> Answer:
        rate = tables.platform.bandwidth_bytes_s * OURS.share
        return tables.estimate(OURS.launch_s, small_bytes(op, a[0], a[1]) / rate)

    return ask


def _p2p(tables: Tables, formats: Formats, _: Keys, a: Numbers) -> Answer:
    return tables.estimate(0.0, p2p_s(a[0] * a[1] * DTYPE_BYTES.get(formats.dtype, 2.0), tables.link))


_HEADS = ("heads", "kv_heads", "head_dim", "window")
_PROMPTS = ("batch", "isl", "prefix")
_DECODING = ("batch", "tokens with the new one", "")
_RANKS = (
    "q_lora_rank", "kv_lora_rank", "qk_rope_dim", "qk_nope_dim", "v_head_dim", "index_topk", "index_heads", "index_dim"
)  # fmt: skip


def _module(phase: str, ranks: int, sizes_of: Callable[[Architecture], Latent | Sparse | Indexed]) -> Asked:
    sequences = _PROMPTS if phase == "context" else _DECODING
    return Asked((*sequences, "heads", "hidden", *_RANKS[:ranks]), slice(3, None), _latent(phase, sizes_of))


OPERATIONS: Mapping[str, Asked] = {
    "gemm": Asked(("m", "n", "k"), slice(0), _gemm),
    "context_attention": Asked((*_PROMPTS, *_HEADS), slice(3, 7), _context, (0.0,)),
    "generation_attention": Asked((*_DECODING, *_HEADS), slice(3, 7), _generation, (0.0,)),
    **{f"mla_{phase}_module": _module(phase, 5, latent_of) for phase in ("context", "generation")},
    **{f"dsa_{phase}_module": _module(phase, 8, indexed_of) for phase in ("context", "generation")},
    **{f"dsa_{phase}_module_skip_indexer": _module(phase, 6, sparse_of) for phase in ("context", "generation")},
    **{op: Asked(("tokens", "hidden", "devices"), slice(2, 3), _message(op)) for op in MESSAGES},
    "p2p": Asked(("tokens", "hidden"), slice(0), _p2p),
    "moe": Asked(
        ("tokens", "hidden", "inter", "topk", "experts", "moe_ep", "moe_tp", "skew"),
        slice(1, 8),
        _experts,
        (1.0, 1.0, Experts._field_defaults["skew"]),
    ),
    **{
        op: Asked(("tokens", "hidden", "topk", "experts", "devices"), slice(1, 5), _exchange(op))
        for op in sorted(EXCHANGES)
    },
    "norm": Asked(("tokens", "hidden"), slice(0), _small("norm")),
    "embedding": Asked(("tokens", "hidden"), slice(0), _small("embedding")),
    "sampling": Asked(("sequences", "vocab"), slice(0), _small("sampling")),
}
SYNONYMS = {
    "custom_allreduce": "all_reduce", "allreduce": "all_reduce", "rmsnorm": "norm", "rms_norm": "norm",
    "sampler": "sampling", "send": "p2p",
}  # fmt: skip
LOWEST = {"prefix": 0.0, "window": 0.0, "skew": 0.0, "q_lora_rank": 0.0, "devices": 2.0}
"""Arguments that may be 0, or must be more than 1."""
NOT_ABOVE = {"topk": "experts", "moe_ep": "experts", "kv_heads": "heads"}
"""Arguments of which there are no more than of another."""
MOST_ARGUMENTS = max(len(asked.arguments) for asked in OPERATIONS.values())
