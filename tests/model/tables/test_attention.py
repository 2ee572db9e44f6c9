"""query_attention (FEATURES S1.21, S1.22): prompts and decoding, windows, heads of their own, cached tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.tables.kernels import CONTEXT, GENERATION, Rates, attended
from model.tables.library import Tables
from model.tables.shapes import Heads

Build = Callable[..., Tables]
RATES = Rates(5e14, 4e12, 5e-6)
HEADS, BATCH = [8.0, 32.0], [1.0, 4.0, 16.0]
ISL, CACHED = [1.0, 128.0, 1024.0, 4096.0, 16384.0], [2.0, 129.0, 1025.0, 8193.0, 65537.0]
GQA = Heads(32, 8, 128)
relaxed = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def part(op: str, axes: list[Any], kv_heads: Any = 8.0, window: float = 0.0, **said: Any) -> dict[str, Any]:
    """A whole grid of one slice; `kv_heads` None: as many as heads."""
    mesh = [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]
    kernel = CONTEXT if op.startswith("context") else GENERATION
    of_kv = mesh[0] if kv_heads is None else np.full(len(mesh[0]), kv_heads)
    seconds = kernel.formula(RATES, (128.0, window, of_kv), mesh) * (1.0 + 1.0 / mesh[0])
    names = dict(zip(("heads", "batch_size", "isl", "prefix"), mesh, strict=False))
    if kernel is GENERATION:
        names |= {"prefix": mesh[2] - 1.0, "isl": np.ones(len(seconds))}
    own = {"op": op, "engine": "vllm", "engine_version": "0.24.0", "dtype": "bf16", "kv_dtype": "bf16"}
    sizes = {"kv_heads": of_kv, "head_dim": 128.0, "window_size": window, "latency_s": seconds}
    return {**own, **names, **sizes, **said}


def context(prefix: tuple[float, ...] = (0.0, 1024.0, 8192.0), **said: Any) -> dict[str, Any]:
    return part("context_attention", [HEADS, BATCH, ISL, list(prefix)], **said)


def generation(**said: Any) -> dict[str, Any]:
    return part("generation_attention", [HEADS, BATCH, CACHED], **said)


def joined(*parts: dict[str, Any]) -> dict[str, Any]:
    """Slices of one table."""
    numbers = [name for name, value in parts[0].items() if not isinstance(value, str)]
    columns = {
        name: np.concatenate([np.broadcast_to(p[name], p["latency_s"].shape) for p in parts]) for name in numbers
    }
    return {**parts[0], **columns}


def test_prompts_are_exact_where_measured(build_tables: Build) -> None:
    rows = context()
    at = rows["heads"] == 32
    answer = build_tables(rows).query_attention(
        "context", "bf16", GQA, rows["batch_size"][at], rows["isl"][at], rows["prefix"][at]
    )
    np.testing.assert_allclose(answer.latency_s, rows["latency_s"][at], rtol=1e-12)
    assert set(answer.provenance) == {"measured"}


def test_decoding_is_exact_where_measured_with_its_new_token(build_tables: Build) -> None:
    rows = generation()
    at = rows["heads"] == 32
    answer = build_tables(rows).query_attention(
        "generation", "bf16", GQA, rows["batch_size"][at], rows["prefix"][at] + 1
    )
    np.testing.assert_allclose(answer.latency_s, rows["latency_s"][at], rtol=1e-12)
    assert set(answer.provenance) == {"measured"}


@relaxed
@given(heads=st.floats(8.5, 32), batch=st.floats(1, 16), length=st.floats(2, 16384))
def test_between_knots_answers_are_bounded_by_the_outermost(
    build_tables: Build, heads: float, batch: float, length: float
) -> None:
    tables = build_tables(context(), generation())
    for phase in ("context", "generation"):
        low = tables.query_attention(phase, "bf16", Heads(8.5, 8, 128), 1, 2).latency_s * 0.9
        # few heads take longer each: where keys and values count most, all of them together do
        ends = [tables.query_attention(phase, "bf16", Heads(n, 8, 128), 16, 16384).latency_s for n in (8.5, 32)]
        high = np.maximum(*ends) * 1.001
        middle = tables.query_attention(phase, "bf16", Heads(heads, 8, 128), batch, length)
        assert low[0] <= middle.latency_s[0] <= high[0]
        assert middle.provenance[0] in {"measured", "interpolated"}


@relaxed
@given(batch=st.floats(1, 16), heads=st.floats(8.5, 32))
def test_longer_prompts_and_caches_never_take_less(build_tables: Build, batch: float, heads: float) -> None:
    tables, lengths = build_tables(context(prefix=(0.0,)), generation()), np.geomspace(2, 16384, 200)
    decoding = tables.query_attention("generation", "bf16", Heads(heads, 8, 128), batch, lengths)
    assert (np.diff(decoding.latency_s) >= 0).all()
    tiles = np.unique(np.ceil(lengths / 128) * 128)  # within a tile, waves stand still
    prompts = tables.query_attention("context", "bf16", GQA, 16, tiles)
    assert (np.diff(prompts.latency_s) >= -1e-15).all()


@pytest.mark.parametrize("phase", ["context", "generation"])
def test_a_window_that_sees_everything_is_none(build_tables: Build, phase: str) -> None:
    tables, lengths = build_tables(context(), generation()), np.array([64.0, 500.0, 4096.0])
    plain = tables.query_attention(phase, "bf16", GQA, 4, lengths)
    wide = tables.query_attention(phase, "bf16", GQA._replace(window=4096), 4, lengths)
    assert plain.latency_s.tolist() == wide.latency_s.tolist()
    assert plain.provenance == wide.provenance


def test_a_window_counts_cached_tokens_too(build_tables: Build) -> None:
    tables = build_tables(context())
    cut = tables.query_attention("context", "bf16", GQA._replace(window=1024), 4, 512, [0.0, 512.0, 513.0])
    plain = tables.query_attention("context", "bf16", GQA, 4, 512, [0.0, 512.0, 513.0])
    assert (cut.latency_s[:2] == plain.latency_s[:2]).all()
    assert cut.latency_s[2] < plain.latency_s[2]


def test_a_measured_window_answers_itself_and_one_never_measured_is_carried_over(build_tables: Build) -> None:
    windowed = generation(window=1024.0)
    tables = build_tables(joined(generation(), windowed))
    own = tables.query_attention("generation", "bf16", GQA._replace(window=1024), 4, 8193)
    at = (windowed["heads"] == 32) & (windowed["batch_size"] == 4) & (windowed["prefix"] == 8192)
    assert own.latency_s.tolist() == pytest.approx(windowed["latency_s"][at].tolist(), rel=1e-12)
    assert own.provenance == ["measured"]
    other = tables.query_attention("generation", "bf16", GQA._replace(window=2048), 16, [65537.0])
    assert other.provenance == ["extrapolated"]
    whole = tables.query_attention("generation", "bf16", GQA, 16, 65537)
    assert other.latency_s[0] < 0.2 * whole.latency_s[0]
    assert other.rel_sd[0] > own.rel_sd[0]


def test_heads_with_keys_of_their_own_are_a_slice_of_their_own(build_tables: Build) -> None:
    tables = build_tables(joined(generation(), generation(kv_heads=None)))
    own = generation(kv_heads=None)
    asked = tables.query_attention("generation", "bf16", Heads(32, 32, 128), 4, [1025.0, 3000.0])
    at = (own["heads"] == 32) & (own["batch_size"] == 4) & (own["prefix"] == 1024)
    assert asked.latency_s[0] == pytest.approx(own["latency_s"][at][0], rel=1e-12)
    assert asked.provenance == ["measured", "interpolated"]
    between = tables.query_attention("generation", "bf16", Heads(20, 20, 128), 4, 1025)
    assert between.provenance == ["interpolated"]
    shared = tables.query_attention("generation", "bf16", Heads(8, 8, 128), 4, 1025)
    assert shared.provenance == ["measured"]


def test_another_head_size_is_carried_over_from_the_nearest_slice(build_tables: Build) -> None:
    tables = build_tables(generation())
    small = tables.query_attention("generation", "bf16", GQA._replace(head_dim=64), 16, 65537)
    large = tables.query_attention("generation", "bf16", GQA, 16, 65537)
    assert small.provenance == ["extrapolated"]
    assert small.latency_s[0] == pytest.approx(large.latency_s[0] / 2, rel=0.1)
    assert small.rel_sd[0] >= 0.15


def test_without_tables_of_cached_tokens_a_chunk_is_its_share_of_the_whole_prompt(build_tables: Build) -> None:
    """A first chunk is measured; a later one takes its share by what it attends to, and says so."""
    tables = build_tables(context(prefix=(0.0,)))
    answer = tables.query_attention("context", "bf16", GQA, 16, [4096.0, 8192.0], [0.0, 8192.0])
    assert answer.provenance == ["measured", "interpolated"]
    whole = tables.query_attention("context", "bf16", GQA, 16, 16384).latency_s[0]
    share = attended(np.array([8192.0]), np.array([8192.0]), 0.0) / attended(np.array([16384.0]), np.zeros(1), 0.0)
    assert answer.latency_s[1] == pytest.approx(whole * share[0], rel=0.02)
    assert answer.rel_sd[1] > answer.rel_sd[0]


def test_chunks_of_a_prompt_take_about_what_the_prompt_takes(build_tables: Build) -> None:
    """FEATURES S1.20: the sum equals the total."""
    for rows in (context(prefix=(0.0,)), context()):
        tables = build_tables(rows)
        parts = tables.query_attention("context", "bf16", GQA, 16, 4096, np.arange(0, 16384, 4096.0))
        whole = tables.query_attention("context", "bf16", GQA, 16, 16384)
        assert parts.latency_s.sum() == pytest.approx(whole.latency_s[0], rel=0.05)


def test_places_beyond_the_grid_follow_the_formula(build_tables: Build) -> None:
    tables = build_tables(context(), generation())
    for phase, growth in (("context", 16.0), ("generation", 4.0)):
        last = 16384.0 if phase == "context" else 65537.0
        edge, beyond = tables.query_attention(phase, "bf16", GQA, 16, [last, 4 * last]).latency_s
        assert beyond == pytest.approx(growth * edge, rel=0.02)


def test_a_cache_in_another_format_has_a_table_of_its_own(build_tables: Build) -> None:
    rows = generation()
    half = generation(kv_dtype="fp8", latency_s=rows["latency_s"] / 2)
    tables = build_tables(rows, half)
    assert tables.query_attention("generation", "fp8", GQA, 4, 1025).latency_s[0] == pytest.approx(
        tables.query_attention("generation", "bf16", GQA, 4, 1025).latency_s[0] / 2
    )


@given(isl=st.integers(1, 60), prefix=st.integers(0, 60), window=st.one_of(st.just(0), st.integers(1, 100)))
def test_attended_counts_the_keys_that_each_new_token_sees(isl: int, prefix: int, window: int) -> None:
    seen = [min(prefix + i + 1, window or prefix + isl) for i in range(isl)]
    assert attended(np.array([float(isl)]), np.array([float(prefix)]), float(window))[0] == pytest.approx(sum(seen))


def test_the_farther_away_the_nearest_slice_the_less_sure(build_tables: Build) -> None:
    tables = build_tables(context(), generation())
    own, near, far = (
        tables.query_attention("context", "bf16", Heads(32, 8, width), 4, 1024).rel_sd[0] for width in (128, 192, 512)
    )
    assert own < near < far
    assert near > own + 0.15
