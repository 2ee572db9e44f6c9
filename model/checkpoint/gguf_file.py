"""Read what a GGUF file says about its model: metadata under the names of a config.json, and real tensor sizes.

Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.checkpoint.hf_config import architecture_fields
from model.dtypes import DTYPES
from perfdb.errors import FileError

_FIELDS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "intermediate_size": "feed_forward_length",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "head_dim": "attention.key_length",
    "sliding_window": "attention.sliding_window",
    "num_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
    "n_shared_experts": "expert_shared_count",
    "first_k_dense_replace": "leading_dense_block_count",
    "kv_lora_rank": "attention.kv_lora_rank",
    "q_lora_rank": "attention.q_lora_rank",
    "qk_rope_head_dim": "rope.dimension_count",
    "v_head_dim": "attention.value_length",
}
_HEAD_TENSORS = ("token_embd.weight", "output.weight")


def gguf_fields(path: Path) -> dict[str, Any]:
    """The fields of an `Architecture` that a GGUF file describes, with its name and the bytes that its tensors take.

    Raises:
        FileError: not a GGUF file, or the `gguf` package is not installed.
        ModelError: a field is missing.
    """
    reader = _open(path)
    family = _text(reader, "general.architecture")
    config = {name: _value(reader, f"{family}.{key}") for name, key in _FIELDS.items()}
    config = {name: value for name, value in config.items() if value is not None}
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config["model_type"] = family
    config["tie_word_embeddings"] = "output.weight" not in tensors
    if "token_embd.weight" in tensors:
        config.setdefault("vocab_size", int(tensors["token_embd.weight"].shape[-1]))
    if config.get("kv_lora_rank"):
        config["qk_nope_head_dim"] = config.get("head_dim", 0) - config.get("qk_rope_head_dim", 0)
    head = sum(float(tensors[name].n_bytes) for name in _HEAD_TENSORS if name in tensors)
    total = sum(float(tensor.n_bytes) for tensor in reader.tensors)
    name = _text(reader, "general.name").strip() or path.stem
    sizes = {"name": name, "dtype": _file_format(reader), "file_layer_bytes": total - head, "file_head_bytes": head}
    return architecture_fields(config, str(path)) | sizes


def _open(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise FileError.at(str(path), "the package 'gguf' is not installed", "`pip install gguf`") from error
    try:
        return GGUFReader(path)
    except (ValueError, OSError, IndexError) as error:
        raise FileError.at(str(path), f"not a readable GGUF file ({error})", "a GGUF file of version 2 or 3") from error


def _text(reader: Any, key: str) -> str:
    field = reader.get_field(key)
    return "" if field is None else str(bytes(field.parts[field.data[0]]), "utf-8")


def _value(reader: Any, key: str) -> Any:
    """A whole number, or the list of them where a field has one per layer; None where the file has no such field."""
    field = reader.get_field(key)
    if field is None:
        return None
    values = [int(field.parts[index][0]) for index in field.data]
    return values[0] if len(values) == 1 else values


def _file_format(reader: Any) -> str:
    """The commonest format by elements: what the file is called after."""
    counts: dict[str, int] = {}
    for tensor in reader.tensors:
        name = {"F16": "fp16", "F32": "fp32", "BF16": "bf16"}.get(
            tensor.tensor_type.name, tensor.tensor_type.name.lower()
        )
        counts[name] = counts.get(name, 0) + int(tensor.n_elements)
    known = {name: count for name, count in counts.items() if name in DTYPES}
    return max(known, key=lambda name: known[name]) if known else "fp16"
