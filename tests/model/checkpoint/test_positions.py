"""How long a sequence of a model may be, and who refuses a longer one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint.architecture import Architecture, load_model, resolve_model
from model.checkpoint.positions import max_positions
from model.feasibility import feasibility, why_not_started
from model.knobs import points_of
from model.load import load_of
from model.memory import memory
from model.points import Points
from model.simulate.engine import engine_settings
from model.simulate.trace import unshared
from perfdb.errors import InputError, ModelError
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

YARN = {"rope_type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}
LLAMA = resolve_model("meta-llama/Llama-3.1-8B")
QWEN = resolve_model("Qwen/Qwen3-8B")


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({}, 0),
        ({"n_positions": 2048, "n_ctx": 2048}, 2048),
        ({"max_position_embeddings": 32768, "seq_length": 8192}, 8192),
        ({"max_position_embeddings": 163840, "rope_scaling": YARN}, 163840),
        ({"max_position_embeddings": 163840, "rope_scaling": {**YARN, "rope_type": None, "type": "yarn"}}, 163840),
        ({"max_position_embeddings": 40960, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, 163840),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        ({"max_position_embeddings": 131072, "rope_scaling": {"type": "longrope", "factor": 32.0}}, 131072),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 8.0}}, 32768),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "dynamic", "factor": None}}, 4096),
        ({"max_position_embeddings": 262144, "rope_parameters": {"rope_type": "default", "rope_theta": 1e7}}, 262144),
        ({"max_position_embeddings": 9000, "rope_parameters": {"full": {"rope_type": "linear", "factor": 2.0}}}, 18000),
        ({"max_position_embeddings": 131072, "model_type": "gemma3_text", "rope_scaling": {"factor": 8.0}}, 131072),
    ],
)
def test_positions_are_those_that_vllm_works_out(config: dict[str, Any], positions: int) -> None:
    assert max_positions(config, "here") == positions


@pytest.mark.parametrize(
    "config",
    [
        {"max_position_embeddings": "many"},
        {"max_position_embeddings": 0},
        {"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": "8"}},
        {"max_position_embeddings": 4096, "rope_scaling": {"type": "yarn", "original_max_position_embeddings": -1}},
    ],
)
def test_numbers_that_cannot_be_are_named(config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"here: field .* expected a number above zero"):
        max_positions(config, "here")


@given(st.integers(1, 1 << 24), st.floats(1.0, 64.0))
def test_a_factor_never_shortens(positions: int, factor: float) -> None:
    scaled = {"max_position_embeddings": positions, "rope_scaling": {"type": "linear", "factor": factor}}
    assert positions <= max_positions(scaled, "here") <= positions * factor


def test_positions_of_shipped_models_and_of_files(tmp_path: Path) -> None:
    assert (LLAMA.max_positions, QWEN.max_positions) == (131072, 40960)
    assert resolve_model("huggyllama/llama-7b").max_positions == 0
    # a quantised copy is no later release of the model whose longer sequences count for a name of that row
    for name in ("Qwen/Qwen3-30B-A3B-FP8", "Qwen/Qwen3-235B-A22B-FP8", "nvidia/Qwen3-235B-A22B-NVFP4"):
        assert resolve_model(name).max_positions == 40960
    assert resolve_model("Qwen/Qwen3-30B-A3B-Instruct-2507").max_positions == 262144
    assert resolve_model("Qwen/Qwen2.5-1.5B").max_positions == 131072
    said = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 99}
    said |= {"intermediate_size": 128, "max_position_embeddings": 1000}
    for scaling, positions in ((None, 1000), ({"type": "linear", "factor": 2.5}, 2500)):
        (tmp_path / "config.json").write_text(json.dumps({**said, "rope_scaling": scaling}))
        assert load_model(tmp_path / "config.json").max_positions == positions


def points(model: Architecture, served_by: str, isl: int, config: dict[str, Scalar]) -> Points:
    facts = engine(served_by)
    grid = Grid.of([config or {next(iter(facts.parameters)): None}])
    load = load_of(Workload(isl, 100, Arrival.CLOSED, 1), 1)
    return points_of(model, platform("h200_sxm"), facts, 1, grid, load)


@pytest.mark.parametrize("served_by", ["vllm", "sglang", "trtllm"])
def test_requests_beyond_the_positions_are_refused_in_closed_form(served_by: str) -> None:
    last, beyond = (points(QWEN, served_by, isl, {}) for isl in (40860, 40861))
    assert feasibility(last, memory(last))[0].all()
    feasible, reasons = feasibility(beyond, memory(beyond))
    assert not feasible.any()
    assert reasons[0] == "a request has 40961 tokens, Qwen/Qwen3-8B has 40960 positions"


def test_what_is_not_known_and_llama_cpp_refuse_nothing() -> None:
    for model, served_by in ((resolve_model("huggyllama/llama-7b"), "vllm"), (QWEN, "llamacpp")):
        found = points(model, served_by, 50000, {})
        assert feasibility(found, memory(found))[0].all()


@pytest.mark.parametrize(("served_by", "name"), [("vllm", "max_model_len"), ("sglang", "context_length")])
def test_a_length_that_is_said_counts_up_to_the_models(served_by: str, name: str) -> None:
    most, more = (points(QWEN, served_by, 1000, {name: length}) for length in (40960, 40961))
    assert why_not_started(most, memory(most), 0) is None
    reason = why_not_started(more, memory(more), 0) or ""
    assert reason.startswith(f"{name} 40961 is more than the 40960 positions of Qwen/Qwen3-8B: the engine refuses")
    assert feasibility(more, memory(more))[1][0] == reason
    short = points(QWEN, served_by, 1000, {name: 1099})
    assert "1100 tokens, a sequence of this config holds at most 1099" in feasibility(short, memory(short))[1][0]


@pytest.mark.parametrize(
    ("served_by", "config", "longest"),
    [("vllm", {}, 40960), ("sglang", {}, 40960), ("vllm", {"max_model_len": 900}, 900),
     ("vllm", {"max_model_len": -1}, 40960), ("sglang", {"context_length": 900}, 900), ("trtllm", {}, 40960)],
)  # fmt: skip
def test_a_simulation_refuses_the_request_that_is_too_long(
    served_by: str, config: dict[str, Scalar], longest: int
) -> None:
    found = points(QWEN, served_by, 500, config)
    prompts = np.array([100, longest - 50, 70])
    engine_settings(found, config, unshared(np.zeros(3), prompts, np.full(3, 50)))
    with pytest.raises(InputError, match=f"request 2: {longest + 1} tokens .* expected at most {longest}"):
        engine_settings(found, config, unshared(np.zeros(3), prompts, np.full(3, 51)))
