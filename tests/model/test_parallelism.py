"""Who shares what in each engine's words (FEATURES S1.20): ranks, experts, and what it means for steps and memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint.architecture import Architecture, resolve_model
from model.closed_form.serving import serve
from model.feasibility import feasibility
from model.knobs import points_of
from model.load import load_of
from model.memory import memory
from model.points import Points
from model.steps.layers import Message, Mixture, Sharding, calls
from model.steps.ops import StepLoad, operations
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

MOE = resolve_model("deepseek-ai/DeepSeek-V3")
DENSE = resolve_model("meta-llama/Llama-3.1-8B")
LOAD = Workload(1000, 100, Arrival.CLOSED, 64)


def points(served_by: str, model: Architecture = MOE, **params: Scalar) -> Points:
    return points_of(model, platform("h200_sxm"), engine(served_by), None, Grid.of([params]), load_of(LOAD, 1))


def sizes(found: Points) -> dict[str, float]:
    return {name: getattr(found, name).item() for name in ("tp", "pp", "dp", "ep", "attention_dp", "devices")}


@pytest.mark.parametrize(
    ("served_by", "params", "tp", "dp", "ep", "attention_dp", "devices"),
    [
        ("vllm", {"tensor_parallel_size": 8}, 8, 1, 1, 1, 8),
        ("vllm", {"tensor_parallel_size": 8, "enable_expert_parallel": True}, 8, 1, 8, 1, 8),
        ("vllm", {"tensor_parallel_size": 2, "data_parallel_size": 4}, 2, 4, 1, 4, 8),
        ("vllm", {"data_parallel_size": 8, "enable_expert_parallel": True}, 1, 8, 8, 8, 8),
        ("sglang", {"tp_size": 8, "ep_size": 8}, 8, 1, 8, 1, 8),
        ("sglang", {"tp_size": 8, "dp_size": 2}, 8, 2, 1, 1, 16),
        ("sglang", {"tp_size": 8, "dp_size": 4, "enable_dp_attention": True, "ep_size": 8}, 2, 4, 8, 4, 8),
        ("trtllm", {"tp_size": 8, "enable_attention_dp": True, "ep_size": 4}, 1, 8, 4, 8, 8),
        ("trtllm", {"tp_size": 2, "attention_dp_size": 4, "moe_ep_size": 8}, 2, 4, 8, 4, 8),
    ],
)
def test_each_engine_says_it_in_its_own_words(
    served_by: str, params: dict[str, Scalar], tp: int, dp: int, ep: int, attention_dp: int, devices: int
) -> None:
    found = sizes(points(served_by, **params))
    wanted = {"tp": tp, "pp": 1, "dp": dp, "ep": ep, "attention_dp": attention_dp, "devices": devices}
    assert found == wanted


def test_ranks_of_a_dense_model_are_replicas() -> None:
    found = sizes(points("vllm", DENSE, data_parallel_size=4, enable_expert_parallel=True))
    assert (found["dp"], found["attention_dp"], found["ep"]) == (4, 1, 1)


@pytest.mark.parametrize(
    ("served_by", "params", "tp", "dp"),
    [
        ("vllm", {"tensor_parallel_size": 2, "data_parallel_size": 4}, 2, 4),
        ("sglang", {"tp_size": 8, "dp_size": 4, "enable_dp_attention": True}, 2, 4),
        ("trtllm", {"tp_size": 4, "enable_attention_dp": True}, 1, 4),
    ],
)
def test_every_way_to_replicate_a_dense_model_fits(served_by: str, params: dict[str, Scalar], tp: int, dp: int) -> None:
    found = points(served_by, DENSE, **params)
    assert (sizes(found)["tp"], sizes(found)["dp"]) == (tp, dp)
    assert feasibility(found, memory(found))[0].all()


def test_sglang_divides_its_limits_among_its_ranks() -> None:
    found = points(
        "sglang", tp_size=8, dp_size=4, enable_dp_attention=True, max_running_requests=256, chunked_prefill_size=8192
    )
    assert (found.max_num_seqs.item(), found.max_num_batched_tokens.item()) == (64, 2048)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"tp_size": 8, "ep_size": 3}, "256 experts on 8 devices cannot be spread over ep 3"),
        ({"tp_size": 8, "dp_size": 3, "enable_dp_attention": True}, "8 devices cannot be divided among 3 ranks"),
        ({"tp_size": 512, "ep_size": 512}, "128 attention heads cannot be divided"),
        ({"tp_size": 8, "ep_size": 8}, None),
    ],
)
def test_what_cannot_be_divided_is_infeasible_with_its_reason(params: dict[str, Scalar], why: str | None) -> None:
    """A row of a sweep, not the whole sweep."""
    found = points("sglang", **params)
    feasible, reasons = feasibility(found, memory(found))
    assert feasible[0] == (why is None)
    assert (why or "") in reasons.get(0, "")
    assert np.isfinite(serve(found, np.ones(1)).metrics["e2e_s"]).all()


def test_experts_of_all_ranks_are_held_once() -> None:
    """Eight devices hold each expert once, whether their attention is divided or their requests are."""
    divided = memory(points("vllm", tensor_parallel_size=8)).weights.item()
    ranks = memory(points("vllm", data_parallel_size=8)).weights.item()
    routed = MOE.moe_layers * MOE.experts * MOE.expert_params
    rest = (MOE.params - routed) * 7 / 8
    assert ranks - divided == pytest.approx(rest, rel=0.2)
    assert ranks < memory(points("vllm", tensor_parallel_size=1)).weights.item() / 5


@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4, 8]))
def test_expert_weights_on_a_device_do_not_depend_on_how_they_are_spread(tp: int, ranks: int) -> None:
    def held(ep: int) -> float:
        (call,) = (call for call in calls(MOE, Sharding(tp, 1, ep, ranks)) if isinstance(call, Mixture))
        return call.layer.experts / call.layer.moe_ep / call.layer.moe_tp

    assert held(1) == held(tp * ranks) == MOE.experts / (tp * ranks)


def test_ranks_send_their_tokens_to_the_experts_and_back() -> None:
    sent = [call for call in calls(MOE, Sharding(1, 1, 8, 8)) if isinstance(call, Message)]
    assert [(call.name, call.op, call.devices) for call in sent] == [
        ("dispatch", "all_gather", 8),
        ("combine", "reduce_scatter", 8),
    ]
    assert sent[0].token_bytes == 8 * MOE.hidden * 2


def test_ranks_share_the_requests_and_all_of_them_count() -> None:
    """Twice the ranks of a dense model serve twice the requests at the same pace."""
    one, two = points("vllm", DENSE), points("vllm", DENSE, data_parallel_size=2)
    slots = np.array([1000.0])
    half = points_of(
        DENSE, platform("h200_sxm"), engine("vllm"), None, Grid.of([{"max_num_seqs": 256}]),
        load_of(Workload(1000, 100, Arrival.CLOSED, 32), 1),
    )  # fmt: skip
    assert serve(two, slots).metrics["output_tps"] == pytest.approx(2 * serve(half, slots).metrics["output_tps"])
    assert serve(two, slots).metrics["tpot_s"] < serve(one, slots).metrics["tpot_s"]


def test_the_roofline_counts_the_messages_of_ranks() -> None:
    none = np.zeros(1)
    decode = StepLoad(none, none, none, none, np.full(1, 8.0), np.full(1, 1000.0))

    def messages(**params: Scalar) -> float:
        counts = {op.name: float(np.max(op.count)) for op in operations(points("vllm", **params), decode)}
        return counts["dispatch_and_combine"]

    assert messages(data_parallel_size=8) == MOE.moe_layers
    assert messages(tensor_parallel_size=8) == 0
