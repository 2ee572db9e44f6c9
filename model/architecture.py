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

from model.dtypes import dtype
from model.gguf_file import gguf_fields
from model.hf_config import architecture_fields
from perfdb.errors import FileError, UnknownNameError
from perfdb.facts.models import canonical_model, model_config


@dataclass(frozen=True, slots=True)
class Architecture:
    """One model. `name` is the known name, the folder's, or the one in a GGUF file. Sizes are counts.

    `shared_intermediate` is the width of all shared experts of a layer together, `kv_heads` a mean where layers differ.
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
    sliding_window: int = 0
    sliding_layers: int = 0
    linear_layers: int = 0
    linear_params: int = 0
    linear_state: int = 0
    max_positions: int = 0
    dtype: str = "bf16"
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
        """Weights of the projections of one attention layer."""
        h, nh = self.hidden, self.heads
        if not self.is_mla:
            return h * self.head_dim * (2 * nh + 2 * self.kv_heads)
        query = nh * (self.qk_nope_dim + self.qk_rope_dim)
        q = h * self.q_lora_rank + self.q_lora_rank * query if self.q_lora_rank else h * query
        kv = h * (self.kv_lora_rank + self.qk_rope_dim)
        kv += self.kv_lora_rank * nh * (self.qk_nope_dim + self.v_head_dim)
        return q + kv + nh * self.v_head_dim * h

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
        """Weights of the shared experts and the router of one MoE layer."""
        return self.mlp_matrices * self.hidden * self.shared_intermediate + self.hidden * self.experts

    @property
    def head_params(self) -> int:
        """Weights of the embedding and, unless tied, of the output matrix."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def layer_params(self) -> float:
        """Weights of all layers together, all experts counted."""
        norms = 2 * self.hidden * self.layers + self.hidden
        mlp = (self.layers - self.moe_layers) * self.dense_mlp_params
        moe = self.moe_layers * (self.experts * self.expert_params + self.shared_params)
        mixing = self.attention_layers * self.attention_params + self.linear_layers * self.linear_params
        return mixing + mlp + moe + norms

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

    def bytes_per_weight(self, number_format: str | None = None) -> tuple[float, float]:
        """Bytes per weight of the layers and of the embedding and output matrix.

        A weight file answers with its real sizes for its own format. Formats below 16 bits leave the embedding and
        output matrix in 16 bits, but for GGUF files, whose tables say what they do.

        Raises:
            UnknownNameError: no such number format.
        """
        own, wanted = dtype(self.dtype), dtype(number_format or self.dtype)
        if own == wanted and self.file_layer_bytes is not None and self.file_head_bytes is not None:
            return self.file_layer_bytes / self.layer_params, self.file_head_bytes / self.head_params
        if self.file_layer_bytes is not None:
            return wanted.bytes, wanted.bytes
        return wanted.bytes, max(wanted.bytes, 2.0)


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
        if path.exists():
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
    try:
        config: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileError.at(str(file), f"not readable as JSON ({error})", "a Hugging Face config.json") from error
    if not isinstance(config, Mapping):
        raise FileError.at(str(file), "not a JSON object", "a Hugging Face config.json")
    return Architecture(file.resolve().parent.name, **architecture_fields(config, str(file)))
