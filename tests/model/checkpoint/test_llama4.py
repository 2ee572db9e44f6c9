"""Llama-4's own config.json, nested and with fields of its own, is read as what is known of the models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint.architecture import Architecture, load_model, resolve_model
from model.checkpoint.hf_config import architecture_fields
from model.checkpoint.parts import ATTENTION, DENSE_MLP, EXPERTS, SHARED_EXPERTS
from perfdb.errors import ModelError

LAYERS = 48
TEXT: dict[str, Any] = {
    "attention_chunk_size": 8192, "head_dim": 128, "hidden_act": "silu", "hidden_size": 5120,
    "interleave_moe_layer_step": 1, "intermediate_size": 8192, "intermediate_size_mlp": 16384,
    "max_position_embeddings": 10485760, "model_type": "llama4_text", "no_rope_layers": [1, 1, 1, 0] * 12,
    "num_attention_heads": 40, "num_experts_per_tok": 1, "num_hidden_layers": LAYERS, "num_key_value_heads": 8,
    "num_local_experts": 16, "vocab_size": 202048,
    "rope_scaling": {"factor": 16.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
}  # fmt: skip
MAVERICK = {
    "interleave_moe_layer_step": 2, "num_local_experts": 128, "max_position_embeddings": 1048576, "rope_scaling": None
}  # fmt: skip
SMALL: dict[str, Any] = {
    "model_type": "llama4_text", "attention_chunk_size": 32768, "head_dim": 64, "hidden_size": 1536,
    "interleave_moe_layer_step": 0, "intermediate_size": 8192, "intermediate_size_mlp": 6144, "moe_layers": [],
    "layer_types": ["full_attention"] * 22, "no_rope_layers": [1] * 22, "num_attention_heads": 24,
    "num_experts_per_tok": 0, "num_local_experts": 0, "num_hidden_layers": 22, "num_key_value_heads": 6,
    "vocab_size": 128256, "tie_word_embeddings": True,
}  # fmt: skip


def read(folder: Path, **text: Any) -> Architecture:
    """The model of a config.json as Meta's repositories have it."""
    vision = {
        "hidden_size": 1408,
        "num_hidden_layers": 34,
        "num_attention_heads": 16,
        "model_type": "llama4_vision_model",
    }
    config = {
        "model_type": "llama4",
        "torch_dtype": "bfloat16",
        "vision_config": vision,
        "text_config": {**TEXT, **text},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return load_model(folder)


def read_text(**text: Any) -> Architecture:
    return Architecture("x", **architecture_fields({**TEXT, **text}, "config.json"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Llama-4-Scout", {}),
        ("Llama-4-Scout", {"moe_layers": list(range(LAYERS))}),
        ("Llama-4-Scout", {"no_rope_layers": []}),
        ("Llama-4-Scout", {"layer_types": (["chunked_attention"] * 3 + ["full_attention"]) * 12}),
        ("Llama-4-Maverick", MAVERICK),
        ("Llama-4-Maverick", {**MAVERICK, "moe_layers": list(range(1, LAYERS, 2))}),
    ],
)
def test_the_files_of_a_model_say_what_is_known_of_it(tmp_path: Path, name: str, text: dict[str, Any]) -> None:
    known = resolve_model(name)
    assert replace(read(tmp_path, **text), name=known.name) == known


@pytest.mark.parametrize("said", [{}, {"interleave_moe_layer_step": 1}, {"moe_layers": None}])
def test_a_model_without_experts_has_the_size_that_is_in_its_name(said: dict[str, Any]) -> None:
    """MobileLLM-R1-950M, of the same family: dense MLPs, and attention to all tokens."""
    found = Architecture("x", **architecture_fields({**SMALL, **said}, "config.json"))
    assert found.params == pytest.approx(950e6, rel=0.01)
    assert (found.experts, found.moe_layers, found.sliding_layers) == (0, 0, 0)


def test_layers_attend_as_their_positions_say() -> None:
    assert read_text(attention_chunk_size=None).sliding_layers == 0
    assert read_text(no_rope_layers=None, no_rope_layer_interval=6).sliding_layers == 40
    assert (read_text(no_rope_layers=[1] * LAYERS).sliding_layers, read_text().sliding_window) == (48, 8192)


def test_what_is_quantised_of_a_checkpoint_is_read_by_its_own_names() -> None:
    floats = {"num_bits": 8, "type": "float", "strategy": "channel"}
    quantised = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": floats, "input_activations": floats, "targets": ["Linear"]}},
        "ignore": ["re:.*self_attn", "re:.*router", "re:.*vision_model.*", "re:.*feed_forward[.][a-z]+_proj"],
    }
    found = read_text(**MAVERICK, quantization_config=quantised)
    formats = {part: found.format_of(part) for part in (ATTENTION, DENSE_MLP, SHARED_EXPERTS, EXPERTS)}
    assert formats == {ATTENTION: "bf16", DENSE_MLP: "bf16", SHARED_EXPERTS: "fp8", EXPERTS: "fp8"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ({"no_rope_layers": 4}, "field 'no_rope_layers' is 4; expected a list"),
        ({"no_rope_layers": [1, 0]}, "field 'no_rope_layers' has 2 items; expected 48"),
        ({"no_rope_layers": [1, 2] * 24}, "field 'no_rope_layers' has 2; expected whole numbers from 0 to 1"),
        ({"moe_layers": [48]}, "field 'moe_layers' has 48; expected whole numbers from 0 to 47"),
        ({"interleave_moe_layer_step": -1}, "field 'interleave_moe_layer_step' has -1"),
        ({"num_local_experts": None}, "field 'num_local_experts' is missing"),
        ({"intermediate_size": None}, "field 'intermediate_size' is missing"),
        ({"layer_types": ["chunked_attention", "sliding_attention"] * 24}, "chunked attention beside a sliding window"),
    ],
)
def test_what_cannot_be_read_is_said(text: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence.replace("[", r"\[")):
        read_text(**text)
