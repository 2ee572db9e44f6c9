"""query_latent_attention: a whole layer of MLA with its projections, measured for one model and carried to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from model.checkpoint.architecture import resolve_model
from model.tables.kernels import LATENT_CONTEXT, LATENT_GENERATION, Rates
from model.tables.library import Tables
from model.tables.shapes import latent_of

Build = Callable[..., Tables]
RATES = Rates(5e14, 4e12, 4e-5, 2.0, 2.0)
V3 = resolve_model("deepseek-ai/DeepSeek-V3")
LAYER = latent_of(V3)
HEADS, BATCH = [1.0, 16.0, 128.0], [1.0, 8.0, 64.0]
LENGTHS = [1.0, 128.0, 1024.0, 4096.0, 16384.0]
WEIGHT_BYTES = {"bf16": 2.0, "fp8_block": 1.0}


def part(phase: str, gemm_dtype: str = "fp8_block", factor: float = 1.2, **said: Any) -> dict[str, Any]:
    """A whole grid of one model's layer."""
    heads, batch, length = (axis.ravel() for axis in np.meshgrid(HEADS, BATCH, LENGTHS, indexing="ij"))
    keys = (WEIGHT_BYTES[gemm_dtype], *LAYER)
    own = {"engine": "vllm", "engine_version": "0.24.0", "dtype": "bf16", "kv_dtype": "bf16"}
    own |= {"op": f"mla_{phase}_module", "gemm_dtype": gemm_dtype, "model": V3.name}
    columns = {"heads": heads, "batch_size": batch, "isl": length, "prefix": 0.0 * heads}
    if phase == "context":
        seconds = LATENT_CONTEXT.formula(RATES, keys, [heads, batch, length, 0 * heads])
    else:
        seconds = LATENT_GENERATION.formula(RATES, keys, [heads, batch, length + 1])
        columns |= {"isl": 0.0 * heads + 1.0, "prefix": length}
    return {**own, **columns, "latency_s": factor * seconds, **said}


@pytest.mark.parametrize("phase", ["context", "generation"])
def test_measured_layers_are_answered_exactly(build_tables: Build, phase: str) -> None:
    rows = part(phase)
    at = rows["heads"] == 16
    tokens = rows["isl"] if phase == "context" else rows["prefix"] + 1
    answer = build_tables(rows).query_latent_attention(
        phase, ("fp8_block", "bf16"), LAYER, 16, rows["batch_size"][at], tokens[at]
    )
    np.testing.assert_allclose(answer.latency_s, rows["latency_s"][at], rtol=1e-12)
    assert set(answer.provenance) == {"measured"}


def test_formats_of_weights_tell_layers_apart(build_tables: Build) -> None:
    whole, block = part("generation", "bf16"), part("generation", "fp8_block")
    names = ("heads", "batch_size", "isl", "prefix", "latency_s")
    both = {name: np.concatenate([whole[name], block[name]]) for name in names}
    formats = np.repeat(np.array(["bf16", "fp8_block"], dtype=object), len(whole["heads"]))
    tables = build_tables({**whole, **both, "gemm_dtype": formats})
    asked = [tables.query_latent_attention("generation", (f, "bf16"), LAYER, 128, 1, 2) for f in ("bf16", "fp8_block")]
    assert asked[0].provenance == asked[1].provenance == ["measured"]
    assert asked[0].latency_s[0] > 1.4 * asked[1].latency_s[0]


def test_another_models_layer_is_carried_over_by_the_formula(build_tables: Build) -> None:
    lite = resolve_model("deepseek-ai/DeepSeek-V2-Lite")
    tables = build_tables(part("context"))
    own = tables.query_latent_attention("context", ("fp8_block", "bf16"), LAYER, 16, 8, 16384)
    other = tables.query_latent_attention("context", ("fp8_block", "bf16"), latent_of(lite), 16, 8, 16384)
    assert other.provenance == ["extrapolated"]
    assert other.latency_s[0] < own.latency_s[0]
    assert other.rel_sd[0] > own.rel_sd[0]


def test_a_later_chunk_takes_its_share_of_the_prompt(build_tables: Build) -> None:
    tables, formats = build_tables(part("context")), ("fp8_block", "bf16")
    parts = tables.query_latent_attention("context", formats, LAYER, 128, 8, 4096, np.arange(0, 16384, 4096.0))
    whole = tables.query_latent_attention("context", formats, LAYER, 128, 8, 16384)
    assert (np.diff(parts.latency_s) > 0).all()
    assert parts.latency_s.sum() == pytest.approx(whole.latency_s[0], rel=0.1)
    assert parts.provenance[1] == "interpolated"


@pytest.mark.parametrize("phase", ["context", "generation"])
def test_without_tables_a_layer_reads_its_weights_and_its_cache(build_tables: Build, phase: str) -> None:
    answer = build_tables().query_latent_attention(phase, ("bf16", "bf16"), LAYER, 128, 64, [16.0, 32768.0])
    weights = 2.0 * (LAYER.shared_weights + 128 * LAYER.head_weights) / 4.8e12
    cache = 2.0 * 64 * 32768 * LAYER.latent / 4.8e12
    assert answer.latency_s[0] >= weights
    assert answer.latency_s[1] >= cache
    assert set(answer.provenance) == {"roofline"}


def test_rows_without_a_known_model_are_not_used(build_tables: Build) -> None:
    tables = build_tables(part("context"), part("generation", model="nobody/nothing", factor=9.0))
    for phase, provenance in (("context", "measured"), ("generation", "roofline")):
        answer = tables.query_latent_attention(phase, ("fp8_block", "bf16"), LAYER, 16, 8, 1024)
        assert answer.provenance == [provenance]


def test_the_sizes_are_those_of_the_model() -> None:
    assert LAYER.shared_weights + V3.heads * LAYER.head_weights == V3.attention_params
    assert LAYER.latent == 576
