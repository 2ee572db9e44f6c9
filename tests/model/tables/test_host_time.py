"""Tables that were timed with the host's own time answer for single operations, not for those of a step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from model.steps.tabulate import expert_format
from model.tables.library import Tables
from perfdb.facts.platforms import platform

Build = Callable[..., Tables]
M = 2.0 ** np.arange(0, 14)
HOST_S = 60e-6


def gemm(engine: str, version: str, launch_s: float) -> dict[str, object]:
    rows = {"engine": engine, "engine_version": version, "op": "gemm", "dtype": "fp8_block"}
    return {**rows, "m": M, "n": 4096.0, "k": 4096.0, "latency_s": launch_s + 1e-8 * M}


def seconds(tables: Tables, m: float = 64.0) -> float:
    return tables.query_gemm("fp8_block", m, 4096.0, 4096.0).latency_s.item()


def test_a_step_passes_over_a_table_with_the_hosts_time(build_tables: Build) -> None:
    tables = build_tables(gemm("vllm", "0.24.0", HOST_S), gemm("sglang", "0.5.14", 4e-6))
    assert seconds(tables) == pytest.approx(HOST_S + 64e-8)
    in_steps = tables.in_steps
    assert seconds(in_steps) == pytest.approx(4e-6 + 64e-8)
    assert in_steps.query_gemm("fp8_block", 64.0, 4096.0, 4096.0).provenance == ["version_proxy"]
    assert "that of sglang 0.5.14" in next(iter(in_steps.warnings.values()))
    assert not tables.warnings


def test_a_slow_kernel_is_no_host_time(build_tables: Build) -> None:
    tables = build_tables(gemm("vllm", "0.24.0", 12e-6), gemm("sglang", "0.5.14", 4e-6))
    assert seconds(tables.in_steps) == seconds(tables) == pytest.approx(12e-6 + 64e-8)


def test_the_only_table_answers_whatever_it_holds(build_tables: Build) -> None:
    tables = build_tables(gemm("vllm", "0.24.0", HOST_S))
    assert seconds(tables.in_steps) == pytest.approx(HOST_S + 64e-8)


def test_another_version_of_the_engine_comes_before_another_engine(build_tables: Build) -> None:
    tables = build_tables(gemm("vllm", "0.24.0", HOST_S), gemm("vllm", "0.19.0", 5e-6), gemm("sglang", "0.5.14", 4e-6))
    assert seconds(tables.in_steps) == pytest.approx(5e-6 + 64e-8)


def test_asking_in_steps_twice_is_asking_the_same_tables(build_tables: Build) -> None:
    tables = build_tables(gemm("vllm", "0.24.0", HOST_S))
    assert tables.in_steps is tables.in_steps is tables.in_steps.in_steps


@pytest.mark.parametrize(
    ("engine", "place", "wanted"),
    [("trtllm", "b200_sxm", "mxfp4_mxfp8"), ("trtllm", "h200_sxm", "mxfp4"), ("vllm", "b200_sxm", "mxfp4")],
)
def test_experts_in_mxfp4_are_multiplied_as_the_engine_does(engine: str, place: str, wanted: str) -> None:
    assert expert_format("mxfp4", engine, platform(place)) == wanted
    assert expert_format("fp8", engine, platform(place)) == "fp8"
