"""The account of a device's memory that `whatif --explain` gives: what holds how much, and what it lacks."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from questions import POINT, WHATIF

from model.checkpoint.architecture import resolve_model
from model.knobs import points_of
from model.load import load_of
from model.memory import GIB, memory
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload
from servecast.predicting.memory_account import memory_account

LOAD = Workload(isl=1000, osl=200, arrival=Arrival.CLOSED, concurrency=8)
LARGE = ["whatif", "--model", "meta-llama/Llama-3.1-70B", "--platform", "h100_sxm", "--engine", "vllm", *POINT]


def account(model: str, place: str, served_by: str, config: dict[str, Scalar]) -> dict[str, Any]:
    points = points_of(resolve_model(model), platform(place), engine(served_by), 1, Grid.of([config]), load_of(LOAD, 1))
    return memory_account(points, memory(points))


@given(
    st.sampled_from(("llama-3.1-8b", "deepseek-ai/DeepSeek-V3", "Qwen/Qwen3-30B-A3B")),
    st.sampled_from((("h200_sxm", "vllm"), ("h200_sxm", "sglang"), ("rtx_4090", "trtllm"))),
    st.sampled_from((1, 2, 4, 8)),
)
@settings(max_examples=30)
def test_the_parts_of_what_fits_are_all_there_is(model: str, served_by: tuple[str, str], tp: int) -> None:
    name = "tensor_parallel_size" if served_by[1] == "vllm" else "tp_size"
    found = account(model, *served_by, {name: tp})
    parts, told = found["parts"], sum(found["parts"].values())
    assert min(parts.values()) >= 0
    assert parts["kv_cache"] == pytest.approx(found["tokens"] * found["kv_bytes_per_token"])
    assert found["tokens"] == found["blocks"] * found["block_size"]
    assert parts["unused"] <= found["block_size"] * found["kv_bytes_per_token"] or not found["fits"]
    if found["fits"]:
        assert told == pytest.approx(found["device_bytes"])
        assert found["lacking_bytes"] == 0
    else:
        own = sum(parts[part] for part in ("weights", "context", "communication", "activations"))
        assert found["lacking_bytes"] == pytest.approx(own + found["kv_needed_bytes"] - found["available_bytes"])
    assert (parts["communication"] > 0) == (tp > 1 and served_by[1] != "sglang")


def test_a_servers_own_number_of_blocks_stands_in_the_account() -> None:
    told = account("llama-3.1-8b", "rtx_4090", "vllm", {"num_gpu_blocks_override": 2588})
    own = account("llama-3.1-8b", "rtx_4090", "vllm", {})
    assert (told["blocks"], told["blocks_from"], own["blocks_from"]) == (2588, "told", "calculated")
    assert told["parts"]["weights"] == own["parts"]["weights"]
    assert sum(told["parts"].values()) == pytest.approx(told["device_bytes"])


def test_a_cache_reserved_for_slots_leaves_the_rest_unused() -> None:
    found = account("llama-3.1-8b", "h100_sxm", "llamacpp", {"n_ctx": 8192})
    assert found["tokens"] == 8192
    assert found["parts"]["unused"] > GIB


def test_it_is_explained_what_the_memory_of_the_best_config_holds(cli: Any) -> None:
    asked = [*WHATIF, *POINT, "--set", "tp=1,2", "--explain"]
    found = cli.json(*asked)["explain"]["memory"]
    assert found["fits"] is True
    assert found["weight_format"] == "bf16"
    lines = cli.run(*asked).stdout.splitlines()
    table = lines[lines.index("memory of a device: 80.0 GiB") + 1 :]
    assert [line.split("  ")[0] for line in table] == [
        "memory", "weights", "context", "communication", "activations", "KV cache", "outside"
    ]  # fmt: skip
    assert f"{found['blocks']:,.0f} blocks of 16 (calculated): {found['tokens']:,.0f} tokens of 64 KiB" in table[5]
    assert sum(float(line.split("%")[0].split()[-1]) for line in table[1:]) == pytest.approx(100, abs=0.5)


def test_it_is_said_by_how_much_a_config_does_not_fit(cli: Any) -> None:
    answer = cli.json(*LARGE, "--explain")
    found = answer["explain"]["memory"]
    assert found["fits"] is answer["rows"][0]["feasible"] is False
    assert found["blocks"] == found["sequences"] == 0
    shown = cli.run(*LARGE, "--explain").stdout
    assert f"lacks {found['lacking_bytes'] / GIB:.2f} GiB: with the" in shown
    needed, there = map(float, re.findall(r"([0-9.]+) GiB", answer["rows"][0]["reason"]))
    assert found["lacking_bytes"] / GIB == pytest.approx(needed - there, abs=0.11)


def test_of_a_cache_that_was_told_it_is_said_in_tokens(cli: Any) -> None:
    """10 blocks of 16 hold 160 of the 256 tokens of a request."""
    small = ["whatif", "--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm", "--engine", "vllm"]
    few = ["--scenario", "D(200,56)", "--concurrency", "4", "--set", "num_gpu_blocks_override=10", "--explain"]
    shown = cli.run(*small, *few).stdout
    assert "one sequence has up to 256 tokens, the KV cache of 10 blocks of 16 holds 160" in shown
    assert shown.endswith("lacks 96 of the 256 tokens that one longest sequence has\n")
