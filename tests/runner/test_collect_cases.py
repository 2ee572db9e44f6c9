"""Shapes worth timing: each once, the coarse ones first, whatever the grid."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.collect.cases import CONTEXT, GEMM, GENERATION, MOST_FLOPS, Case, Grid, cases, grid_named

ABLE = {GEMM: ["bf16", "fp8", "fp32"], CONTEXT: ["bf16"], GENERATION: ["bf16"]}
SIZES = st.lists(st.integers(1, 10**5), min_size=1, max_size=9, unique=True).map(sorted)
HEADS = st.lists(st.tuples(st.sampled_from([8, 16]), st.sampled_from([1, 8]), st.just(64)), min_size=1, unique=True)
GRIDS = st.builds(Grid, SIZES, st.lists(st.tuples(SIZES, SIZES).map(lambda p: (p[0][0], p[1][0])), max_size=3), HEADS,
                  *[SIZES] * 5)  # fmt: skip


@given(GRIDS)
def test_every_combination_is_there_once(grid: Grid) -> None:
    found = cases(grid, ["bf16", "fp8"], ABLE, float("inf"))
    assert len(found) == len(set(found)) == len({case.key for case in found})
    prompts = len(grid.prompts) * len(grid.isl) * len(grid.prefix) * len(grid.heads)
    decodes = len(grid.decodes) * len(grid.cached) * len(grid.heads)
    assert len(found) == 2 * len(grid.m) * len(set(grid.products)) + prompts + decodes


@given(SIZES)
def test_each_step_halves_the_widest_gaps(values: list[int]) -> None:
    """Ends first; then whatever is added lies between two that are there, and gaps differ by one halving at most."""
    grid = Grid(values, [(8, 8)], [], [], [], [], [], [])
    order = [values.index(dict(case.arguments)["m"]) for case in cases(grid, ["bf16"], ABLE, float("inf"))]
    assert set(order[:2]) == {0, len(values) - 1}
    for done in range(2, len(order)):
        there = sorted(order[:done])
        gaps = [high - low for low, high in itertools.pairwise(there)]
        around = next(high - low for low, high in itertools.pairwise(there) if low < order[done] < high)
        assert 4 * around >= max(gaps)


def test_what_takes_too_long_is_left_out() -> None:
    grid = grid_named("cpu", "small")
    found = cases(grid, ["bf16"], ABLE, MOST_FLOPS["cpu"])
    assert max(case.flops for case in found) <= MOST_FLOPS["cpu"]
    assert len(found) < len(cases(grid, ["bf16"], ABLE, float("inf")))


@pytest.mark.parametrize(
    ("op", "arguments", "flops"),
    [
        (GEMM, {"m": 2, "n": 3, "k": 5}, 60),
        (
            CONTEXT,
            {"batch_size": 2, "isl": 3, "prefix": 0, "heads": 5, "kv_heads": 1, "head_dim": 7},
            4 * 2 * 5 * 7 * 6,
        ),
        (CONTEXT, {"batch_size": 1, "isl": 3, "prefix": 4, "heads": 1, "kv_heads": 1, "head_dim": 1}, 4 * (5 + 6 + 7)),
        (
            GENERATION,
            {"batch_size": 1, "isl": 1, "prefix": 9, "heads": 2, "kv_heads": 1, "head_dim": 8},
            4 * 2 * 8 * 10,
        ),
    ],
)
def test_arithmetic_counts_each_score_once(op: str, arguments: dict[str, int], flops: float) -> None:
    assert Case(op, "bf16", tuple(arguments.items())).flops == flops


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_grids_grow_and_make_tables_that_are_asked(device: str) -> None:
    """`ops` asks tables of 12 rows and more; all values are ascending."""
    counts = []
    for size in ("tiny", "small", "full"):
        grid = grid_named(device, size)
        found = cases(grid, ["bf16"], ABLE, MOST_FLOPS[device])
        counts.append({op: sum(case.op == op for case in found) for op in (GEMM, CONTEXT, GENERATION)})
        for values in (grid.m, grid.prompts, grid.isl, grid.prefix, grid.decodes, grid.cached):
            assert list(values) == sorted(set(values))
    assert all(counts[0][op] < counts[1][op] < counts[2][op] for op in counts[0])
    assert min(counts[1].values()) >= 12
    assert device == "cpu" or sum(counts[2].values()) > 4000


def test_a_new_token_is_among_those_that_are_cached() -> None:
    grid = replace(grid_named("cpu", "tiny"), cached=[1, 1024])
    found = [dict(case.arguments) for case in cases(grid, ["bf16"], ABLE, 1e12) if case.op == GENERATION]
    assert {(each["isl"], each["prefix"]) for each in found} == {(1, 0), (1, 1023)}
