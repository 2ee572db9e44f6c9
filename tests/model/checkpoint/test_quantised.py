"""What quantised checkpoints leave in 16 bits, or have in a format of their own, in the words of each dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint.architecture import Architecture, load_model, resolve_model
from model.checkpoint.hf_config import architecture_fields
from model.checkpoint.parts import (
    ATTENTION,
    DENSE_MLP,
    EXPERTS,
    HEAD,
    LINEAR_ATTENTION,
    QUANTISED,
    ROUTER,
    SHARED_EXPERTS,
    usual_format,
)
from model.dtypes import DTYPES
from model.knobs import points_of
from model.load import load_of
from model.memory import memory
from perfdb.errors import ModelError
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Workload

DENSE: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 256,
    "torch_dtype": "bfloat16",
}
MIXTURE: dict[str, Any] = DENSE | {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_shared_experts": 1,
    "first_k_dense_replace": 2,
}
LATENT: dict[str, Any] = MIXTURE | {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}
HYBRID: dict[str, Any] = MIXTURE | {
    "full_attention_interval": 3,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_num_value_heads": 2,
    "linear_value_head_dim": 8,
}
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}
EIGHT = {"num_bits": 8, "type": "float", "strategy": "channel"}
FOUR = {"num_bits": 4, "type": "float", "group_size": 16}


def read(config: Mapping[str, Any], **quantised: Any) -> Architecture:
    return Architecture("m", **architecture_fields({**config, "quantization_config": quantised}, "config.json"))


def formats(found: Architecture) -> dict[str, str]:
    return {part: found.format_of(part) for part, weights in found.part_params.items() if weights}


def group(weights: Mapping[str, Any], activations: Mapping[str, Any] | None, *targets: str) -> dict[str, Any]:
    return {"targets": list(targets) or ["Linear"], "weights": weights, "input_activations": activations}


def test_only_routed_experts_of_kimi_k2_are_in_four_bits() -> None:
    ignore = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", r"re:.*mlp\.(gate|up|gate_up|down)_proj.*"]
    found = read(LATENT, quant_method="compressed-tensors", config_groups={"g": group(INT4, None)}, ignore=ignore)
    assert formats(found) == {part: "int4" if part == EXPERTS else "bf16" for part in formats(found)}
    assert found.format_of(HEAD) == "bf16"
    known = resolve_model("moonshotai/Kimi-K2.5")
    assert formats(known) == {part: "int4" if part == EXPERTS else "bf16" for part in formats(known)}
    experts = known.part_params[EXPERTS]
    assert known.bytes_per_weight()[0] == pytest.approx(
        (0.53 * experts + 2 * (sum(known.part_params.values()) - experts)) / sum(known.part_params.values())
    )


@pytest.mark.parametrize(
    ("weights", "activations", "wanted"),
    [
        (INT4, None, "int4"),
        (INT4, EIGHT, "int4_fp8"),
        (INT4 | {"num_bits": 8}, INT4 | {"num_bits": 8}, "int8"),
        (INT4 | {"num_bits": 8}, None, "int8_wo"),
        (EIGHT, EIGHT, "fp8"),
        (EIGHT | {"strategy": "block"}, EIGHT, "fp8_block"),
        (FOUR, FOUR, "nvfp4"),
        (FOUR, None, "nvfp4_wo"),
        (FOUR | {"group_size": 32}, FOUR, "mxfp4"),
    ],
)
def test_the_groups_of_compressed_tensors_say_the_format(
    weights: Mapping[str, Any], activations: Mapping[str, Any] | None, wanted: str
) -> None:
    found = read(DENSE, quant_method="compressed-tensors", config_groups={"group_0": group(weights, activations)})
    assert found.dtype == wanted
    assert set(formats(found).values()) == {wanted}


def test_groups_of_their_own_targets() -> None:
    groups = {"a": group(EIGHT, EIGHT, "re:.*self_attn.*"), "b": group(FOUR, FOUR, r"re:.*mlp\.experts.*")}
    found = read(MIXTURE, quant_method="compressed-tensors", config_groups=groups, ignore=["lm_head"])
    wanted = {ATTENTION: "fp8", EXPERTS: "nvfp4", DENSE_MLP: "bf16", SHARED_EXPERTS: "bf16", ROUTER: "bf16"}
    assert formats(found) == wanted
    assert found.dtype == "nvfp4"


@pytest.mark.parametrize("key", ["ignore", "exclude_modules"])
def test_model_optimizer_lists_modules_by_wildcard(key: str) -> None:
    listed = [f"model.layers.{layer}.self_attn*" for layer in range(6)] + ["model.layers.6*", "lm_head"]
    found = read(LATENT, quant_method="modelopt", quant_algo="NVFP4", **{key: listed})
    assert formats(found) == dict.fromkeys((DENSE_MLP, SHARED_EXPERTS, EXPERTS), "nvfp4") | dict.fromkeys(
        (ATTENTION, ROUTER), "bf16"
    )
    first = ["model.layers.0.mlp*", "model.layers.1.mlp*", "*self_attn*", "*shared_experts*"]
    assert read(LATENT, quant_method="modelopt", quant_algo="NVFP4", **{key: first}).format_of(DENSE_MLP) == "bf16"


def test_a_list_that_names_no_attention_has_it_quantised() -> None:
    told = read(MIXTURE, quant_method="modelopt", quant_algo="NVFP4", ignore=["lm_head", "model.layers.*.mlp.gate"])
    assert told.format_of(ATTENTION) == "nvfp4"
    assert read(MIXTURE, quant_method="modelopt", quant_algo="NVFP4").format_of(ATTENTION) == "bf16"
    assert read(DENSE, quant_method="modelopt", quant_algo="NVFP4").format_of(ATTENTION) == "nvfp4"


def test_most_projections_of_a_layer_decide() -> None:
    """NVIDIA's Qwen3-235B lists those of queries, keys and values, layer by layer."""
    names = [f"model.layers.{layer}.self_attn.{name}_proj" for layer in range(6) for name in "qkv"]
    assert read(MIXTURE, quant_method="modelopt", quant_algo="NVFP4", ignore=names).format_of(ATTENTION) == "bf16"
    assert read(MIXTURE, quant_method="modelopt", quant_algo="NVFP4", ignore=names[:6]).format_of(ATTENTION) == "nvfp4"


def test_mixed_precision_names_what_is_quantised() -> None:
    layers = {f"model.layers.{layer}.mlp.experts": {"quant_algo": "NVFP4"} for layer in range(2, 6)}
    layers |= {f"model.layers.{layer}.self_attn.q_proj": {"quant_algo": "FP8"} for layer in range(6)}
    found = read(MIXTURE, quant_method="modelopt", quant_algo="MIXED_PRECISION", quantized_layers=layers)
    assert (found.dtype, found.format_of(ATTENTION), found.format_of(DENSE_MLP)) == ("nvfp4", "bf16", "bf16")


@pytest.mark.parametrize("key", ["modules_to_not_convert", "ignored_layers"])
def test_fp8_lists_parts_of_names(key: str) -> None:
    block = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    gates = read(MIXTURE, **block, **{key: ["gate", "e_score_correction_bias", "lm_head"]})
    assert set(formats(gates).values()) == {"fp8_block", "bf16"}
    assert [part for part, name in formats(gates).items() if name == "bf16"] == [ROUTER]
    some = read(HYBRID, **block, **{key: ["linear_attn", "model.layers.2.self_attn", "model.layers.5.self_attn"]})
    assert (some.format_of(LINEAR_ATTENTION), some.format_of(ATTENTION)) == ("bf16", "bf16")
    assert some.format_of(EXPERTS) == "fp8_block"


def test_awq_and_gptq() -> None:
    awq = read(MIXTURE, quant_method="awq", bits=4, modules_to_not_convert=["self_attn", "mlp.gate."])
    assert (awq.format_of(ATTENTION), awq.format_of(EXPERTS)) == ("bf16", "int4")
    dynamic = {r"-:.*self_attn.*": {}, r"+:.*shared_expert.*": {"bits": 8}}
    gptq = read(MIXTURE, quant_method="gptq", bits=4, dynamic=dynamic)
    assert (gptq.format_of(ATTENTION), gptq.format_of(SHARED_EXPERTS)) == ("bf16", "int8")
    assert gptq.format_of(EXPERTS) == "int4"


def test_gpt_oss_and_w4afp8() -> None:
    listed = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    told = read(MIXTURE, quant_method="mxfp4", modules_to_not_convert=listed)
    assert (told.format_of(ATTENTION), told.format_of(EXPERTS)) == ("bf16", "mxfp4")
    assert read(MIXTURE, quant_method="mxfp4").format_of(ATTENTION) == "bf16"
    mixed = read(LATENT, quant_method="w4afp8")
    assert (mixed.format_of(ATTENTION), mixed.format_of(EXPERTS)) == ("fp8_block", "int4_fp8")


def test_formats_in_a_file_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(DENSE))
    said = {"quantization": {"quant_algo": "FP8", "exclude_modules": ["*self_attn*"]}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(said))
    found = load_model(tmp_path)
    assert (found.dtype, found.format_of(ATTENTION)) == ("fp8", "bf16")


@pytest.mark.parametrize(
    ("quantised", "said"),
    [
        ({"quant_method": "magic"}, "number format 'magic'"),
        ({"quant_method": "fp8", "ignored_layers": ["re:("]}, "bad pattern"),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": group({"num_bits": 3}, None)}}, "3 bits"),
    ],
)
def test_what_has_no_meaning_is_refused(quantised: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        read(DENSE, **quantised)


@given(st.sampled_from(sorted(DTYPES)), st.booleans(), st.sampled_from([*QUANTISED, ROUTER, HEAD]))
def test_usual_formats_never_have_fewer_bits_than_said(number_format: str, is_mixture: bool, part: str) -> None:
    found = DTYPES[usual_format(number_format, part, is_mixture)]
    assert found.bytes >= DTYPES[number_format].bytes
    assert usual_format(found.name, EXPERTS, is_mixture) == found.name


@given(st.sets(st.sampled_from(["self_attn", "shared_experts", "experts", "mlp.gate"])))
def test_weights_take_the_bytes_of_their_parts(left: set[str]) -> None:
    """Each part's bytes add up to the mean, and to what a device must hold."""
    found = read(MIXTURE, quant_method="fp8", modules_to_not_convert=sorted(left))
    total = sum(weights * found.part_bytes(part) for part, weights in found.part_params.items())
    mean = found.bytes_per_weight()[0]
    assert mean * sum(found.part_params.values()) == pytest.approx(total)
    assert (found.part_bytes(ATTENTION) == 2.0) == ("self_attn" in left)
    load = load_of(Workload(10, 10, Arrival.CLOSED, 1), 1)
    points = points_of(found, platform("h200_sxm"), engine("vllm"), 1, Grid.of([{}]), load)
    head = 2.0 * found.head_params
    assert memory(points).weights[0] == pytest.approx(mean * found.layer_params + head)
    assert (points.bytes_of(EXPERTS) == found.part_bytes(EXPERTS)).all()


def test_what_is_left_in_16_bits_is_multiplied_so() -> None:
    found = read(MIXTURE, quant_method="fp8", modules_to_not_convert=["self_attn"])
    load = load_of(Workload(10, 10, Arrival.CLOSED, 1), 2)
    grid = Grid.of([{}, {"quantization": "bf16"}])
    points = points_of(found, platform("h200_sxm"), engine("vllm"), 1, grid, load)
    peak = platform("h200_sxm").flops
    assert np.allclose(points.flops_of(ATTENTION), peak["bf16"])
    assert np.allclose(points.flops_of(EXPERTS), [peak["fp8"], peak["bf16"]])
    assert (points.flops_of("") == points.gemm_flops).all()
