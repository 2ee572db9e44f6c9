"""A model's own layers, measured as it runs them, answer before tables of single kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from model.checkpoint.architecture import resolve_model
from model.closed_form.cycle import decode_load
from model.knobs import points_of
from model.load import load_of
from model.simulate.costs import step_s
from model.steps.bundle import find_bundle
from model.steps.explain import explain
from model.steps.layers import Sharding
from model.steps.overheads import Overheads
from model.steps.step import step
from model.steps.tabulate import StepModel
from model.tables.library import Tables
from perfdb.facts.engines import engine
from perfdb.records import Arrival, Grid, Workload

Build = Callable[..., Tables]
LLAMA = resolve_model("meta-llama/Llama-3.1-8B")
QWEN = resolve_model("Qwen/Qwen3-30B-A3B")
SAID = {"engine": "vllm", "engine_version": "0.19.0", "dtype": "bf16", "model": "meta-llama/Llama-3.1-8B", "tp": 1.0}
TOKENS = 2.0 ** np.arange(0, 13)
SEQUENCES = np.array([1.0, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 224, 256])


def layer(op: str, each: float, **more: Any) -> dict[str, Any]:
    """An operation that takes `each` seconds per token or sequence, and ten times that to start."""
    counts = more.pop("counts", TOKENS)
    axis = "batch_size" if op in {"lm_head", "sampler"} else "tokens"
    return {**SAID, "op": op, axis: counts, "latency_s": each * (10 + counts), **more}


def joint(corner: float = 3e-3) -> dict[str, Any]:
    """Attention: 1 µs for each prompt token, 2 ns for each cached token of a decoding sequence; together, `corner`."""
    rows = [(c, p, n, k) for c in (0, 16, 64) for p in (0, 64) for n in (0, 1, 4) for k in (0, 64, 256)]
    rows = [row for row in rows if (row[2] > 0) == (row[3] > 0) and (row[0] or row[2]) and (row[0] or not row[1])]
    seconds = [corner if c and n == 4 else 1e-6 * c + 2e-9 * n * k for c, _, n, k in rows]
    kept = [place for place, row in enumerate(rows) if not (row[0] == 16 and row[2] == 4)]
    chunk, past, decodes, cached = np.array(rows, dtype=np.float64)[kept].T
    latency = np.array(seconds)[kept]
    return {
        **SAID, "op": "mixed_attention", "isl": chunk, "prefix": past, "decode_batch": decodes, "decode_kv": cached,
        "latency_s": latency,
    }  # fmt: skip


def measured(build_tables: Build, *more: dict[str, Any]) -> Tables:
    dense = [layer(op, 1e-8) for op in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj", "norm")]
    return build_tables(*dense, layer("lm_head", 1e-6, counts=SEQUENCES), joint(), *more, version="0.19.0")


def test_a_step_is_its_layers(build_tables: Build) -> None:
    """32 layers of four products and two norms each, the head once, attention in every layer."""
    found = find_bundle(measured(build_tables), LLAMA, Sharding())
    assert found is not None
    costs = found.costs(2048, 256)
    dense = 32 * (4 + 2) * 1e-8
    assert step_s(costs, 128, 64, 0.0, 0.0, 0.0, 0.0) == pytest.approx(dense * 138 + 1e-6 * 74)
    attention = step_s(costs, 4, 4, 0.0, 0.0, 4.0, 256.0) - step_s(costs, 4, 4, 0.0, 0.0, 0.0, 0.0)
    assert attention == pytest.approx(32 * 2e-9 * 4 * 256)


def test_prompts_and_decoding_together_take_what_was_measured_else_their_sum(build_tables: Build) -> None:
    found = find_bundle(measured(build_tables), LLAMA, Sharding())
    assert found is not None
    costs = found.costs(2048, 256)
    fixed = step_s(costs, 68, 5, 0.0, 0.0, 0.0, 0.0)
    assert step_s(costs, 68, 5, 64.0, 0.0, 4.0, 256.0) - fixed == pytest.approx(32 * 3e-3)
    fixed = step_s(costs, 20, 5, 0.0, 0.0, 0.0, 0.0)
    together = step_s(costs, 20, 5, 16.0, 0.0, 4.0, 256.0) - fixed
    assert together == pytest.approx(32 * (1e-6 * 16 + 2e-9 * 4 * 256))


def test_rows_that_were_timed_otherwise_are_left_out(build_tables: Build) -> None:
    odd = {**joint(corner=1.0), "more": '{"regime":"pure"}'}
    plain = find_bundle(measured(build_tables), LLAMA, Sharding())
    mixed = find_bundle(measured(build_tables, odd), LLAMA, Sharding())
    assert plain is not None
    assert mixed is not None
    np.testing.assert_array_equal(plain.attention, mixed.attention)


@pytest.mark.parametrize("sharding", [Sharding(tp=2), Sharding(pp=2), Sharding(tp=2, ep=2)])
def test_another_division_was_not_measured(build_tables: Build, sharding: Sharding) -> None:
    assert find_bundle(measured(build_tables), LLAMA, sharding) is None
    assert find_bundle(measured(build_tables), resolve_model("Qwen/Qwen3-8B"), Sharding()) is None


@pytest.mark.parametrize("formats", [("int4", "bf16"), ("bf16", "fp8"), ("fp8", "fp8")])
def test_other_number_formats_were_not_measured(build_tables: Build, formats: tuple[str, str]) -> None:
    assert find_bundle(measured(build_tables), LLAMA, Sharding(), formats) is None


def test_the_steps_of_a_config_take_it_and_add_nothing(build_tables: Build) -> None:
    nothing = Overheads(1.0, 1.0, 1.0, 1.0, 1.0)
    steps = StepModel(measured(build_tables), LLAMA, Sharding(), "bf16", "bf16", "bf16", nothing)
    bundle = find_bundle(measured(build_tables), LLAMA, Sharding())
    assert bundle is not None
    ours, theirs = steps.costs(64, 8), bundle.costs(64, 8)
    assert step_s(ours, 8, 8, 0.0, 0.0, 8.0, 128.0) == step_s(theirs, 8, 8, 0.0, 0.0, 8.0, 128.0)


def of_experts(build_tables: Build, rows: float = 0.0) -> Tables:
    """A mixture of which each expert reached takes 10 µs a layer, and each row `rows`; all else takes nothing."""
    said = {**SAID, "model": "Qwen/Qwen3-30B-A3B"}
    tokens, active = (axis.ravel() for axis in np.meshgrid(4.0 ** np.arange(6), [8.0, 32, 128], indexing="ij"))
    moe = {**said, "op": "moe", "tokens": tokens, "active_experts": active, "latency_s": 1e-5 * active + rows * tokens}
    dense = [{**layer(op, 0.0), **said, "latency_s": 1e-12 * TOKENS} for op in ("qkv_proj", "o_proj")]
    head = {**layer("lm_head", 1e-12, counts=SEQUENCES), **said}
    return build_tables(*dense, head, moe, {**joint(), **said}, version="0.19.0")


def test_experts_take_what_the_ones_that_are_reached_take(build_tables: Build) -> None:
    """128 experts, 8 of which a token takes: one token reaches 8, a thousand all of them."""
    found = find_bundle(of_experts(build_tables), QWEN, Sharding())
    assert found is not None
    costs = found.costs(2048, 8)
    assert costs.tokens[1] == pytest.approx(48 * 1e-5 * 8, rel=1e-3)
    assert costs.tokens[1024] == pytest.approx(48 * 1e-5 * 128, rel=1e-3)


def test_experts_beyond_the_measured_tokens_go_on_as_before_them(build_tables: Build) -> None:
    found = find_bundle(of_experts(build_tables, rows=1e-7), QWEN, Sharding())
    assert found is not None
    seconds = found.experts_s(np.array([1024.0, 2048.0, 3072.0]))
    assert np.diff(seconds) == pytest.approx([48 * 1024e-7] * 2, rel=1e-6)


def test_ranks_that_share_the_experts_reach_fewer_each_with_the_tokens_of_all(build_tables: Build) -> None:
    tables = of_experts(build_tables, rows=1e-7)
    shared, alone = find_bundle(tables, QWEN, Sharding(1, 1, 4, 4)), find_bundle(tables, QWEN, Sharding())
    assert shared is not None
    assert alone is not None
    seconds = shared.experts_s(np.array([256.0]))[0]
    assert seconds == pytest.approx(48 * (1e-5 * 128 / 4 + 4 * 256 * 1e-7), rel=1e-3)
    assert seconds < alone.experts_s(np.array([256.0]))[0]
    # experts that are not spread whole, or over devices that share more than them, were not measured
    for sharding in (Sharding(1, 1, 1, 4), Sharding(2, 1, 8, 4), Sharding(1, 1, 2, 4)):
        assert find_bundle(tables, QWEN, sharding) is None


def test_messages_between_ranks_come_on_top_and_are_what_they_do_together(build_tables: Build) -> None:
    nothing = Overheads(0.0, 0.0, 0.0, 0.0, 0.0)
    tables = of_experts(build_tables)
    steps = StepModel(tables, QWEN, Sharding(1, 1, 2, 2), "bf16", "bf16", "bf16", nothing)
    bundle = find_bundle(tables, QWEN, Sharding(1, 1, 2, 2))
    assert bundle is not None
    whole, together, experts = steps.costs(64, 8), steps.together(64), bundle.costs(64, 8)
    messages = whole.tokens - experts.tokens
    assert (messages[1:] > 0).all()
    np.testing.assert_allclose(together[1:], bundle.experts_s(np.arange(1.0, 65)) + messages[1:])


def test_between_devices_its_messages_are_added(build_tables: Build) -> None:
    """Layers are measured on one device each: what they send to each other is not in them."""
    halves = [{**rows, "tp": 2.0} for rows in (*(layer(op, 1e-8) for op in ("qkv_proj", "o_proj")), joint())]
    tables = measured(build_tables, *halves, {**layer("lm_head", 1e-6, counts=SEQUENCES), "tp": 2.0})
    nothing = Overheads(0.0, 0.0, 0.0, 0.0, 0.0)
    steps = StepModel(tables, LLAMA, Sharding(tp=2), "bf16", "bf16", "bf16", nothing)
    assert steps.bundle is not None
    sent = tables.query_all_reduce(64 * LLAMA.hidden * 2.0, 2).latency_s.item() * 65
    more = steps.costs(64, 8).tokens[64] - steps.bundle.costs(64, 8).tokens[64]
    assert more == pytest.approx(sent, rel=1e-6)


def test_measured_layers_are_explained_as_they_are(build_tables: Build) -> None:
    load = load_of(Workload(64, 8, Arrival.CLOSED, 4), 1)
    tables = measured(build_tables)
    made = points_of(LLAMA, tables.platform, engine("vllm"), 1, Grid.of([{"max_num_seqs": 16}]), load, tables)
    found = explain(made, 0, 4.0)["decode"]
    assert {"qkv_proj", "gate_up_proj", "attention", "lm_head"} <= {part.name for part in found}
    whole = step(made, decode_load(made, np.full(1, 4.0))).seconds.item()
    assert sum(part.seconds for part in found) == pytest.approx(whole, rel=1e-6)
