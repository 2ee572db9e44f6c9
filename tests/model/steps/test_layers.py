"""Calls of a step (FEATURES S1.20): their sum equals what the architecture counts, on one device and on several."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace

import pytest

from model.checkpoint.architecture import Architecture, resolve_model
from model.steps.layers import Attention, LatentAttention, Message, Mixture, Product, Send, Sharding, Traffic, calls
from model.tables.shapes import Indexed
from perfdb.facts.models import known_models, model_facts

DENSE = Architecture("dense", 64, 4, 8, 4, 16, 256, 1000)
SLIDING = replace(DENSE, sliding_window=128, sliding_layers=3)
MOE = replace(DENSE, experts=8, top_k=2, expert_intermediate=32, shared_intermediate=48, moe_layers=3)
MLA = replace(DENSE, kv_lora_rank=32, q_lora_rank=24, qk_rope_dim=8, qk_nope_dim=16, v_head_dim=16)
SPARSE = replace(MLA, index_topk=128, index_heads=4, index_dim=16, index_layers=4)
SHARED = replace(SPARSE, index_layers=1)
PLAIN = replace(DENSE, gated=False, tied=True)
LINEAR = replace(DENSE, linear_layers=3, linear_params=12_800, linear_state=128)
KINDS = {"dense": DENSE, "sliding": SLIDING, "moe": MOE, "mla": MLA, "plain": PLAIN, "linear": LINEAR}
KINDS |= {"sparse": SPARSE, "shared": SHARED}


ALONE = Sharding()


def latent_weights(call: LatentAttention) -> float:
    indexer = call.layer.index_weights if isinstance(call.layer, Indexed) else 0.0
    return call.layer.shared_weights + call.heads * call.layer.head_weights + indexer


def weights(model: Architecture, sharding: Sharding = ALONE) -> float:
    """Weights of all products and experts on one device."""
    total = 0.0
    for call in calls(model, sharding):
        if isinstance(call, Product):
            total += call.count * call.n * call.k
        if isinstance(call, LatentAttention):
            total += call.count * latent_weights(call)
        if isinstance(call, Mixture):
            layer = call.layer
            inner = model.mlp_matrices * layer.hidden * layer.inter / layer.moe_tp
            total += call.count * layer.experts / layer.moe_ep * inner
    return total


def in_products(model: Architecture) -> float:
    """Weights that some product multiplies with: all but norms and the embedding's rows."""
    norms = model.hidden * (2 * model.layers + 1)
    return model.params - norms - model.vocab * model.hidden * (0 if model.tied else 1)


@pytest.mark.parametrize("name", [name for name in known_models() if not model_facts(name).unsupported])
def test_the_sum_of_calls_equals_the_model(name: str) -> None:
    """FEATURES S1.20, for every model that we know: its parameters, each in one call."""
    model = resolve_model(name)
    assert weights(model) == pytest.approx(in_products(model), rel=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_one_token_multiplies_with_its_active_weights(name: str) -> None:
    """FEATURES S1.20: each active weight once."""
    model = KINDS[name]
    met = 0.0
    for call in calls(model, Sharding()):
        if isinstance(call, Product):
            met += call.count * call.n * call.k
        if isinstance(call, LatentAttention):
            met += call.count * latent_weights(call)
        if isinstance(call, Mixture):
            met += call.count * call.layer.topk * model.expert_params
    idle = model.moe_layers * (model.experts - model.top_k) * model.expert_params
    assert met == pytest.approx(in_products(model) - idle)


@pytest.mark.parametrize("tp", [2, 4])
@pytest.mark.parametrize("name", KINDS)
def test_tensor_parallelism_divides_what_it_does_not_repeat(name: str, tp: int) -> None:
    model = KINDS[name]
    repeated = model.moe_layers * model.hidden * model.experts
    if model.is_mla:
        down = model.q_lora_rank + model.kv_lora_rank + model.qk_rope_dim
        repeated += model.attention_layers * model.hidden * down + model.index_layers * model.indexer_params
    own = (weights(model) - repeated) / tp + repeated
    assert weights(model, Sharding(tp)) == pytest.approx(own)


def test_heads_that_do_not_divide_are_repeated() -> None:
    (attention,) = (c for c in calls(DENSE, Sharding(8)) if isinstance(c, Attention))
    assert attention.heads[:3] == (1.0, 1.0, 16)
    (product,) = (c for c in calls(DENSE, Sharding(8)) if c.name == "qkv_proj")
    assert isinstance(product, Product)
    assert product.n == 3 * 16


@pytest.mark.parametrize("ep", [1, 2, 4])
def test_experts_are_divided_or_spread_and_weigh_the_same(ep: int) -> None:
    (mixture,) = (c for c in calls(MOE, Sharding(4, 1, ep)) if isinstance(c, Mixture))
    assert (mixture.layer.moe_tp, mixture.layer.moe_ep) == (4 / ep, ep)
    assert weights(MOE, Sharding(4, 1, ep)) == pytest.approx(weights(MOE, Sharding(4)))


def test_layers_with_a_window_are_called_apart() -> None:
    found = {c.name: c for c in calls(SLIDING, Sharding()) if isinstance(c, Attention)}
    assert {name: (c.count, c.heads.window) for name, c in found.items()} == {
        "attention": (1, 0),
        "sliding_attention": (3, 128),
    }
    every = replace(SLIDING, sliding_layers=4)
    assert [c.name for c in calls(every, Sharding()) if isinstance(c, Attention)] == ["sliding_attention"]


@pytest.mark.parametrize("name", ["deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-V2-Lite"])
def test_latent_attention_is_one_call_with_its_projections(name: str) -> None:
    model = resolve_model(name)
    (attention,) = (c for c in calls(model, Sharding()) if isinstance(c, LatentAttention))
    assert attention.layer.latent == model.kv_lora_rank + model.qk_rope_dim
    assert attention.layer.head_width == model.qk_nope_dim + model.qk_rope_dim + model.v_head_dim
    assert attention.heads == model.heads
    assert not [c for c in calls(model, Sharding()) if isinstance(c, Attention)]


def test_layers_without_a_growing_cache_attend_to_nothing() -> None:
    (attention,) = (c for c in calls(LINEAR, Sharding()) if isinstance(c, Attention))
    assert attention.count == 1
    counts = {c.name: c.count for c in calls(LINEAR, Sharding())}
    assert counts["linear_attention_proj"] == counts["linear_attention"] == 3


def test_only_devices_that_share_a_layer_sum_messages() -> None:
    assert not [c for c in calls(DENSE, Sharding()) if isinstance(c, Message | Send)]
    (message,) = (c for c in calls(DENSE, Sharding(4)) if isinstance(c, Message))
    assert (message.count, message.token_bytes, message.devices) == (2 * 4 + 1, 2 * 64, 4)
    (send,) = (c for c in calls(DENSE, Sharding(2, 4)) if isinstance(c, Send))
    assert send.count == 3


@pytest.mark.parametrize("name", KINDS)
def test_every_name_is_one_call_and_every_number_is_sound(name: str) -> None:
    for sharding in (Sharding(), Sharding(2), Sharding(4, 2, 2)):
        seen: dict[str, int] = defaultdict(int)
        for call in calls(KINDS[name], sharding):
            seen[call.name] += 1
            assert call.count > 0
            if isinstance(call, Product):
                assert call.n >= 1
                assert call.k >= 1
            if isinstance(call, Traffic | Message | Send):
                assert math.isfinite(call.token_bytes)
                assert call.token_bytes > 0
        assert set(seen.values()) == {1}
