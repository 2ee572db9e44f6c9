"""Sparse attention over a latent cache: measured layers, their formula, their memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.knobs import points_of
from model.load import load_of
from model.memory import kv_bytes_per_token
from model.steps.ops import Kind, StepLoad, operations
from model.tables.kernels import LATENT_GENERATION, Rates
from model.tables.library import Tables
from model.tables.shapes import indexed_of, latent_of, sparse_of
from model.tables.sparse import INDEXED_CONTEXT, INDEXED_GENERATION, latent_kernel
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Workload

Build = Callable[..., Tables]
GLM = resolve_model("zai-org/GLM-5")
LAYER, SHARING = indexed_of(GLM), sparse_of(GLM)
RATES = Rates(5e14, 4e12, 4e-5, 2.0, 2.0)
HEADS, BATCH = [8.0, 16.0, 64.0], [1.0, 8.0, 64.0]
LENGTHS = [128.0, 1024.0, 2048.0, 4096.0, 16384.0]


def part(phase: str, ending: str = "", **said: Any) -> dict[str, Any]:
    """A whole grid of a GLM-5 layer, measured at 1.2 times the formula."""
    heads, batch, length = (axis.ravel() for axis in np.meshgrid(HEADS, BATCH, LENGTHS, indexing="ij"))
    own = {"engine": "vllm", "engine_version": "0.24.0", "dtype": "bf16", "kv_dtype": "bf16", "gemm_dtype": "bf16"}
    own |= {"op": f"dsa_{phase}_module{ending}", "model": GLM.name}
    keys = (2.0, *(SHARING if ending else LAYER))
    kernel = latent_kernel(phase, SHARING if ending else LAYER)
    columns = {"heads": heads, "batch_size": batch, "isl": length, "prefix": 0.0 * heads}
    if phase == "context":
        seconds = kernel.formula(RATES, keys, [heads, batch, length, 0.0 * heads])
    else:
        seconds = kernel.formula(RATES, keys, [heads, batch, length + 1.0])
        columns |= {"isl": 0.0 * heads + 1.0, "prefix": length}
    return {**own, **columns, "latency_s": 1.2 * seconds, **said}


@pytest.mark.parametrize(("ending", "layer"), [("", LAYER), ("_skip_indexer", SHARING)])
@pytest.mark.parametrize("phase", ["context", "generation"])
def test_measured_layers_are_answered_exactly(build_tables: Build, phase: str, ending: str, layer: Any) -> None:
    rows = part(phase, ending)
    at = rows["heads"] == 16
    tokens = rows["isl"] if phase == "context" else rows["prefix"] + 1
    asked = (phase, ("bf16", "bf16"), layer, 16, rows["batch_size"][at], tokens[at])
    answer = build_tables(rows).query_latent_attention(*asked)
    np.testing.assert_allclose(answer.latency_s, rows["latency_s"][at], rtol=1e-12)
    assert set(answer.provenance) == {"measured"}


def test_tables_of_full_attention_do_not_answer_for_sparse(build_tables: Build) -> None:
    answer = build_tables(part("context")).query_latent_attention("generation", ("bf16", "bf16"), LAYER, 16, 8, 4096)
    assert answer.provenance == ["roofline"]


@given(st.floats(1, 64), st.floats(1, 256), st.floats(1, 2e5))
def test_indexers_cost_and_sparse_attention_saves(heads: float, batch: float, cached: float) -> None:
    """Beyond the tokens that are chosen only the indexer reads on; up to them all are attended to."""
    at = [np.array([heads]), np.array([batch]), np.array([cached])]
    full = LATENT_GENERATION.formula(RATES, (2.0, *latent_of(GLM)), at)
    kernel = latent_kernel("generation", SHARING)
    chosen = kernel.formula(RATES, (2.0, *SHARING), at)
    indexed = INDEXED_GENERATION.formula(RATES, (2.0, *LAYER), at)
    assert indexed >= chosen
    far = [at[0], at[1], at[2] + 2048.0]
    assert kernel.formula(RATES, (2.0, *SHARING), far) <= kernel.formula(RATES, (2.0, *SHARING), [*at[:2], at[2] + 1e6])
    if cached > 65536 and heads > 8:
        assert chosen < full


@given(st.integers(0, 17), st.integers(0, 14), st.integers(0, 17))
def test_more_work_takes_longer(length: int, batch: int, prefix: int) -> None:
    one = np.ones(1)
    base = [16 * one, 2.0**batch * one, 2.0**length * one, 2.0**prefix * one]
    seconds = INDEXED_CONTEXT.formula(RATES, (2.0, *LAYER), base)
    for axis in range(4):
        more = [values * (2.0 if place == axis else 1.0) for place, values in enumerate(base)]
        assert INDEXED_CONTEXT.formula(RATES, (2.0, *LAYER), more) >= seconds


def points(model: Any) -> Any:
    load = load_of(Workload(10, 10, Arrival.CLOSED, 1), 1)
    return points_of(model, platform("h200_sxm"), engine("sglang"), 8, Grid.of([{"tp_size": 8}]), load)


def test_indexers_keep_a_key_of_each_token() -> None:
    dense = replace(GLM, index_topk=0, index_layers=0)
    own = kv_bytes_per_token(points(GLM)) - kv_bytes_per_token(points(dense))
    assert own == pytest.approx(78 * 132)
    sharing = resolve_model("zai-org/GLM-5.2")
    assert sharing.index_layers == 21
    assert kv_bytes_per_token(points(sharing)) - kv_bytes_per_token(points(dense)) == pytest.approx(21 * 132)


def test_operations_of_a_step_have_an_indexer() -> None:
    one = np.ones(1)
    load = StepLoad(0 * one, 0 * one, 0 * one, 0 * one, 4 * one, 65536 * one)
    found = {operation.name: operation for operation in operations(points(GLM), load)}
    attends = found["sparse_attention"]
    assert attends.kind is found["indexer"].kind is Kind.ATTENTION
    assert found["indexer"].bytes == pytest.approx(4 * 65536 * 132)
    assert attends.bytes[0] == pytest.approx(4 * 2048 * 576 * 2, rel=0.1)
