"""Steps of whole grids equal the steps of single configs; where their time goes adds up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.closed_form.cycle import decode_load
from model.knobs import points_of
from model.load import load_of
from model.points import Points
from model.simulate.costs import step_s
from model.steps.config import step_costs
from model.steps.explain import explain
from model.steps.ops import StepLoad
from model.steps.step import step
from model.tables.library import Tables
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

Build = Callable[..., Tables]
LLAMA = resolve_model("meta-llama/Llama-3.1-8B")
M = 2.0 ** np.arange(0, 16)


def tables(build_tables: Build) -> Tables:
    return build_tables(
        {
            "engine": "vllm", "engine_version": "0.24.0", "op": "gemm", "dtype": "bf16", "m": M, "n": 4096.0,
            "k": 4096.0, "latency_s": 1e-5 + 1e-8 * M,
        }
    )  # fmt: skip


def points(build_tables: Build, n: int, **params: object) -> Points:
    load = load_of(Workload(1000, 100, Arrival.CLOSED, 16), n)
    grid = Grid.of([params] * n)
    return points_of(LLAMA, platform("h200_sxm"), engine("vllm"), None, grid, load, tables(build_tables))


def steps(n: int, prefill: float, prompts: float, past: float, decode: float, kv: float) -> StepLoad:
    whole = [np.full(n, value) for value in (prefill, prompts, past, decode, kv)]
    context = whole[2] / np.maximum(whole[1], 1e-9) + whole[0] / np.maximum(whole[1], 1e-9) / 2.0
    return StepLoad(whole[0], context, whole[1], whole[2], whole[3], whole[4])


@given(st.integers(0, 4), st.integers(1, 1000), st.integers(0, 4000), st.integers(0, 200), st.integers(2, 5000))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_step_of_a_grid_is_the_simulators(
    build_tables: Build, prompts: int, chunk: int, past: int, decodes: int, kv: int
) -> None:
    if not prompts and not decodes:
        return
    made = points(build_tables, 3, max_num_batched_tokens=8192)
    load = steps(3, prompts * chunk, prompts, prompts * past, decodes, kv)
    found = step(made, load).seconds
    costs = step_costs(made, tables(build_tables))
    pc = np.sqrt(prompts) * chunk
    # the simulator counts tokens in whole numbers, and makes a head's row for every sequence
    wanted = step_s(costs, prompts * chunk + decodes, prompts + decodes, pc, float(prompts * past), decodes, float(kv))
    assert found == pytest.approx(np.full(3, wanted), rel=1e-9)


def test_parts_are_those_of_the_roofline_scaled_to_the_measured_whole(build_tables: Build) -> None:
    found = step(points(build_tables, 2), steps(2, 512, 1, 0, 8, 1000))
    parts = found.compute_s + found.memory_s + found.message_s + found.overhead_s
    assert parts == pytest.approx(found.seconds)


def test_configs_of_one_grid_take_their_own_division(build_tables: Build) -> None:
    load = load_of(Workload(1000, 100, Arrival.CLOSED, 16), 2)
    grid = Grid.of([{"tensor_parallel_size": 1}, {"tensor_parallel_size": 4}])
    made = points_of(LLAMA, platform("h200_sxm"), engine("vllm"), None, grid, load, tables(build_tables))
    seconds = step(made, steps(2, 0, 0, 0, 64, 1000)).seconds
    assert seconds[1] < seconds[0]


def test_fewer_than_one_prompt_a_step_is_one_in_that_share_of_steps(build_tables: Build) -> None:
    made = points(build_tables, 1)
    alone, whole, half = (
        step(made, steps(1, share * 512, share, 0, 8, 1000)).seconds.item() for share in (0.0, 1.0, 0.5)
    )
    assert alone < half < whole


def test_explained_parts_add_up_and_say_where_they_come_from(build_tables: Build) -> None:
    made = points(build_tables, 1, tensor_parallel_size=2)
    found = explain(made, 0, 16.0)
    assert set(found) == {"prefill", "decode"}
    for shares in found.values():
        assert sum(part.share for part in shares) == pytest.approx(1.0)
        assert [part.seconds for part in shares] == sorted((part.seconds for part in shares), reverse=True)
        names = {part.name: part.provenance for part in shares}
        assert names["engine"] == "engine"
        assert names["all_reduce"] == "roofline"
        assert names["qkv_proj"] == "extrapolated"


@pytest.mark.parametrize(
    "params",
    [
        {"tensor_parallel_size": 1},
        {"enforce_eager": True},
        {"num_speculative_tokens": 3, "acceptance_rate": 0.8},
        {"tensor_parallel_size": 4},
    ],
)
@pytest.mark.parametrize("measured", [True, False])
def test_explained_parts_add_up_to_the_step(build_tables: Build, params: dict[str, Scalar], measured: bool) -> None:
    """What is explained is what was predicted: of tables (interpolated in them, so nearly) and of the roofline."""
    made = points(build_tables, 1, **params)
    made = made if measured else replace(made, tables=None)
    found = explain(made, 0, 16.0)
    whole = step(made, decode_load(made, np.full(1, 16.0))).seconds.item()
    assert sum(part.seconds for part in found["decode"]) == pytest.approx(whole, rel=0.05 if measured else 1e-9)
    names = {part.name for part in found["decode"]}
    assert ("launching" in names) == (measured and "enforce_eager" in params)
    assert ("drafting" in names) == ("num_speculative_tokens" in params)


def test_without_graphs_the_host_launches_every_kernel(build_tables: Build) -> None:
    made = points(build_tables, 1, enforce_eager=True)
    assert step(made, steps(1, 0, 0, 0, 1, 100)).seconds.item() > 32 * 0.3e-3
