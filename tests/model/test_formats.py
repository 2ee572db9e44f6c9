"""Number formats of checkpoints and what an engine's words mean for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.architecture import load_model, resolve_model
from model.knobs import points_of
from model.load import load_of
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
