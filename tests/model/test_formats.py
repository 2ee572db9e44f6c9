"""Number formats of checkpoints and what an engine's words mean for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.checkpoint.architecture import load_model, resolve_model
from model.knobs import points_of
from model.load import load_of
from model.points import Points
from perfdb.errors import UnknownNameError
from perfdb.facts.engines import engine
from perfdb.facts.models import model_config
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Workload


@pytest.mark.parametrize(
    ("quantised", "wanted"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block"),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": None}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, "int4_fp8"),
        ({"quant_method": "modelopt"}, "fp8"),
    ],
)
def test_a_checkpoint_says_how_its_weights_are_scaled(
    quantised: dict[str, object], wanted: str, tmp_path: Path
) -> None:
    """Kernels of the two take up to six times each other's time."""
    config = {**dict(model_config("meta-llama/Llama-3.1-8B")), "quantization_config": quantised}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_model(tmp_path).dtype == wanted


@pytest.mark.parametrize(
    ("model", "asked", "wanted"),
    [
        ("deepseek-ai/DeepSeek-V3", "fp8", "fp8_block"),
        ("meta-llama/Llama-3.1-8B", "fp8", "fp8"),
        ("openai/gpt-oss-120b", "fp4", "mxfp4"),
        ("deepseek-ai/DeepSeek-V3", "nvfp4", "nvfp4"),
    ],
)
def test_a_checkpoint_in_the_format_asked_for_stays_as_it_is(model: str, asked: str, wanted: str) -> None:
    grid = Grid.of([{"quantization": asked}])
    load = load_of(Workload(100, 10, Arrival.CLOSED, 1), 1)
    found = points_of(resolve_model(model), platform("h200_sxm"), engine("vllm"), 1, grid, load)
    assert found.weight_names == (wanted,)


@pytest.mark.parametrize(
    ("served_by", "name", "known", "unknown"),
    [
        ("vllm", "kv_cache_dtype", {"auto": 2, "bfloat16": 2, "fp8": 1, "FP8_E5M2": 1, "nvfp4": 0.5625}, "q8_0"),
        ("sglang", "kv_cache_dtype", {"bf16": 2, "fp8_e4m3": 1, "fp8": 1, "fp4_e2m1": 0.53125}, "int8"),
        ("trtllm", "kv_cache_dtype", {"int8": 1, "fp8": 1, "bf16": 2}, "fp4_e2m1"),
        ("llamacpp", "kv_type", {"f16": 2, "q8_0": 8.5 / 8, "iq4_nl": 4.5 / 8}, "fp8"),
        ("llamacpp", "cache_type_k", {"q4_0": 4.5 / 8}, "banana"),
    ],
)
def test_each_engine_has_its_own_formats_of_the_cache(
    served_by: str, name: str, known: dict[str, float], unknown: str
) -> None:
    facts, load = engine(served_by), load_of(Workload(100, 10, Arrival.CLOSED, 1), len(known))

    def points(*values: str) -> Points:
        grid = Grid.of([{name: value} for value in values])
        return points_of(resolve_model("Qwen/Qwen3-8B"), platform("h200_sxm"), facts, 1, grid, load)

    assert points(*known).kv_bytes.tolist() == list(known.values())
    for wrong in (unknown, "banana"):
        with pytest.raises(UnknownNameError) as refused:
            points(*[*list(known)[1:], wrong])
        assert str(refused.value).startswith(f"unknown KV cache dtype of {served_by} ")
        listed = str(refused.value).split("known: ")[1].split(", ")
        assert listed == sorted(facts.parameters[name].values)
        assert not {"q4_k_m", "fp8_block", unknown} & set(listed)


def test_weights_of_a_wrong_format_are_told_those_of_the_engine() -> None:
    load = load_of(Workload(100, 10, Arrival.CLOSED, 1), 1)
    for served_by, has, has_not in (("vllm", "fp8_block", "q4_k_m"), ("llamacpp", "q4_k_m", "fp8_block")):
        grid = Grid.of([{"quantization": "banana"}])
        with pytest.raises(UnknownNameError, match="unknown number format 'banana'") as refused:
            points_of(resolve_model("Qwen/Qwen3-8B"), platform("h200_sxm"), engine(served_by), 1, grid, load)
        assert has in str(refused.value)
        assert has_not not in str(refused.value)
