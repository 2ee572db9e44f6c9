"""The worker in a process of its own, as it is started in another interpreter: with numpy, and with a torch made up."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.collect.worker import main as worker

MAIN = Path(worker.__file__)
FAKE_TORCH = Path(__file__).resolve().parents[1] / "support" / "fake_torch"
GEMM = {"op": "gemm", "dtype": "bf16", "m": 8, "n": 512, "k": 256}
PROMPT = {"batch_size": 2, "isl": 64, "prefix": 0, "heads": 8, "kv_heads": 2, "head_dim": 64}
CONTEXT = {"op": "context_attention", "dtype": "bf16", **PROMPT}
GENERATION = {"op": "generation_attention", "dtype": "bf16", **PROMPT, "isl": 1, "prefix": 1023}


def ask(library: str, device: str, *cases: dict[str, Any], says: str = "") -> list[dict[str, Any]]:
    """What the worker says of itself and of each case."""
    done = subprocess.run(
        [sys.executable, str(MAIN), library, device, "1"],
        input="".join(json.dumps(case) + "\n" for case in cases),
        capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(FAKE_TORCH), "FAKE_TORCH": says, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_numpy_times_products_for_real() -> None:
    about, answer = ask("numpy", "cpu", {**GEMM, "dtype": "fp32", "n": 64, "k": 64})
    assert about["formats"] == {"gemm": ["fp32"]}
    assert about["threads"] == 1
    assert len(answer["samples"]) in {worker.REPEATS, 2 * worker.REPEATS}
    assert answer["latency_s"] == statistics.median(answer["samples"])
    assert answer["latency_s"] * answer["times"] > worker.LEAST_S / 10
    assert answer["kernel"] == "dot"
    assert 0 <= answer["waited"] < 2  # both of its threads at most, all the time


def test_llamacpp_times_its_own_kernels_for_real() -> None:
    """Blocks of 32 weights; fp16 keys and values; what does not divide is refused, and the next case measured."""
    product, attended = {**GEMM, "dtype": "q4_0", "n": 64}, {**CONTEXT, "dtype": "fp16", "prefix": 9, "isl": 5}
    about, odd, blocks, whole, prompt, decoding = ask(
        "llamacpp", "cpu", {**product, "k": 48}, product, {**product, "dtype": "fp16", "k": 48}, attended,
        {**GENERATION, "dtype": "fp16", "prefix": 63},
    )  # fmt: skip
    assert about["version"].startswith("xllamacpp ")
    assert about["formats"]["generation_attention"] == ["fp16"]
    assert odd == {"error": "k is no multiple of the 32 weights of a block"}
    assert blocks["kernel"] in {"mul_mat", "mul_mat_repacked"}
    assert [each["kernel"] for each in (whole, prompt, decoding)] == ["mul_mat", "flash_attn_ext", "flash_attn_ext"]
    assert all(0 < each["latency_s"] < 1 for each in (blocks, whole, prompt, decoding))


@pytest.mark.parametrize("library", ["numpy", "llamacpp"])
def test_libraries_of_cpus_have_no_other_device(library: str) -> None:
    (about,) = ask(library, "cuda")
    assert "on CPUs only; expected --library torch for other devices" in about["error"]


@pytest.mark.parametrize("graphs", ["", "no_graphs"])
@pytest.mark.parametrize(
    ("case", "kernel", "flops"),
    [
        (GEMM, "mm", 2 * 8 * 512 * 256),
        ({**GEMM, "dtype": "fp8"}, "scaled_mm", 2 * 8 * 512 * 256),
        ({**GEMM, "dtype": "int8", "m": 32}, "int_mm", 2 * 32 * 512 * 256),
        (CONTEXT, "sdpa", 4 * 2 * 8 * 64 * 64 * 64 / 2),
        ({**CONTEXT, "prefix": 100}, "sdpa_masked", 4 * 2 * 8 * 64 * 164 * 64),
        ({**CONTEXT, "kv_heads": 8}, "sdpa", 4 * 2 * 8 * 64 * 64 * 64 / 2),
        (GENERATION, "sdpa_grouped", 4 * 2 * 8 * 1024 * 64),
    ],
)
def test_on_cuda_a_time_is_one_execution_between_two_events(
    case: dict[str, Any], kernel: str, flops: float, graphs: str
) -> None:
    """Whatever a graph holds and however often it is replayed; where nothing can be captured, too."""
    _, answer = ask("torch", "cuda", case, says=graphs)
    assert answer["kernel"] == kernel + ("_eager" if graphs else "")
    assert answer["latency_s"] == pytest.approx(flops * 1e-12, rel=1e-6)
    assert answer["spread"] < 1e-6
    assert answer["times"] * answer["latency_s"] >= worker.LEAST_S


@pytest.mark.parametrize(
    ("case", "kernel"),
    [(GEMM, "mm"), ({**GEMM, "dtype": "int8", "m": 32}, "int_mm"), ({**CONTEXT, "prefix": 100}, "sdpa_masked")],
)
def test_on_a_cpu_torch_is_timed_by_the_host(case: dict[str, Any], kernel: str) -> None:
    about, answer = ask("torch", "cpu", case)
    assert about["formats"]["gemm"] == ["bf16", "fp16", "fp32", "int8"]
    assert about["formats"]["context_attention"] == about["formats"]["generation_attention"] == ["bf16", "fp16"]
    assert about["usual"] == ["bf16", "fp32", "int8"]
    assert "clocks" not in about
    assert answer["kernel"] == kernel
    assert 0 < answer["latency_s"] < worker.LEAST_S


def test_on_cuda_the_device_says_what_it_is() -> None:
    (about,) = ask("torch", "cuda")
    assert (about["device"], about["version"], about["build"]) == (
        "NVIDIA H200",
        "9.9.9",
        "CUDA 13.0, cuDNN 91000, sm_90",
    )
    assert about["usual"] == ["bf16", "fp8"]
    assert "fp8" not in about["formats"]["generation_attention"]
    (older,) = ask("torch", "cuda", says="no_fp8")
    assert "fp8" not in older["formats"]["gemm"]
    assert older["usual"] == ["bf16"]


def test_without_a_cuda_device_it_says_so() -> None:
    (about,) = ask("torch", "cuda", says="no_cuda")
    assert about["error"] == "torch 9.9.9 sees no CUDA device; expected one, or --device cpu"


def test_what_a_library_refuses_is_an_answer_and_the_next_case_is_measured() -> None:
    _, refused, measured = ask("torch", "cuda", {**GEMM, "dtype": "int8"}, GEMM)
    assert refused == {"error": "self.size(0) needs to be greater than 16, but got 16"}
    assert "latency_s" in measured
    _, refused = ask("torch", "cuda", GEMM, says="no_memory")
    assert refused == {"error": "CUDA out of memory. Tried to allocate 9 GiB"}


@given(each=st.floats(1e-9, 10.0), jitter=st.lists(st.floats(1.0, 3.0), min_size=1, max_size=7))
def test_repeats_are_long_enough_and_their_median_counts(each: float, jitter: list[float]) -> None:
    """With any noise: as many executions as take the least time undisturbed, the median and spread of the repeats."""
    asked: list[int] = []

    def run(times: int) -> float:
        asked.append(times)
        return each * jitter[len(asked) % len(jitter)]

    found = worker.measure(run)
    repeats = len(found["samples"])
    assert asked[-repeats:] == [found["times"]] * repeats
    assert found["times"] * each * max(jitter) >= worker.LEAST_S
    assert found["latency_s"] == statistics.median(found["samples"])
    assert repeats == worker.REPEATS or _spread(found["samples"][: worker.REPEATS]) > worker.STRAYING
    assert found["outliers"] == sum(x > worker.OUTLIER * found["latency_s"] for x in found["samples"])
    assert found["times"] == 1 or found["times"] * each < worker.LEAST_S * 12


def _spread(samples: list[float]) -> float:
    return statistics.stdev(samples) / statistics.fmean(samples)


def test_copies_are_used_in_turn() -> None:
    said: list[int] = []
    calls: list[Callable[[], object]] = [lambda number=number: said.append(number) for number in range(3)]
    run = worker.by_host_clock(calls)
    run(2)
    run(4)
    assert said == [0, 1, 2, 0, 1, 2]
