"""Which configs are described, and that no other passes for one: it is refused by the name of what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from model.checkpoint.families import DESCRIBED
from model.checkpoint.hf_config import architecture_fields
from perfdb.errors import ModelError
from perfdb.facts.models import MODELS

SIZES = {
    "hidden_size": 4096, "num_hidden_layers": 4, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 14336, "vocab_size": 128256,
}  # fmt: skip


@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "Yi", "gpt-oss", "command-r", "qwen2_5_vl", "", None])
def test_decoders_are_described_however_they_are_spelt(family: str | None) -> None:
    assert architecture_fields({"model_type": family, **SIZES}, "config.json")["layers"] == 4


def test_every_known_model_is_of_a_described_family_or_says_what_it_is() -> None:
    for facts in MODELS.values():
        if facts.unsupported:
            continue
        assert architecture_fields(facts.config, facts.name)["hidden"] > 0


@pytest.mark.parametrize(
    ("family", "missing"),
    [
        ("mamba", "state-space"),
        ("falcon-mamba", "state-space"),
        ("t5", "an encoder and attention across"),
        ("bert", "layers of an encoder"),
        ("XLM-RoBERTa", "layers of an encoder"),
        ("whisper", "an encoder and attention across"),
        ("mllama", "cross-attention to images"),
        ("lfm2", "convolution"),
        ("minimax_text_01", "lightning attention"),
        ("minimax", "lightning attention in every other layer"),
        ("foo", "nothing says what the layers of model_type 'foo' are"),
    ],
)
def test_other_families_are_refused_by_the_name_of_what_is_missing(family: str, missing: str) -> None:
    with pytest.raises(ModelError, match=f"here: its architecture cannot be predicted: {missing}") as caught:
        architecture_fields({"model_type": family, **SIZES}, "here")
    assert "expected" in str(caught.value)


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ({"attn_type_list": [0, 0, 0, 1]}, "lightning attention"),
        ({"layer_types": ["full_attention", "mamba", "conv", "mamba"]}, "layers of kind 'conv', 'mamba'"),
        ({"cross_attention_layers": [3]}, "cross-attention"),
        ({"is_encoder_decoder": True}, "an encoder"),
        ({"encoder_layers": 6}, "layers of an encoder"),
        ({"ssm_state_size": 16}, "Mamba"),
        ({"conv_L_cache": 3}, "convolution"),
        ({"num_swa_attention_heads": 20}, "heads of differing number"),
        ({"word_embed_proj_dim": 512}, "embeddings narrower than the layers"),
    ],
)
def test_fields_that_speak_of_other_layers_are_refused_in_any_family(said: dict[str, Any], missing: str) -> None:
    with pytest.raises(ModelError, match=missing):
        architecture_fields({"model_type": "llama", **SIZES, **said}, "here")


@pytest.mark.parametrize(
    "said",
    [
        {"attn_type_list": [1, 1, 1, 1]},
        {"cross_attention_layers": []},
        {"is_encoder_decoder": False},
        {"word_embed_proj_dim": 4096},
    ],
)
def test_fields_that_speak_of_none_are_not(said: dict[str, Any]) -> None:
    assert architecture_fields({"model_type": "llama", **SIZES, **said}, "here")["layers"] == 4


def test_the_part_that_writes_decides_unless_the_whole_has_other_layers() -> None:
    seeing = {"model_type": "some_new_vision_model", "text_config": {"model_type": "qwen3", **SIZES}}
    assert architecture_fields(seeing, "here")["layers"] == 4
    crossing = {"model_type": "mllama", "text_config": {"model_type": "llama", **SIZES}}
    with pytest.raises(ModelError, match="cross-attention"):
        architecture_fields(crossing, "here")


def test_experts_by_the_names_of_ernie() -> None:
    said = {"moe_num_experts": 64, "moe_k": 6, "moe_intermediate_size": 1536, "moe_num_shared_experts": 2}
    found = architecture_fields({"model_type": "ernie4_5_moe", **SIZES, **said}, "here")
    assert (found["experts"], found["top_k"], found["shared_intermediate"]) == (64, 6, 3072)


def test_no_family_is_both() -> None:
    for family in DESCRIBED:
        architecture_fields({"model_type": family, "layer_types": ["full_attention"] * 4, **SIZES}, "here")
