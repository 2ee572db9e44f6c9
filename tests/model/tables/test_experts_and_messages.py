"""Experts and messages: exact where measured, and what their formulas say beyond."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tables.kernels import EXPERTS, Rates, share_met
from model.tables.library import Tables
from model.tables.shapes import Experts
from perfdb.errors import UnknownNameError

Build = Callable[..., Tables]
RATES = Rates(6e14, 4e12, 8e-6)
TOKENS = 2.0 ** np.arange(0, 15)
LAYER = Experts(4096, 1536, 8, 128, 1, 8, 1.2)


def moe(layer: Experts = LAYER, factor: float = 1.0, **said: Any) -> dict[str, Any]:
    names = ("hidden", "inter", "topk", "experts", "moe_tp", "moe_ep")
    seconds = factor * EXPERTS.formula(RATES, layer, [TOKENS])
    own = {"op": "moe", "engine": "vllm", "engine_version": "0.24.0", "dtype": "bf16"}
    sizes = dict(zip(names, layer[:-1], strict=True))
    return {**own, **sizes, "distribution": f"power_law_{layer.skew}", "tokens": TOKENS, "latency_s": seconds, **said}


def all_reduce(devices: float = 8.0, **said: Any) -> dict[str, Any]:
    elements = 2.0 ** np.arange(8, 28)
    own = {"op": "all_reduce", "engine": "vllm", "engine_version": "0.24.0", "dtype": "bf16"}
    return {**own, "elements": elements, "devices": devices, "latency_s": 8e-6 + elements * 2 / 3e11, **said}


def test_experts_are_exact_where_measured_and_between_their_neighbours(build_tables: Build) -> None:
    rows = moe(factor=1.3)
    tables = build_tables(rows)
    answer = tables.query_experts("bf16", LAYER, TOKENS)
    np.testing.assert_allclose(answer.latency_s, rows["latency_s"], rtol=1e-12)
    assert set(answer.provenance) == {"measured"}
    between = tables.query_experts("bf16", LAYER, 1.5 * TOKENS[:-1])
    assert ((between.latency_s >= rows["latency_s"][:-1]) & (between.latency_s <= rows["latency_s"][1:])).all()


def test_a_layer_never_measured_takes_the_ratio_of_the_nearest(build_tables: Build) -> None:
    tables, other = build_tables(moe(factor=1.3)), LAYER._replace(inter=1024)
    answer = tables.query_experts("bf16", other, [16384.0])
    assert answer.provenance == ["extrapolated"]
    ratio = EXPERTS.formula(RATES, other, [TOKENS[-1:]]) / EXPERTS.formula(RATES, LAYER, [TOKENS[-1:]])
    known = tables.query_experts("bf16", LAYER, [16384.0])
    assert answer.latency_s[0] == pytest.approx(known.latency_s[0] * ratio[0], rel=0.1)
    assert answer.rel_sd[0] > known.rel_sd[0]


def test_how_unevenly_experts_are_chosen_tells_tables_apart(build_tables: Build) -> None:
    balanced = LAYER._replace(skew=0.0)
    rows = [moe(), moe(balanced, 0.8, distribution="balanced")]
    texts = {name: value for name, value in rows[0].items() if isinstance(value, str)}
    numbers = {name: np.concatenate([np.broadcast_to(r[name], 15) for r in rows]) for name in rows[0].keys() - texts}
    names = np.repeat(np.array([r["distribution"] for r in rows], dtype=object), 15)
    tables = build_tables({**texts, **numbers, "distribution": names})
    uneven, even = (tables.query_experts("bf16", layer, TOKENS) for layer in (LAYER, balanced))
    for answer, row in ((uneven, rows[0]), (even, rows[1])):
        np.testing.assert_allclose(answer.latency_s, row["latency_s"], rtol=1e-12)
    assert set(even.provenance) == {"measured"}


def test_without_tables_experts_are_at_least_what_their_weights_take_to_read(build_tables: Build) -> None:
    answer = build_tables().query_experts("bf16", LAYER._replace(moe_ep=1), [1.0, 4096.0])
    weights = 3 * 4096 * 1536 * 2 / 4.8e12
    assert 8 * weights * 0.9 <= answer.latency_s[0] <= 40 * weights
    assert answer.latency_s[1] >= 128 * weights
    assert set(answer.provenance) == {"roofline"}


@given(
    st.floats(1, 1e5), st.sampled_from([1.0, 2, 8]), st.sampled_from([8.0, 128, 256]), st.sampled_from([0.0, 0.6, 1.2])
)
def test_more_tokens_never_take_less(tokens: float, moe_ep: float, experts: float, skew: float) -> None:
    layer = LAYER._replace(experts=experts, moe_ep=moe_ep, skew=skew)
    few, more = EXPERTS.formula(RATES, layer, [np.array([tokens, tokens * 1.1])])
    assert few <= more


def test_messages_are_exact_where_measured_by_bytes(build_tables: Build) -> None:
    rows = all_reduce()
    answer = build_tables(rows).query_all_reduce(rows["elements"] * 2, 8)
    np.testing.assert_allclose(answer.latency_s, rows["latency_s"], rtol=1e-12)
    assert set(answer.provenance) == {"measured"}


def test_more_devices_than_measured_are_carried_over(build_tables: Build) -> None:
    tables = build_tables(all_reduce())
    few, many = tables.query_all_reduce(1e8, 8), tables.query_all_reduce(1e8, 16)
    assert many.provenance == ["extrapolated"]
    assert few.latency_s[0] < many.latency_s[0] < 1.2 * few.latency_s[0]
    assert many.rel_sd[0] > few.rel_sd[0]


def test_without_tables_a_message_takes_what_its_links_take(build_tables: Build) -> None:
    tables = build_tables()
    answer = tables.query_all_reduce(1e9, 8)
    assert answer.latency_s[0] >= 2 * 7 / 8 * 1e9 / 450e9
    assert answer.provenance == ["roofline"]
    assert 0 < tables.link <= 450e9


def test_an_estimate_is_said_to_be_one(build_tables: Build) -> None:
    answer = build_tables().estimate(1e-6, np.array([0.0, 1e-6]))
    assert answer.latency_s.tolist() == [1e-6, 2e-6]
    assert answer.provenance == ["roofline", "roofline"]
    assert (answer.rel_sd > 0.1).all()


@pytest.mark.parametrize("skew", [0.0, 0.6, 1.0, 1.01, 1.2])
def test_fewer_experts_get_a_token_where_they_are_chosen_unevenly(skew: float) -> None:
    each = np.array([1e-3, 0.1, 1.0, 10.0, 1000.0])
    met, even = share_met(each, 128.0, skew), share_met(each, 128.0, 0.0)
    assert (np.diff(met) >= 0).all()
    assert (met <= even + 1e-12).all()
    assert even.tolist() == np.minimum(each, 1.0).tolist()
    assert met[-1] == pytest.approx(1.0, abs=0.01)
    assert met[0] == pytest.approx(each[0], rel=0.05)


def test_every_device_orders_all_tokens_however_many_there_are() -> None:
    """Spread over more devices, the products shrink; what is read and written around them does not."""
    few, many = (EXPERTS.formula(RATES, LAYER._replace(moe_ep=ep), [np.array([16384.0])])[0] for ep in (1.0, 128.0))
    around = 5 * 16384 * 8 * 4096 * 2 / RATES.bandwidth
    assert around < many < around * 1.2 + RATES.launch_s
    assert few > 2 * many


@pytest.mark.parametrize("op", ["all_gather", "reduce_scatter", "all_to_all"])
def test_collectives_of_a_library_are_measurements_of_every_engine(build_tables: Build, op: str) -> None:
    rows = all_reduce(op=op, engine="nccl", engine_version="2.27.3", dtype="fp16")
    tables = build_tables(rows)
    answer = tables.query_message(op, rows["elements"] * 2, 8)
    np.testing.assert_allclose(answer.latency_s, rows["latency_s"], rtol=1e-12)
    assert set(answer.provenance) == {"measured"}
    assert tables.warnings == {}
    assert tables.query_message("all_reduce", 1e6, 8).provenance == ["roofline"]


def test_gathering_parts_takes_half_of_summing_them(build_tables: Build) -> None:
    tables = build_tables()
    gather, total = (tables.query_message(op, 1e9, 8).latency_s[0] for op in ("all_gather", "all_reduce"))
    assert gather == pytest.approx(total / 2, rel=0.01)


def test_an_unknown_collective_is_refused_by_name(build_tables: Build) -> None:
    with pytest.raises(UnknownNameError, match="all_scatter"):
        build_tables().query_message("all_scatter", 1e6, 8)


def test_an_exponent_of_one_lies_between_its_neighbours() -> None:
    each = np.array([0.1, 1.0, 10.0])
    low, one, high = (share_met(each, 128.0, skew) for skew in (1.001, 1.0, 0.999))
    assert (low <= one).all()
    assert (one <= high).all()
    assert one == pytest.approx(low, rel=1e-3)
