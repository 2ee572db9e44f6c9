"""What fits: weights, blocks of the KV cache, and what an engine's log said of them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from model.checkpoint.architecture import resolve_model
from model.feasibility import feasibility
from model.knobs import points_of
from model.load import load_of
from model.memory import GIB, Memory, memory
from perfdb.errors import InputError
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LOAD = Workload(isl=1000, osl=200, arrival=Arrival.CLOSED, concurrency=8)


def account(model: str, place: str, **params: Scalar) -> Memory:
    grid = Grid.of([params])
    return memory(points_of(resolve_model(model), platform(place), engine("vllm"), 1, grid, load_of(LOAD, 1)))


def test_blocks_are_what_a_real_server_had() -> None:
    """vLLM 0.19 on an RTX 4090 with an 8 B model in 16 bits told 2,588 blocks of 16 tokens."""
    found = account("meta-llama/Llama-3.1-8B", "rtx_4090", max_num_batched_tokens=2048, max_num_seqs=256)
    assert found.blocks.item() == pytest.approx(2588, rel=0.06)


def test_counted_blocks_override_the_account() -> None:
    counted = account("meta-llama/Llama-3.1-8B", "rtx_4090", num_gpu_blocks_override=100)
    assert counted.blocks.item() == 100
    assert counted.sequences.item() == pytest.approx(100 / (1100 / 16 + 0.5))
    few = account("meta-llama/Llama-3.1-8B", "rtx_4090", num_gpu_blocks_override=50)
    assert few.headroom.item() < 0 < counted.headroom.item()


def test_too_few_counted_blocks_are_infeasible_with_the_reason() -> None:
    grid = Grid.of([{"num_gpu_blocks_override": 50}])
    model, place = resolve_model("meta-llama/Llama-3.1-8B"), platform("rtx_4090")
    points = points_of(model, place, engine("vllm"), 1, grid, load_of(LOAD, 1))
    fits, reasons = feasibility(points, memory(points))
    assert not fits.any()
    needed = LOAD.isl + LOAD.osl
    assert reasons[0] == f"one sequence has up to {needed:.0f} tokens, the KV cache of 50 blocks of 16 holds 800"


@pytest.mark.parametrize("lacking", [1e9, 20e6, 1e6])
def test_what_is_needed_and_what_is_there_differ_in_the_reason(lacking: float) -> None:
    least = account("meta-llama/Llama-3.1-8B", "h100_sxm")
    needed = (least.weights + least.overhead + least.kv_needed).item()
    share = (needed - lacking) / (least.available.item() / 0.9)
    grid = Grid.of([{"gpu_memory_utilization": share}])
    model, place = resolve_model("meta-llama/Llama-3.1-8B"), platform("h100_sxm")
    points = points_of(model, place, engine("vllm"), 1, grid, load_of(LOAD, 1))
    reason = feasibility(points, memory(points))[1][0]
    need, there = map(float, re.findall(r"([0-9.]+) GiB", reason))
    assert need > there
    assert (needed / GIB, (needed - lacking) / GIB) == pytest.approx((need, there), abs=0.06)


@pytest.mark.parametrize(
    ("served_by", "flag", "weights", "cache"),
    [
        ("trtllm", "quantization", "fp8", 1.0),
        ("trtllm", "quantization", "nvfp4", 1.0),
        ("vllm", "quantization", "nvfp4", 1.0),
        # quantised on loading, perhaps: no scales
        ("vllm", "quantization", "fp8", 2.0),
        ("trtllm", "quantization", None, 2.0),
    ],
)
def test_checkpoints_with_scales_for_the_cache_keep_it_in_8_bits(
    served_by: str, flag: str, weights: str | None, cache: float
) -> None:
    grid = Grid.of(
        [{flag: weights}, {flag: weights, "kv_cache_dtype": "bf16"}, {flag: weights, "kv_cache_dtype": "fp8"}]
    )
    model, place = resolve_model("meta-llama/Llama-3.1-8B"), platform("b200_sxm")
    points = points_of(model, place, engine(served_by), 1, grid, load_of(LOAD, 3))
    assert points.kv_bytes.tolist() == [cache, 2.0, 1.0]


def test_a_grid_of_formats_keeps_each_rows_own_cache() -> None:
    grid = Grid.of([{"quantization": name} for name in (None, "fp8", "nvfp4", None)])
    model, place = resolve_model("meta-llama/Llama-3.1-8B"), platform("b200_sxm")
    points = points_of(model, place, engine("trtllm"), 1, grid, load_of(LOAD, 4))
    assert points.kv_bytes.tolist() == [2.0, 1.0, 1.0, 2.0]
    assert [points.cache_names[row] for row in points.cache_row] == ["bf16", "fp8", "fp8", "bf16"]


def test_larger_blocks_waste_more_of_their_last_one() -> None:
    fine, coarse = (account("meta-llama/Llama-3.1-8B", "h100_sxm", block_size=size) for size in (16, 256))
    assert coarse.sequences.item() < fine.sequences.item()
    assert coarse.blocks.item() * 256 == pytest.approx(fine.blocks.item() * 16, rel=0.01)


@pytest.mark.parametrize("size", [0, 1.5])
def test_a_block_holds_a_whole_number_of_tokens(size: float) -> None:
    with pytest.raises(InputError, match="block_size"):
        account("meta-llama/Llama-3.1-8B", "h100_sxm", block_size=size)


def test_an_fp8_cache_holds_twice_the_sequences() -> None:
    half, full = (account("meta-llama/Llama-3.1-8B", "h100_sxm", kv_cache_dtype=name) for name in ("fp8", "auto"))
    assert np.floor(half.blocks / full.blocks).item() == 2


def test_each_engine_means_its_own_fraction() -> None:
    """vLLM's and SGLang's is of all memory (SGLang's activations stand outside), TensorRT-LLM's of what is left."""
    load = load_of(LOAD, 1)
    model, place = resolve_model("meta-llama/Llama-3.1-8B"), platform("h100_sxm")

    def kv(name: str) -> float:
        grid = Grid.of([{engine(name).parameter("memory_fraction").name: 0.5}])
        found = memory(points_of(model, place, engine(name), 1, grid, load))
        return (found.available - found.weights - found.overhead).item()

    half = 0.5 * place.memory_bytes * 0.98
    assert kv("trtllm") > kv("sglang") > kv("vllm")
    assert kv("sglang") == pytest.approx(half - 2 * 8.03e9, rel=0.05)
    assert kv("trtllm") == pytest.approx(half - 8.03e9, rel=0.1)
