"""What a model is made of: an `Architecture` from a Hugging Face config.json, a GGUF file or a known name.

Field names are those of Hugging Face `transformers` configs. Attention is GQA, or MLA where `kv_lora_rank` is set
(DeepSeek-V2, arXiv 2405.04434); layers without a growing KV cache (gated linear attention) are counted apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.checkpoint.gguf_file import gguf_fields
from model.checkpoint.hf_config import architecture_fields
from model.checkpoint.parts import (
    ATTENTION,
    DENSE_MLP,
    EXPERTS,
    HEAD,
    LINEAR_ATTENTION,
    ROUTER,
    SHARED_EXPERTS,
    usual_format,
)
from model.dtypes import dtype
from perfdb.errors import FileError, UnknownNameError
from perfdb.facts.models import canonical_model, model_config


@dataclass(frozen=True, slots=True)
class Architecture:
    """One model. `name` is the known name, the folder's, or the one in a GGUF file. Sizes are counts.

    `shared_intermediate` is the width of all shared experts of a layer together, `kv_heads` a mean where layers differ.
    `max_positions` are those of the longest sequence, 0 where they are not known.
    `index_topk` tokens are attended to, chosen by the indexers of `index_layers` layers (0: all tokens).
    `dtype` is the number format of the weights, of a mixture those of its experts; `formats` are (part, format) of the
    parts of `model.checkpoint.parts` that are in another one than is usual then.
    `file_layer_bytes` and `file_head_bytes` are the real sizes of a weight file (layers; embedding and output matrix),
    None where only the config is known.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: float
    head_dim: int
    intermediate: int
    vocab: int
    gated: bool = True
    tied: bool = False
    experts: int = 0
    top_k: int = 0
    expert_intermediate: int = 0
    shared_intermediate: int = 0
    moe_layers: int = 0
    kv_lora_rank: int = 0
    q_lora_rank: int = 0
    qk_rope_dim: int = 0
    qk_nope_dim: int = 0
    v_head_dim: int = 0
    index_topk: int = 0
    index_heads: int = 0
    index_dim: int = 0
    index_layers: int = 0
    sliding_window: int = 0
    sliding_layers: int = 0
    linear_layers: int = 0
    linear_params: int = 0
    linear_state: int = 0
    max_positions: int = 0
    dtype: str = "bf16"
    formats: tuple[tuple[str, str], ...] = ()
    file_layer_bytes: float | None = None
    file_head_bytes: float | None = None

    @property
    def is_mla(self) -> bool:
        """Whether attention keeps one latent vector per token instead of keys and values."""
        return self.kv_lora_rank > 0

    @property
    def attention_layers(self) -> int:
        """Layers whose KV cache grows with the sequence."""
        return self.layers - self.linear_layers

    @property
    def attention_params(self) -> float:
        """Weights of the projections of one attention layer, a mean where only some have an indexer."""
        h, nh = self.hidden, self.heads
        if not self.is_mla:
            return h * self.head_dim * (2 * nh + 2 * self.kv_heads)
        query = nh * (self.qk_nope_dim + self.qk_rope_dim)
        q = h * self.q_lora_rank + self.q_lora_rank * query if self.q_lora_rank else h * query
        kv = h * (self.kv_lora_rank + self.qk_rope_dim)
        kv += self.kv_lora_rank * nh * (self.qk_nope_dim + self.v_head_dim)
        indexers = self.indexer_params * self.index_layers / self.attention_layers
        return q + kv + nh * self.v_head_dim * h + indexers

    @property
    def indexer_params(self) -> int:
        """Weights of one indexer: its queries, its key, a weight per head."""
        width = self.index_heads * self.index_dim
        return self.q_lora_rank * width + self.hidden * (self.index_dim + self.index_heads)

    @property
    def mlp_matrices(self) -> int:
        """Matrices of one MLP: gate, up and down, or up and down."""
        return 3 if self.gated else 2

    @property
    def dense_mlp_params(self) -> int:
        """Weights of one dense MLP."""
        return self.mlp_matrices * self.hidden * self.intermediate

    @property
    def expert_params(self) -> int:
        """Weights of one routed expert."""
        return self.mlp_matrices * self.hidden * self.expert_intermediate

    @property
    def shared_params(self) -> int:
        """Weights of the shared experts of one MoE layer."""
        return self.mlp_matrices * self.hidden * self.shared_intermediate

    @property
    def head_params(self) -> int:
        """Weights of the embedding and, unless tied, of the output matrix."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def part_params(self) -> dict[str, float]:
        """Part of `model.checkpoint.parts` -> its weights in all layers together, all experts counted."""
        return {
            ATTENTION: self.attention_layers * self.attention_params,
            LINEAR_ATTENTION: self.linear_layers * self.linear_params,
            DENSE_MLP: (self.layers - self.moe_layers) * self.dense_mlp_params,
            SHARED_EXPERTS: self.moe_layers * self.shared_params,
            ROUTER: self.moe_layers * self.hidden * self.experts,
            EXPERTS: self.moe_layers * self.experts * self.expert_params,
        }

    @property
    def layer_params(self) -> float:
        """Weights of all layers together, all experts counted."""
        norms = 2 * self.hidden * self.layers + self.hidden
        return sum(self.part_params.values()) + norms

    @property
    def params(self) -> float:
        """All weights."""
        return self.layer_params + self.head_params

    @property
    def active_params(self) -> float:
        """Weights that one token meets: `top_k` of the experts."""
        return self.params - self.moe_layers * (self.experts - self.top_k) * self.expert_params

    def kv_elements(self, tp: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Elements that a token adds to each device's KV cache, `n`: 2·L·max(kv/tp, 1)·d, for MLA L·(r + d_rope)."""
        if self.is_mla:
            return np.full_like(tp, self.attention_layers * (self.kv_lora_rank + self.qk_rope_dim))
        return 2.0 * self.attention_layers * np.maximum(self.kv_heads / tp, 1.0) * self.head_dim

    def format_of(self, part: str, number_format: str | None = None) -> str:
        """The number format of a part of `model.checkpoint.parts` where the weights are said to be in `number_format`
        (None: the checkpoint's own). A weight file says itself what its formats do.

        Raises:
            UnknownNameError: no such number format.
        """
        own, wanted = dtype(self.dtype), dtype(number_format or self.dtype)
        if self.file_layer_bytes is not None and part != ROUTER:
            return wanted.name
        told = dict(self.formats).get(part) if own == wanted else None
        return told or usual_format(wanted.name, part, self.experts > 0)

    def part_bytes(self, part: str, number_format: str | None = None) -> float:
        """Bytes per weight of a part; arguments as in `format_of`.

        Raises:
            UnknownNameError: no such number format.
        """
        own, wanted = dtype(self.dtype), dtype(number_format or self.dtype)
        if own == wanted and self.file_layer_bytes is not None and self.file_head_bytes is not None:
            return (
                self.file_head_bytes / self.head_params if part == HEAD else self.file_layer_bytes / self.layer_params
            )
        return dtype(self.format_of(part, number_format)).bytes

    def bytes_per_weight(self, number_format: str | None = None) -> tuple[float, float]:
        """Bytes per weight of the layers, their mean, and of the embedding and output matrix; see `format_of`.

        Raises:
            UnknownNameError: no such number format.
        """
        sizes = {part: self.part_bytes(part, number_format) for part, count in self.part_params.items() if count}
        head = self.part_bytes(HEAD, number_format)
        if len(set(sizes.values())) == 1:
            return sizes.popitem()[1], head
        weights = self.part_params
        mean = sum(weights[part] * size for part, size in sizes.items()) / sum(weights[part] for part in sizes)
        return mean, head


def resolve_model(text: str) -> Architecture:
    """The architecture behind a known name, a folder with config.json, a config.json or a GGUF file.

    Raises:
        UnknownNameError: neither a known name nor a path; lists the known names, closest first.
        FileError: a path that cannot be read, or holds no model description.
        ModelError: a field is missing or has no known meaning.
    """
    try:
        config = model_config(text)
    except UnknownNameError:
        path = Path(text).expanduser()
        if text.strip() and path.exists():
            return load_model(path)
        if text.startswith((".", "/", "~")) or path.suffix in {".gguf", ".json"}:
            raise FileError.at(text, "no such file or folder", "a folder with config.json or a GGUF file") from None
        raise
    return _of_config(json.dumps(dict(config), sort_keys=True), canonical_model(text) or text)


@lru_cache(maxsize=256)
def _of_config(text: str, name: str) -> Architecture:
    return Architecture(name, **architecture_fields(json.loads(text), name))


def load_model(path: Path) -> Architecture:
    """The architecture that a folder with config.json, a config.json or a GGUF file describes.

    Raises:
        FileError: nothing there describes a model.
        ModelError: a field is missing or has no known meaning.
    """
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        raise FileError.at(str(path), "no config.json in this folder", "a folder with config.json or a GGUF file")
    stat = file.stat()
    return _load(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _load(file: Path, _mtime_ns: int, _size: int) -> Architecture:
    if file.suffix == ".gguf":
        return Architecture(**gguf_fields(file))
    config = _json(file)
    if not isinstance(config, Mapping):
        raise FileError.at(str(file), "not a JSON object", "a Hugging Face config.json")
    return Architecture(file.resolve().parent.name, **architecture_fields(_with_formats(config, file), str(file)))


def _with_formats(config: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """NVIDIA's Model Optimizer may say the number formats in a file of its own."""
    beside = file.with_name("hf_quant_config.json")
    if "quantization_config" in config or not beside.is_file():
        return config
    said = _json(beside)
    quantised = said.get("quantization") if isinstance(said, Mapping) else None
    return {**config, "quantization_config": quantised} if isinstance(quantised, Mapping) else config


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileError.at(str(file), f"not readable as JSON ({error})", "a Hugging Face config.json") from error
