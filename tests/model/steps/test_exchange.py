"""How tokens reach experts that are spread over ranks of attention: gathered by all, or sent to whom they choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from model.checkpoint.architecture import resolve_model
from model.knobs import points_of
from model.load import load_of
from model.steps.config import step_model
from model.steps.layers import Dispatch, Message, Sharding, calls
from model.tables.exchange import DEEPEP, NVLINK, exchange_kernel
from model.tables.kernels import Rates
from model.tables.library import Tables
from model.tables.shapes import Exchange
from perfdb.errors import InputError
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Workload

Build = Callable[..., Tables]
V3 = resolve_model("deepseek-ai/DeepSeek-V3")
LAYER = Exchange(7168.0, 8.0, 256.0, 8.0)
RATES = Rates(1e15, 4e12, 1e-5, link=4e11)


def part(op: str, made_by: str, tokens: list[float], factor: float = 1.0, **said: Any) -> dict[str, Any]:
    kernel = exchange_kernel(op, NVLINK if "NVLink" in made_by else DEEPEP, made_by.endswith("ll"))
    rows = np.repeat(tokens, 6)
    own: dict[str, Any] = {"op": op, "engine": "sglang", "engine_version": "0.5.12", "hidden": 7168.0, "topk": 8.0}
    own |= {"experts": 256.0, "nodes": 1.0, "tokens": rows, "kernel": made_by, "platform": "h200_sxm"}
    return own | {"latency_s": factor * kernel.formula(RATES, LAYER, [rows])} | said


def test_few_tokens_take_the_kernels_of_low_latency(build_tables: Build) -> None:
    parts = (
        part("moe_dispatch", "deepep_ll", [1, 64, 256, 1024]),
        part("moe_dispatch", "deepep_ht", [1, 64, 256, 4096], 3.0),
    )
    rows = {name: np.concatenate([parts[0][name], parts[1][name]]) for name in ("tokens", "latency_s")}
    names = np.repeat(np.array(["deepep_ll", "deepep_ht"], object), [len(p["tokens"]) for p in parts])
    tables = build_tables({**parts[0], **rows, "kernel": names}, engine="sglang", version="0.5.12")
    answer = tables.query_exchange("moe_dispatch", DEEPEP, "bf16", LAYER, [64, 256, 4096])
    assert set(answer.provenance) == {"measured"}
    plain = exchange_kernel("moe_dispatch", DEEPEP, True).formula(RATES, LAYER, [np.array([64.0, 256.0, 4096.0])])
    np.testing.assert_allclose(answer.latency_s / plain, [1.0, 1.0, 3.0])


def test_versions_without_the_kernel_are_passed_over(build_tables: Build) -> None:
    said = {"engine": "trtllm", "dtype": "bf16", "moe_ep": 8.0}
    older = part("moe_combine", "NVLinkTwoSided", [1, 64, 1024], **said | {"engine_version": "1.2.0rc6"})
    newer = part("moe_combine", "trtllm_deepep_ht", [1, 64, 1024], 9.0, **said | {"engine_version": "1.3.0rc11"})
    tables = build_tables(older, newer, engine="trtllm", version="1.3.0rc11")
    answer = tables.query_exchange("moe_combine", NVLINK, "bf16", LAYER, 64)
    assert answer.provenance == ["version_proxy"]
    assert answer.latency_s[0] == pytest.approx(older["latency_s"][6])


def test_a_token_is_sent_once_to_each_device_that_has_one_of_its_experts() -> None:
    kernel = exchange_kernel("moe_combine", DEEPEP, is_low_latency=False)
    bare = Rates(1e15, 4e12, 0.0, link=1.0)
    one = kernel.formula(bare, Exchange(1.0, 1.0, 256.0, 8.0), [np.ones(1)])
    many = kernel.formula(bare, Exchange(1.0, 1e4, 256.0, 8.0), [np.ones(1)])
    assert one[0] == pytest.approx(2.0 * 7.0 / 8.0)
    assert many[0] == pytest.approx(2.0 * 7.0)


def test_calls_exchange_where_they_are_told(build_tables: Build) -> None:
    gathered, sent = (list(calls(V3, Sharding(1, 1, 8, 8, way))) for way in ("", DEEPEP))
    assert [c.op for c in gathered if isinstance(c, Message)] == ["all_gather", "reduce_scatter"]
    assert [c.op for c in sent if isinstance(c, Dispatch)] == ["moe_dispatch", "moe_combine"]
    assert not [c for c in calls(V3, Sharding(8, 1, 8, 1, DEEPEP)) if isinstance(c, Dispatch)]


@pytest.mark.parametrize(
    ("served_by", "place", "config", "way"),
    [
        ("trtllm", "gb200", {"tp_size": 8, "ep_size": 8, "enable_attention_dp": True}, NVLINK),
        ("trtllm", "b200_sxm", {"tp_size": 8, "ep_size": 8, "enable_attention_dp": True}, ""),
        ("trtllm", "gb200", {"tp_size": 8, "enable_attention_dp": True}, ""),
        ("sglang", "gb200", {"tp_size": 8, "dp_size": 8, "ep_size": 8, "enable_dp_attention": True}, ""),
        ("sglang", "h200_sxm", {"tp_size": 8, "dp_size": 8, "ep_size": 8, "enable_dp_attention": True,
                                "moe_a2a_backend": "deepep"}, DEEPEP),
        ("vllm", "h200_sxm", {"data_parallel_size": 8, "enable_expert_parallel": True}, ""),
        ("vllm", "h200_sxm", {"data_parallel_size": 8, "enable_expert_parallel": True,
                              "all2all_backend": "deepep_low_latency"}, DEEPEP),
    ],
)  # fmt: skip
def test_engines_have_their_own_ways(
    build_tables: Build, served_by: str, place: str, config: dict[str, Any], way: str
) -> None:
    load = load_of(Workload(100, 10, Arrival.CLOSED, 1), 1)
    points = points_of(V3, platform(place), engine(served_by), 8, Grid.of([config]), load)
    steps = step_model(points, 0, build_tables(on=place, engine=served_by))
    assert steps.sharding.exchange == way
    names = [part.name for part in steps.by_tokens(np.array([8.0, 1000.0]))]
    assert ("dispatch" in names) == ("combine" in names) == (steps.sharding.attention_dp > 1)
    together = steps.together(1024)
    assert (np.diff(together) >= 0).all()


def test_an_unknown_way_is_refused() -> None:
    load = load_of(Workload(100, 10, Arrival.CLOSED, 1), 1)
    grid = Grid.of([{"all2all_backend": "pigeon"}])
    with pytest.raises(InputError, match="'pigeon' is not a known way to exchange tokens; expected none, naive"):
        points_of(V3, platform("h200_sxm"), engine("vllm"), 8, grid, load)
