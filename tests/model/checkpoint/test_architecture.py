"""Architectures from known names, folders and weight files, against numbers that their makers published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from model.checkpoint.architecture import Architecture, load_model, resolve_model
from model.dtypes import dtype, peak_flops
from perfdb.errors import FileError, ModelError, UnknownNameError

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def folder(path: Path, config: dict[str, Any]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("meta-llama/Llama-3.1-8B", 8_030_261_248, 8_030_261_248),
        ("meta-llama/Llama-2-7b-hf", 6_738_415_616, 6_738_415_616),
        ("meta-llama/Llama-3.1-70B", 70.55e9, 70.55e9),
        ("Qwen/Qwen2.5-0.5B", 0.494e9, 0.494e9),
        ("mistralai/Mixtral-8x7B-v0.1", 46.7e9, 12.9e9),
        ("Qwen/Qwen3-30B-A3B", 30.5e9, 3.35e9),
        ("deepseek-ai/DeepSeek-V3", 671e9, 37.5e9),
        ("deepseek-ai/DeepSeek-V2-Lite", 15.7e9, 2.7e9),
        ("facebook/opt-6.7b", 6.66e9, 6.66e9),
    ],
)
def test_parameter_counts_are_the_published_ones(name: str, total: float, active: float) -> None:
    found = resolve_model(name)
    assert found.params == pytest.approx(total, rel=0.01)
    assert found.active_params == pytest.approx(active, rel=0.03)


def test_llama_3_1_8b_to_the_weight() -> None:
    found = resolve_model("meta-llama/Llama-3.1-8B")
    assert found.params == 8_030_261_248
    assert (found.kv_elements(np.array([1.0, 16.0])) == [131_072 / 2, 2 * 32 * 1 * 128]).all()
    assert found.bytes_per_weight() == (2, 2)
    assert found.bytes_per_weight("fp8") == (1, 2)


def test_mla_keeps_one_latent_vector_per_token() -> None:
    found = resolve_model("deepseek-ai/DeepSeek-V3")
    assert found.is_mla
    assert (found.kv_elements(np.array([1.0, 8.0])) == 61 * (512 + 64)).all()


def test_a_folder_is_read_and_named_after_itself(tmp_path: Path) -> None:
    found = resolve_model(str(folder(tmp_path / "my-llama", LLAMA)))
    assert found.name == "my-llama"
    assert found.params == 8_030_261_248
    assert resolve_model(str(tmp_path / "my-llama" / "config.json")) == found


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    where = folder(tmp_path / "m", LLAMA)
    first = load_model(where)
    folder(where, LLAMA | {"num_hidden_layers": 16})
    assert (first.layers, load_model(where).layers) == (32, 16)


@pytest.mark.parametrize(
    "field", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size"]
)
def test_a_missing_field_is_named_with_its_file(tmp_path: Path, field: str) -> None:
    where = folder(tmp_path / "m", {name: value for name, value in LLAMA.items() if name != field})
    with pytest.raises(ModelError, match=rf"config\.json: field '{field}'.*missing"):
        load_model(where)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"hidden_size": "big"}, "hidden_size"),
        ({"num_local_experts": 8}, "num_experts_per_tok"),
        ({"kv_lora_rank": 512}, "qk_rope_head_dim"),
        ({"quantization_config": {"quant_method": "magic"}}, "magic"),
    ],
)
def test_a_field_without_a_meaning_is_refused(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelError, match=text):
        load_model(folder(tmp_path / "m", LLAMA | change))


def test_unknown_names_and_missing_paths_say_what_would_be_right(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*Llama-3"):
        resolve_model("meta-llama/Llama-3.1-8C")
    with pytest.raises(FileError, match="no such file"):
        resolve_model(str(tmp_path / "nothing.gguf"))
    with pytest.raises(FileError, match=r"no config\.json"):
        resolve_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FileError, match="not readable as JSON"):
        resolve_model(str(tmp_path))


def test_what_families_call_things(tmp_path: Path) -> None:
    gpt = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}
    found = load_model(folder(tmp_path / "gpt", gpt))
    assert (found.intermediate, found.tied, found.gated, found.kv_heads) == (3072, True, False, 12)
    uneven = LLAMA | {"num_key_value_heads": [8, 4, 4, 8]}
    assert load_model(folder(tmp_path / "uneven", uneven)).kv_heads == 6
    wrapped = {"model_type": "vlm", "text_config": LLAMA}
    assert load_model(folder(tmp_path / "vlm", wrapped)).params == 8_030_261_248


def test_windows_and_layers_without_a_cache(tmp_path: Path) -> None:
    kinds = ["sliding_attention", "full_attention"] * 16
    found = load_model(folder(tmp_path / "a", LLAMA | {"sliding_window": 1024, "layer_types": kinds}))
    assert (found.sliding_window, found.sliding_layers) == (1024, 16)
    off = load_model(folder(tmp_path / "b", LLAMA | {"sliding_window": 1024, "use_sliding_window": False}))
    assert off.sliding_layers == 0
    assert resolve_model("google/gemma-2-9b").sliding_layers == 21
    linear = {
        "full_attention_interval": 4,
        "linear_num_key_heads": 16,
        "linear_key_head_dim": 128,
        "linear_num_value_heads": 32,
        "linear_value_head_dim": 128,
    }
    mixed = load_model(folder(tmp_path / "c", LLAMA | linear))
    assert (mixed.linear_layers, mixed.attention_layers) == (24, 8)
    assert mixed.kv_elements(np.ones(1))[0] * 2 == 131_072 / 4


def test_quantised_checkpoints_say_so(tmp_path: Path) -> None:
    four = LLAMA | {"quantization_config": {"quant_method": "awq", "bits": 4}}
    found = load_model(folder(tmp_path / "q", four))
    assert found.dtype == "int4"
    assert found.bytes_per_weight() == (0.53, 2)


SPARSE = {
    "kv_lora_rank": 512, "q_lora_rank": 1024, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "index_topk": 2048, "index_n_heads": 32, "index_head_dim": 128,
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "own"),
    [
        ({}, 32),
        ({"index_topk_freq": 4, "index_skip_topk_offset": 3}, 10),
        ({"indexer_types": ["full", "shared"] * 16}, 16),
    ],
)
def test_indexers_of_sparse_attention(said: dict[str, Any], own: int, tmp_path: Path) -> None:
    """GLM-5.2: the first three layers and every fourth choose, the others take the last choice."""
    found = load_model(folder(tmp_path / "s", LLAMA | SPARSE | said))
    plain = load_model(folder(tmp_path / "p", LLAMA | {k: v for k, v in SPARSE.items() if k != "index_topk"}))
    assert (found.index_topk, found.index_layers) == (2048, own)
    indexer = 1024 * 32 * 128 + 4096 * (128 + 32)
    assert found.params - plain.params == pytest.approx(own * indexer)
    assert plain.index_layers == 0


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"compress_ratios": [0, 4]}, "compressed sparse attention"),
        ({"hybrid_override_pattern": "ME*"}, "Mamba-2"),
        ({"linear_attn_config": {"full_attn_layers": [4]}}, "delta attention"),
    ],
)
def test_layers_that_nothing_describes_are_refused(said: dict[str, Any], kind: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=kind):
        load_model(folder(tmp_path / "x", LLAMA | said))


def test_layers_with_experts_may_be_listed(tmp_path: Path) -> None:
    moe = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
    assert load_model(folder(tmp_path / "l", LLAMA | moe | {"moe_layer_freq": [0] * 3 + [1] * 29})).moe_layers == 29
    assert load_model(folder(tmp_path / "f", LLAMA | moe | {"decoder_sparse_step": 2})).moe_layers == 16


def write_gguf(path: Path, vocab: int = 64, wide: int = 32) -> None:
    """A Llama of two layers with a Q8_0 body and an F16 head."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("toy")
    writer.add_block_count(2)
    writer.add_embedding_length(wide)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_feed_forward_length(64)
    writer.add_context_length(512)
    q8 = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("token_embd.weight", np.zeros((vocab, wide), np.float16))
    for layer in range(2):
        for name, rows in (("attn_q", wide), ("attn_k", 16), ("attn_v", 16), ("attn_output", wide), ("ffn_gate", 64),
                           ("ffn_up", 64)):  # fmt: skip
            body = gguf.quantize(np.zeros((rows, wide), np.float32), q8)
            writer.add_tensor(f"blk.{layer}.{name}.weight", body, raw_dtype=q8)
        body = gguf.quantize(np.zeros((wide, 64), np.float32), q8)
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", body, raw_dtype=q8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_answers_with_its_real_sizes(tmp_path: Path) -> None:
    write_gguf(tmp_path / "toy.gguf")
    found = resolve_model(str(tmp_path / "toy.gguf"))
    assert isinstance(found, Architecture)
    body = 2 * (32 * 32 * 2 + 2 * 16 * 32 + 3 * 64 * 32)
    assert (found.name, found.layers, found.kv_heads, found.vocab, found.tied) == ("toy", 2, 2, 64, True)
    assert found.dtype == "q8_0"
    assert found.file_layer_bytes == body * 34 / 32
    assert found.file_head_bytes == 64 * 32 * 2
    assert found.bytes_per_weight()[0] == pytest.approx(found.file_layer_bytes / found.layer_params)
    assert found.bytes_per_weight("Q4_0")[0] < found.bytes_per_weight()[0]


def test_not_a_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GARBAGE" * 100)
    with pytest.raises(FileError, match="not a readable GGUF"):
        resolve_model(str(tmp_path / "bad.gguf"))


def test_number_formats() -> None:
    assert dtype("bfloat16").name == "bf16"
    assert dtype("Q4_0").bytes == 18 / 32
    assert peak_flops({"bf16": 1.0, "fp8": 2.0}, dtype("fp8")) == 2.0
    assert peak_flops({"bf16": 1.0}, dtype("fp8")) == 1.0
    with pytest.raises(UnknownNameError, match="number format"):
        dtype("fp9")
