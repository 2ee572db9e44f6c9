"""Step times: tabulated once per config, and the same as asking every kernel (FEATURES S1.20: sum equals total)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.simulate.costs import step_s
from model.steps.layers import Sharding
from model.steps.overheads import Overheads
from model.steps.small import AICONFIGURATOR, OURS
from model.steps.tabulate import Part, StepModel
from model.tables.kernels import CONTEXT, GEMM, GENERATION, Rates
from model.tables.library import Tables
from model.tables.said import listening

Build = Callable[..., Tables]
NOTHING = Overheads(0.0, 0.0, 0.0, 0.0, 0.0)
LLAMA = resolve_model("meta-llama/Llama-3.1-8B")
SAID = {"engine": "vllm", "engine_version": "0.24.0", "dtype": "bf16"}
RATES = Rates(6e14, 4e12, 4e-6)


def mesh(*axes: Any) -> list[np.ndarray]:
    return [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]


def tables(build_tables: Build) -> Tables:
    """Products and attention of an 8B model, a little slower than their formulas."""
    m, n, k = mesh(2.0 ** np.arange(0, 15), [1024.0, 4096, 6144, 32768, 131072], [1024.0, 4096, 16384])
    heads, batch, isl = mesh([8.0, 32.0], [1.0, 8, 64], 2.0 ** np.arange(0, 16))
    some, many, cached = mesh([8.0, 32.0], 2.0 ** np.arange(0, 11), 2.0 ** np.arange(1, 18))
    slice_ = {"kv_heads": 8.0, "head_dim": 128.0, "window_size": 0.0, "kv_dtype": "bf16"}
    key = (128.0, 0.0, 8.0)
    return build_tables(
        {**SAID, "op": "gemm", "m": m, "n": n, "k": k, "latency_s": 1.1 * GEMM.formula(RATES, (), [m, n, k])},
        {
            **SAID, **slice_, "op": "context_attention", "heads": heads, "batch_size": batch, "isl": isl, "prefix": 0.0,
            "latency_s": 1.2 * CONTEXT.formula(RATES, key, [heads, batch, isl, 0.0 * isl]),
        },
        {
            **SAID, **slice_, "op": "generation_attention", "heads": some, "batch_size": many, "isl": 1.0,
            "prefix": cached - 1, "latency_s": 1.3 * GENERATION.formula(RATES, key, [some, many, cached]),
        },
    )  # fmt: skip


@pytest.fixture
def llama(build_tables: Build) -> StepModel:
    return StepModel(tables(build_tables), LLAMA, Sharding(), "bf16", "bf16", "bf16", NOTHING)


def total(parts: Iterable[Part]) -> float:
    return float(np.sum([part.seconds for part in parts]))


def one(*numbers: float) -> list[np.ndarray]:
    return [np.array([number]) for number in numbers]


relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@relaxed
@given(decodes=st.integers(1, 256), cached=st.integers(1, 60_000))
def test_a_decoding_step_is_the_sum_of_its_kernels(llama: StepModel, decodes: int, cached: int) -> None:
    asked = total(llama.by_tokens(*one(decodes))) + total(llama.by_sequences(*one(decodes)))
    asked += total(llama.decoding(*one(decodes, cached)))
    costs = llama.costs(8192, 256)
    assert step_s(costs, decodes, decodes, 0.0, 0.0, float(decodes), float(cached)) == pytest.approx(asked, rel=0.04)


@relaxed
@given(chunk=st.integers(1, 8192), past=st.sampled_from([0, 0, 1000, 8192, 50_000]))
def test_a_prompt_step_is_the_sum_of_its_kernels(llama: StepModel, chunk: int, past: int) -> None:
    asked = total(llama.by_tokens(*one(chunk))) + total(llama.by_sequences(*one(1)))
    asked += total(llama.prompts(*one(1, chunk, past)))
    costs = llama.costs(8192, 256)
    assert step_s(costs, chunk, 1, float(chunk), float(past), 0.0, 0.0) == pytest.approx(asked, rel=0.05)


def test_a_mixed_step_adds_prompts_and_decoding(llama: StepModel) -> None:
    costs = llama.costs(8192, 256)
    mixed = step_s(costs, 1056, 33, 1024.0, 0.0, 32.0, 4096.0)
    prompts, decoding = total(llama.prompts(*one(1, 1024, 0))), total(llama.decoding(*one(32, 4096)))
    rest = total(llama.by_tokens(*one(1056))) + total(llama.by_sequences(*one(33)))
    assert mixed == pytest.approx(prompts + decoding + rest, rel=0.01)


def test_more_tokens_longer_caches_and_more_sequences_never_take_less(llama: StepModel) -> None:
    costs = llama.costs(8192, 256)
    assert (np.diff(costs.tokens) >= -1e-12).all()
    assert (np.diff(costs.sequences) >= -1e-12).all()
    assert (np.diff(costs.apart.generation, axis=0) >= 0).all()
    assert (np.diff(costs.apart.generation, axis=1) >= 0).all()
    assert (np.diff(costs.apart.context, axis=2) >= 0).all()
    assert costs.tokens[0] == costs.sequences[0] == 0.0


def test_an_engines_own_time_is_added(llama: StepModel) -> None:
    busy = replace(llama, overheads=Overheads(1.0, 1.0, 3e-5, 4e-6, 1e-4))
    extra = [step_s(model.costs(64, 8), 8, 8, 0.0, 0.0, 8.0, 100.0) for model in (busy, llama)]
    assert extra[0] - extra[1] == pytest.approx(3e-5 * LLAMA.layers + 4e-6 * 8 + 1e-4)


def test_small_kernels_follow_a_named_convention(llama: StepModel) -> None:
    theirs = replace(llama, small=AICONFIGURATOR)
    ours = {part.name: part.seconds[0] for part in llama.by_tokens(*one(64))}
    other = {part.name: part.seconds[0] for part in theirs.by_tokens(*one(64))}
    changed = {name for name in ours if ours[name] != other[name]}
    assert changed == {"norms", "embedding", "mlp_activation"}
    norms = 2 * LLAMA.layers * (AICONFIGURATOR.launch_s - OURS.launch_s)
    assert other["norms"] - ours["norms"] == pytest.approx(norms)
    more = total(theirs.prompts(*one(1, 64, 0))) - total(llama.prompts(*one(1, 64, 0)))
    assert more == pytest.approx(LLAMA.layers * AICONFIGURATOR.attention_s)


@pytest.mark.parametrize(
    "name", ["meta-llama/Llama-3.1-8B", "Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V3", "google/gemma-3-27b-it"]
)
def test_every_kind_of_model_has_step_times_without_any_table(build_tables: Build, name: str) -> None:
    model = resolve_model(name)
    for sharding in (Sharding(), Sharding(8, 1, 8 if model.moe_layers else 1), Sharding(2, 2)):
        steps = StepModel(build_tables(), model, sharding, "fp8", "bf16", "bf16", NOTHING)
        costs = steps.costs(512, 64)
        for values in (costs.tokens, costs.sequences, costs.apart.context, costs.apart.generation):
            assert np.isfinite(values).all()
        read = model.active_params / sharding.tp
        assert step_s(costs, 1, 1, 0.0, 0.0, 1.0, 100.0) > 0.5 * read / 4.8e12
        assert {part.code[0] for part in steps.by_tokens(*one(8))} == {3}


def test_four_devices_take_about_a_quarter_and_their_messages(build_tables: Build) -> None:
    alone, shared = (StepModel(build_tables(), LLAMA, Sharding(tp), "bf16", "bf16", "bf16", NOTHING) for tp in (1, 4))
    tokens = one(8192)
    parts = {part.name: part.seconds[0] for part in shared.by_tokens(*tokens)}
    assert parts["all_reduce"] > 0
    for part in alone.by_tokens(*tokens):
        if part.name.endswith("_proj"):
            assert parts[part.name] == pytest.approx(part.seconds[0] / 4, rel=0.1)


def test_configs_that_share_their_attention_are_told_alike(build_tables: Build) -> None:
    """What stands in for attention is said of each, though its grids are asked for once."""
    found = replace(tables(build_tables), engine="trtllm", version=None)
    for pp in (1, 2):
        with listening() as said:
            StepModel(found, LLAMA, Sharding(1, pp), "bf16", "bf16", "bf16", NOTHING).costs(64, 8)
        assert {text.split()[2] for text in said} == {"gemm", "context_attention", "generation_attention"}
