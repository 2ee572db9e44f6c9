"""query_gemm (FEATURES S1.21, S1.22): exact where measured, bounded between, scaled beyond, honest throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.tables.kernels import GEMM, Rates
from model.tables.library import Tables
from perfdb.errors import UnknownNameError
from perfdb.facts.platforms import platform

Build = Callable[..., Tables]
M, N, K = np.array([1.0, 2, 16, 64, 256, 1024, 4096]), np.array([512.0, 1024, 4096]), np.array([256.0, 2048, 8192])
RATES = Rates(6e14, 4e12, 4e-6)
relaxed = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def grid(ms: Any = M, ns: Any = N, ks: Any = K, **said: Any) -> dict[str, Any]:
    """A whole grid whose efficiency grows with every axis."""
    m, n, k = (axis.ravel() for axis in np.meshgrid(ms, ns, ks, indexing="ij"))
    seconds = GEMM.formula(RATES, (), [m, n, k]) * (1.0 + 1.0 / np.log2(4 + m) + 40 / n + 20 / k)
    own = {"op": "gemm", "engine": "vllm", "engine_version": "0.24.0", "dtype": "bf16"}
    return {**own, "m": m, "n": n, "k": k, "latency_s": seconds, **said}


def test_every_measured_point_is_answered_exactly(build_tables: Build) -> None:
    """FEATURES S1.22: exact at knots."""
    rows = grid()
    answer = build_tables(rows).query_gemm("bf16", rows["m"], rows["n"], rows["k"])
    np.testing.assert_allclose(answer.latency_s, rows["latency_s"], rtol=1e-12)
    assert set(answer.provenance) == {"measured"}
    assert (answer.rel_sd < 0.02).all()
    assert len(answer) == len(M) * len(N) * len(K)


def test_the_order_of_rows_and_questions_changes_nothing(build_tables: Build) -> None:
    rows = grid()
    rng = np.random.default_rng(3)
    asked = [np.exp(rng.uniform(np.log(axis[0] / 2), np.log(axis[-1] * 2), 400)) for axis in (M, N, K)]
    expected = build_tables(rows).query_gemm("bf16", *asked)
    mixed, turned = rng.permutation(len(rows["m"])), rng.permutation(400)
    again = build_tables({**rows, **{name: rows[name][mixed] for name in ("m", "n", "k", "latency_s")}})
    answer = again.query_gemm("bf16", *(axis[turned] for axis in asked))
    np.testing.assert_array_equal(answer.latency_s, expected.latency_s[turned])
    np.testing.assert_array_equal(answer.rel_sd, expected.rel_sd[turned])
    np.testing.assert_array_equal(answer.code, expected.code[turned])


@relaxed
@given(st.data())
def test_between_knots_the_answer_lies_between_the_corners(build_tables: Build, data: st.DataObject) -> None:
    """FEATURES S1.22: bounded between the knots."""
    rows = grid()
    cube = rows["latency_s"].reshape(len(M), len(N), len(K))
    cell = tuple(data.draw(st.integers(0, len(axis) - 2)) for axis in (M, N, K))
    shares = [data.draw(st.floats(0.0, 1.0)) for _ in cell]
    at = [a[i] + u * (a[i + 1] - a[i]) for a, i, u in zip((M, N, K), cell, shares, strict=True)]
    corners = cube[tuple(slice(i, i + 2) for i in cell)]
    answer = build_tables(rows).query_gemm("bf16", *at)
    assert corners.min() * (1 - 1e-12) <= answer.latency_s[0] <= corners.max() * (1 + 1e-12)
    assert answer.provenance[0] in {"measured", "interpolated"}


@relaxed
@given(axis=st.integers(0, 2), rest=st.tuples(st.floats(1, 4096), st.floats(512, 4096), st.floats(256, 8192)))
def test_monotone_measurements_stay_monotone(build_tables: Build, axis: int, rest: tuple[float, float, float]) -> None:
    rising = grid()
    rising["latency_s"] = 1e-6 * (rising["m"] + rising["n"] ** 0.5 + rising["k"] * rising["m"] / 100)
    asked: list[Any] = list(rest)
    asked[axis] = np.linspace((M, N, K)[axis][0], (M, N, K)[axis][-1], 300)
    assert (np.diff(build_tables(rising).query_gemm("bf16", *asked).latency_s) >= -1e-18).all()


def test_what_is_linear_in_its_arguments_is_answered_exactly_everywhere_inside(build_tables: Build) -> None:
    rows = grid()
    rows["latency_s"] = 1e-6 + 1e-12 * rows["m"] * rows["n"] + 1e-11 * rows["k"]
    rng = np.random.default_rng(0)
    m, n, k = (rng.uniform(axis[0], axis[-1], 500) for axis in (M, N, K))
    answer = build_tables(rows).query_gemm("bf16", m, n, k)
    np.testing.assert_allclose(answer.latency_s, 1e-6 + 1e-12 * m * n + 1e-11 * k, rtol=1e-9)


def test_beyond_the_grid_the_formula_scales_the_nearest_point_and_that_is_said(build_tables: Build) -> None:
    """FEATURES S1.22: extrapolation is flagged."""
    tables, large = build_tables(grid()), [1e6, 3e5, 4e4]
    edge, beyond = tables.query_gemm("bf16", M[-1], N[-1], K[-1]), tables.query_gemm("bf16", *large)
    growth = np.prod(large) / (M[-1] * N[-1] * K[-1])
    assert beyond.provenance == ["extrapolated"]
    assert beyond.latency_s[0] == pytest.approx(edge.latency_s[0] * growth, rel=0.15)
    assert beyond.rel_sd[0] > 0.1 > edge.rel_sd[0]
    below = tables.query_gemm("bf16", 1, 8, 8)
    assert below.provenance == ["extrapolated"]
    assert 0 < below.latency_s[0] < tables.query_gemm("bf16", 1, N[0], K[0]).latency_s[0]


def test_a_hole_is_filled_by_its_neighbours_efficiency_and_said_to_be(build_tables: Build) -> None:
    rows = grid()
    gone = (rows["m"] == 256) & (rows["k"] == 8192) & (rows["n"] == 1024)
    kept = {**rows, **{name: rows[name][~gone] for name in ("m", "n", "k", "latency_s")}}
    tables = build_tables(kept)
    hole = tables.query_gemm("bf16", 256, 1024, 8192)
    assert hole.provenance == ["extrapolated"]
    assert hole.latency_s[0] == pytest.approx(rows["latency_s"][gone][0], rel=0.1)
    beside = tables.query_gemm("bf16", [200, 256, 1024, 64], [1024, 1024, 1024, 512], [8192, 4096, 8192, 8192])
    assert beside.provenance == ["extrapolated", "extrapolated", "measured", "measured"]


def test_rel_sd_grows_from_measured_to_interpolated_to_extrapolated_to_roofline(build_tables: Build) -> None:
    tables = build_tables(grid(ms=np.r_[M[:-1], np.arange(256, 4097, 128)]))
    answer = tables.query_gemm("bf16", [256, 680, 5000], 1024, 2048)
    assert answer.provenance == ["measured", "interpolated", "extrapolated"]
    roofline = build_tables().query_gemm("bf16", 640, 1024, 2048)
    sds = [*answer.rel_sd, *roofline.rel_sd]
    assert sds == sorted(set(sds))


def test_scalars_broadcast_and_tp_divides_columns(build_tables: Build) -> None:
    tables = build_tables(grid())
    many = tables.query_gemm("bf16", [64, 64], [1024, 1024], [2048, 2048])
    assert tables.query_gemm("bf16", 64, [1024, 1024], 2048).latency_s.tolist() == many.latency_s.tolist()
    assert tables.query_gemm("bf16", 64, 4096, 2048, tp=4).latency_s[0] == many.latency_s[0]
    assert len(tables.query_gemm("bf16", 64, 1024, 2048)) == 1
    assert len(tables.query_gemm("bf16", [], [], [])) == 0


def test_repeats_count_as_their_median(build_tables: Build) -> None:
    rows = grid()
    thrice = {name: np.tile(rows[name], 3) for name in ("m", "n", "k")}
    seconds = np.concatenate([rows["latency_s"] * factor for factor in (1.3, 9.0, 1.0)])
    answer = build_tables({**rows, **thrice, "latency_s": seconds}).query_gemm("bf16", rows["m"], rows["n"], rows["k"])
    np.testing.assert_allclose(answer.latency_s, 1.3 * rows["latency_s"], rtol=1e-12)


def test_rows_that_say_nothing_usable_are_not_used(build_tables: Build) -> None:
    rows = grid()
    bad = {name: np.r_[rows[name], rows[name][:3]] for name in ("m", "n", "k", "latency_s")}
    bad["latency_s"][-3:] = [np.nan, 0.0, 5.0]
    bad["m"][-1] = np.nan
    answer = build_tables({**rows, **bad}).query_gemm("bf16", rows["m"], rows["n"], rows["k"])
    np.testing.assert_allclose(answer.latency_s, rows["latency_s"], rtol=1e-12)


@pytest.mark.parametrize("name", ["h200_sxm", "l40s", "mi300x"])
def test_an_empty_database_is_answered_by_the_roofline(build_tables: Build, name: str) -> None:
    answer = build_tables(on=name).query_gemm("bf16", [1, 8192], 8192, 8192)
    facts = platform(name)
    assert set(answer.provenance) == {"roofline"}
    assert answer.latency_s[1] >= 2 * 8192**3 / facts.flops["bf16"]
    assert answer.latency_s[0] >= 2 * 8192**2 / facts.bandwidth_bytes_s
    assert (answer.rel_sd >= 0.1).all()


def test_an_unknown_number_format_is_refused_by_name(build_tables: Build) -> None:
    with pytest.raises(UnknownNameError, match="fp9"):
        build_tables(grid()).query_gemm("fp9", 1, 1, 1)


def test_the_farther_beyond_the_knots_the_less_sure(build_tables: Build) -> None:
    tables = build_tables(grid())
    beyond = tables.query_gemm("bf16", np.array([1.01, 2, 16, 1024]) * M[-1], N[-1], K[-1])
    assert set(beyond.provenance) == {"extrapolated"}
    assert (np.diff(beyond.rel_sd) > 0.01).all()
    twice = tables.query_gemm("bf16", M[-1], N[-1], np.array([2.0, 4.0]) * K[-1])
    assert twice.rel_sd[0] == pytest.approx(beyond.rel_sd[1])
    assert twice.rel_sd[0] < twice.rel_sd[1]
