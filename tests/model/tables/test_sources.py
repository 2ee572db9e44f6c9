"""Which table answers where the engine's own has nothing: what stands in for what, and what it costs in certainty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tables.kernels import GEMM, Rates
from model.tables.library import Tables
from model.tables.shapes import Experts, Heads
from model.tables.sources import Choice, choose, distance, version_number, version_sd
from perfdb.operations import OperationSet, canonical_dtype

Build = Callable[..., Tables]
M, N, K = [1.0, 64.0, 4096.0], [1024.0, 4096.0], [1024.0, 8192.0]
FORMATS = (
    "fp32", "fp16", "bf16", "fp8", "fp8_block", "fp8_static", "int8", "int8_wo", "int4", "int4_fp8", "fp4", "nvfp4",
    "nvfp4_wo", "mxfp4", "mxfp4_mxfp8", "w4a8", "w8a16",
)  # fmt: skip


def part(factor: float, engine: str = "vllm", version: str = "0.24.0", dtype: str = "bf16") -> dict[str, Any]:
    m, n, k = (axis.ravel() for axis in np.meshgrid(M, N, K, indexing="ij"))
    seconds = factor * GEMM.formula(Rates(6e14, 4e12, 4e-6), (), [m, n, k])
    said = {"op": "gemm", "engine": engine, "engine_version": version, "dtype": dtype}
    return {**said, "m": m, "n": n, "k": k, "latency_s": seconds}


def at(tables: Tables, dtype: str = "bf16") -> tuple[float, float, str]:
    answer = tables.query_gemm(dtype, 64, 4096, 8192)
    return float(answer.latency_s[0]), float(answer.rel_sd[0]), answer.provenance[0]


def part_s(factor: float) -> float:
    rows = part(factor)
    return float(rows["latency_s"][(rows["m"] == 64) & (rows["n"] == 4096) & (rows["k"] == 8192)][0])


def test_the_own_version_answers_where_it_has_a_table(build_tables: Build) -> None:
    tables = build_tables(part(1.0), part(2.0, version="0.22.0"), part(3.0, "sglang", "0.5.14"), version="0.22.0")
    seconds, sd, provenance = at(tables)
    assert (seconds, provenance) == (pytest.approx(part_s(2.0)), "measured")
    assert tables.warnings == {}
    assert sd < 0.02


@pytest.mark.parametrize(
    ("version", "factor"), [("0.21.0", 2.0), ("0.23.1", 1.0), ("0.25.0", 1.0), ("0.11.0", 4.0), (None, 1.0)]
)
def test_the_nearest_version_stands_in_and_the_newest_where_none_is_asked(
    build_tables: Build, version: str | None, factor: float
) -> None:
    parts = part(4.0, version="0.14.0"), part(2.0, version="0.22.0"), part(1.0), part(8.0, "sglang", version or "1")
    tables = build_tables(*parts, version=version)
    seconds, _, provenance = at(tables)
    assert seconds == pytest.approx(part_s(factor))
    assert provenance == ("measured" if version is None else "version_proxy")
    assert len(tables.warnings) == (version is not None)


def test_one_warning_names_what_was_asked_and_what_stands_in(build_tables: Build) -> None:
    tables = build_tables(part(1.0), version="0.23.0")
    for _ in range(3):
        at(tables)
    assert list(tables.warnings.values()) == [
        "nothing of vllm 0.23.0 on h200_sxm was measured: tables of vllm 0.24.0, the nearest version, stand in"
    ]


def test_what_stands_in_is_less_sure_the_farther_away_it_is(build_tables: Build) -> None:
    own, patch, minor, old = (at(build_tables(part(1.0, version=v)))[1] for v in ("0.24.0", "0.24.1", "0.23.0", "0.20"))
    assert own < patch < minor / 2 < old / 4
    oldest = at(build_tables(part(1.0, version="0.1.0")))
    engine = at(build_tables(part(1.0, "trtllm", "1.2")))
    assert engine[2] == oldest[2] == "version_proxy"
    assert oldest[1] > engine[1] > minor
    assert engine[0] == pytest.approx(part_s(1.0))


def test_of_another_engine_the_newest_stands_in(build_tables: Build) -> None:
    """Its versions say nothing of how far they are from ours."""
    parts = part(2.0, "trtllm", "0.24.0"), part(3.0, "trtllm", "1.2"), part(4.0, "trtllm", "0.20")
    assert at(build_tables(*parts))[0] == pytest.approx(part_s(3.0))


def test_releases_are_counted_as_each_engine_counts_them() -> None:
    assert distance("vllm", "0.22.0", "0.24.0") == pytest.approx(2.0)
    assert distance("sglang", "0.5.10", "0.5.14") == pytest.approx(4.0)
    assert distance("trtllm", "1.3.0rc10", "1.3.0rc20") == pytest.approx(1.0)
    assert distance("vllm", "0.24.0", "0.24.0") == 0.0
    assert distance("vllm", "0.24.0rc1", "0.24.0") == 1.0 < distance("vllm", "0.24.0rc1", "0.19.1")
    assert version_sd(0.0) < version_sd(1.0) < version_sd(3.0) < version_sd(100.0) == version_sd(200.0)


def test_another_format_lends_its_efficiency_not_its_time(build_tables: Build) -> None:
    tables = build_tables(part(1.5))
    bf16, fp8 = at(tables), at(tables, "fp8")
    assert fp8[2] == "learned"
    assert 0.4 * bf16[0] < fp8[0] < bf16[0]
    assert fp8[1] > bf16[1] + 0.1
    roofline = at(build_tables(), "fp8")
    slower = at(build_tables(part(3.0)), "fp8")
    assert slower[0] == pytest.approx(2.0 * fp8[0])
    assert slower[0] != roofline[0]


def test_half_precision_is_one_format_by_two_names(build_tables: Build) -> None:
    seconds, _, provenance = at(build_tables(part(1.0, dtype="fp16")))
    assert (seconds, provenance) == (pytest.approx(part_s(1.0)), "measured")


def test_the_own_format_of_another_version_comes_before_another_format(build_tables: Build) -> None:
    tables = build_tables(part(1.0), part(0.5, version="0.14.0", dtype="fp8"))
    seconds, _, provenance = at(tables, "fp8")
    assert (seconds, provenance) == (pytest.approx(part_s(0.5)), "version_proxy")


def test_a_table_of_a_few_rows_is_not_asked(build_tables: Build) -> None:
    rows = part(1.0)
    few = {**rows, **{name: rows[name][:6] for name in ("m", "n", "k", "latency_s")}}
    assert at(build_tables(few))[2] == "roofline"


def test_a_cache_format_is_never_mistaken_for_another() -> None:
    sets = [OperationSet("vllm", "1", "generation_attention", "bf16", "bf16", 100)]
    assert choose(sets, "generation_attention", "vllm", "1", "bf16", "fp8") is None
    assert choose(sets, "generation_attention", "vllm", "1", "bf16", "bf16") == Choice("vllm", "1", "bf16", "bf16")
    assert choose([], "gemm", "vllm", "1", "bf16", None) is None


def test_an_unmeasured_attention_answers_by_its_roofline(build_tables: Build) -> None:
    answer = build_tables(part(1.0)).query_attention("generation", "fp8", Heads(32, 8, 128), 64, [1024.0, 65536.0])
    assert answer.provenance == ["roofline", "roofline"]
    data = 64 * 65536 * 2 * 8 * 128
    assert answer.latency_s[1] >= data / 4.8e12


@pytest.mark.parametrize(
    ("older", "newer"),
    [("0.9.2", "0.10.0"), ("0.24.0", "0.24.1"), ("1.3.0rc2", "1.3.0rc20"), ("1.3.0rc20", "1.3.0"), ("0.5.14", "1.0")],
)
def test_versions_are_ordered_as_they_were_released(older: str, newer: str) -> None:
    assert version_number(older) < version_number(newer)


@given(st.one_of(st.none(), st.text(max_size=12)))
def test_any_text_is_some_version(text: str | None) -> None:
    assert np.isfinite(version_number(text))


@pytest.mark.parametrize("name", sorted({canonical_dtype(word) or "" for word in FORMATS}))
def test_every_format_of_tables_is_answered(build_tables: Build, name: str) -> None:
    for tables in (build_tables(), build_tables(part(1.0))):
        assert np.isfinite(tables.query_gemm(name, 64, 4096, 8192).latency_s).all()
        assert np.isfinite(tables.query_experts(name, Experts(2048, 768, 8, 128), 64).latency_s).all()


def test_formats_of_weights_alone_have_somebody_to_stand_in() -> None:
    sets = [OperationSet("vllm", "1", "gemm", "bf16", None, 12)]
    for name in ("int8_wo", "int4_fp8", "nvfp4_wo", "mxfp4_mxfp8", "fp32"):
        found = choose(sets, "gemm", "vllm", "1", name, None)
        assert found is not None
        assert (found.dtype, found.is_sibling) == ("bf16", True)


def test_an_unknown_version_is_said_once_and_what_it_lacks_beside(build_tables: Build) -> None:
    """Operations that the nearest version has need no sentence of their own."""
    parts = part(1.0), part(1.0, dtype="fp8"), part(2.0, version="0.19.0", dtype="nvfp4")
    tables = build_tables(*parts, version="9.9")
    for dtype in ("bf16", "fp8", "nvfp4"):
        at(tables, dtype)
    said = sorted(tables.warnings.values())
    assert said == [
        "no nvfp4 gemm of vllm 9.9 on h200_sxm was measured: that of vllm 0.19.0 in nvfp4 stands in",
        "nothing of vllm 9.9 on h200_sxm was measured: tables of vllm 0.24.0, the nearest version, stand in",
    ]


UNTAGGED = "0.1.dev19262+gb6bbf29dd.d20260727"


def test_a_build_without_tags_is_near_to_no_version(build_tables: Build) -> None:
    """Its 0.1 is what setuptools-scm says where it sees no tag: it may be of any day."""
    parts = part(2.0, version=UNTAGGED), part(1.0), part(3.0, version="0.19.0")
    for version, factor in (("0.1", 3.0), ("0.24.1", 1.0), (None, 1.0), (UNTAGGED, 2.0)):
        assert at(build_tables(*parts, version=version))[0] == pytest.approx(part_s(factor))
    assert distance("vllm", UNTAGGED, "0.1.0") == distance("vllm", "0.24.0", None) == np.inf
    assert version_sd(np.inf) == version_sd(100.0)


def test_a_release_comes_before_a_build_that_is_as_near(build_tables: Build) -> None:
    build, release = part(2.0, version="0.14.1.dev1+gd68209402"), part(1.0, version="0.14.1")
    larger = {name: np.concatenate([value, value + 1]) if name in "mnk" else value for name, value in build.items()}
    larger["latency_s"] = np.concatenate([build["latency_s"], build["latency_s"]])
    for version in ("0.1", "0.14.0", "0.20.0", None):
        for parts in ((larger, release), (release, larger)):
            tables = build_tables(*parts, version=version)
            assert at(tables)[0] == pytest.approx(part_s(1.0))
            assert all("tables of vllm 0.14.1, the nearest" in said for said in tables.warnings.values())
    alone = build_tables(build, version="0.1")
    assert at(alone)[0] == pytest.approx(part_s(2.0))
    assert "tables of vllm 0.14.1.dev1+gd68209402, the nearest version, stand in" in next(iter(alone.warnings.values()))


def test_the_version_that_is_said_to_stand_in_is_the_one_that_does(build_tables: Build) -> None:
    """A nearer one that has nothing of what is asked is none."""
    nearer = {**part(9.0, version="0.2.0"), "dtype": "int8"}
    tables = build_tables(nearer, part(1.0), version="0.1")
    at(tables)
    assert list(tables.warnings.values()) == [
        "nothing of vllm 0.1 on h200_sxm was measured: tables of vllm 0.24.0, the nearest version, stand in"
    ]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_tables_too_small_to_use_are_named(build_tables: Build, engine: str) -> None:
    few = {name: value[:5] if isinstance(value, np.ndarray) else value for name, value in part(1.0, engine).items()}
    tables = build_tables(few)
    for _ in range(2):
        assert at(tables)[2] == "roofline"
    sentence = "the table of bf16 gemm of vllm 0.24.0 on h200_sxm has 5 rows and is not used: it takes 12"
    assert list(tables.warnings.values()) == ([sentence] if engine == "vllm" else [])


def test_measurements_that_are_not_taken_are_counted(build_tables: Build) -> None:
    rows = part(1.0)
    heard = at(build_tables(rows))
    asked = (rows["m"] == 64) & (rows["n"] == 4096) & (rows["k"] == 8192)
    tables = build_tables({**rows, "latency_s": rows["latency_s"] * np.where(asked, 40.0, 1.0)})
    seconds, sd, provenance = at(tables)
    assert provenance == "interpolated"
    assert seconds == pytest.approx(heard[0], rel=0.2)
    assert sd > 3 * heard[1]
    assert list(tables.warnings.values()) == [
        "measurements of bf16 gemm of vllm 0.24.0 on h200_sxm that no neighbour agrees with, and for which these "
        "answer: 1 of 12"
    ]
