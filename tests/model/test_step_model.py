"""Operations, step time and memory: numbers worked out by hand, and what must hold whatever the numbers are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import Architecture, resolve_model
from model.feasibility import feasibility
from model.knobs import points_of
from model.load import load_of
from model.memory import GIB, kv_bytes_per_token, memory
from model.points import Points
from model.steps.ops import Kind, StepLoad, operations
from model.steps.overheads import overheads
from model.steps.roofline import GPU
from model.steps.step import bound, operation_s, step, steps_s
from perfdb.errors import InputError, UnknownNameError
from perfdb.facts.engines import engine
from perfdb.facts.platforms import PlatformFacts, platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")
SMALL = Workload(isl=1024, osl=128, arrival=Arrival.CLOSED, concurrency=8)


def points(
    model: Architecture = LLAMA,
    place: str | PlatformFacts = "h100_sxm",
    served_by: str = "vllm",
    workload: Workload = SMALL,
    devices: int = 1,
    **params: Scalar,
) -> Points:
    facts = platform(place) if isinstance(place, str) else place
    grid = Grid.of([params]) if params else Grid({})
    return points_of(model, facts, engine(served_by), devices, grid, load_of(workload, 1))


def decode(sequences: float, kv: float) -> StepLoad:
    zero = np.zeros(1)
    return StepLoad(zero, zero, zero, zero, np.array([sequences]), np.array([kv]))


def test_flops_of_a_decode_step_by_hand() -> None:
    load = decode(1, 1000)
    flops = {op.name: float((op.flops * op.count)[0]) for op in operations(points(), load)}
    assert flops["qkv_proj"] == 2 * 32 * 4096 * (4096 + 2 * 1024)
    assert flops["out_proj"] == 2 * 32 * 4096 * 4096
    assert flops["mlp"] == 2 * 32 * 3 * 4096 * 14336
    assert flops["lm_head"] == 2 * 128256 * 4096
    assert flops["attention"] == 4 * 32 * 32 * 128 * 1000


def test_bytes_of_a_decode_step_are_weights_and_cache() -> None:
    total = sum(float((op.bytes * op.count)[0]) for op in operations(points(), decode(1, 1000)) if op.flops[0] > 0)
    weights = 2 * (LLAMA.params - LLAMA.vocab * LLAMA.hidden)
    assert total == pytest.approx(weights + 131072 * 1000, rel=0.01)


def test_a_step_is_the_sum_of_its_operations_and_overheads() -> None:
    where, load = points(tensor_parallel_size=2, pipeline_parallel_size=2), decode(16, 500)
    found = step(where, load)
    parts = sum(float(operation_s(where, op)[0][0]) for op in operations(where, load))
    added = overheads("vllm")
    overhead = added.layer_s * 32 + added.step_s + added.sequence_s * 16
    assert found.seconds[0] == pytest.approx(parts + overhead)
    assert found.seconds == pytest.approx(found.compute_s + found.memory_s + found.message_s + found.overhead_s)


def test_the_time_of_a_memory_bound_product_by_hand() -> None:
    where = points()
    mlp = next(op for op in operations(where, decode(1, 100)) if op.name == "mlp")
    seconds, computing = operation_s(where, mlp)
    assert computing[0] == 0
    assert seconds[0] == pytest.approx(32 * float(mlp.bytes[0]) / (3.35e12 * GPU.gemm_bytes))


def test_experts_met_grow_with_tokens_up_to_all() -> None:
    mixtral = resolve_model("mistralai/Mixtral-8x7B-v0.1")
    read = {}
    for tokens in (1, 1000):
        ops = {op.name: op for op in operations(points(mixtral), decode(tokens, 10))}
        read[tokens] = float(ops["experts"].bytes[0])
    one = 2 * mixtral.expert_params
    assert read[1] == pytest.approx(2 * one, rel=0.01)
    assert read[1000] == pytest.approx(8 * one, rel=0.2)


def test_messages_only_between_devices() -> None:
    names = {op.name: float(np.ravel(op.count)[0]) for op in operations(points(), decode(1, 1))}
    assert names["all_reduce"] == names["send"] == 0
    split = points(tensor_parallel_size=4, pipeline_parallel_size=3)
    counts = {op.name: float(np.ravel(op.count)[0]) for op in operations(split, decode(1, 1))}
    assert (counts["all_reduce"], counts["send"]) == (64, 2)
    assert {op.kind for op in operations(split, decode(1, 1))} >= {Kind.ALL_REDUCE, Kind.SEND}


def test_a_small_physical_batch_reads_the_weights_again() -> None:
    prompt = StepLoad(*(np.array([value]) for value in (1024.0, 512.0, 1.0, 0.0, 0.0, 1.0)))
    times = [
        float(step(points(place="local", served_by="llamacpp", n_ubatch=size), prompt).seconds[0]) for size in (64, 512)
    ]
    assert times[0] >= times[1]


@given(st.floats(1.0, 4.0), st.integers(1, 256), st.integers(1, 32768))
@settings(deadline=None)
def test_more_bandwidth_or_compute_is_never_slower(factor: float, sequences: int, kv: int) -> None:
    base = platform("h100_sxm")
    wider = replace(base, bandwidth_bytes_s=base.bandwidth_bytes_s * factor)
    faster = replace(base, flops={name: rate * factor for name, rate in base.flops.items()})
    load = decode(sequences, kv)
    before = step(points(place=base), load).seconds[0]
    assert step(points(place=wider), load).seconds[0] <= before
    assert step(points(place=faster), load).seconds[0] <= before


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 256), st.integers(1, 32768))
@settings(deadline=None)
def test_more_layers_sequences_or_cache_are_never_faster(layers: int, more: int, sequences: int, kv: int) -> None:
    small, large = replace(LLAMA, layers=layers), replace(LLAMA, layers=layers + more)
    load = decode(sequences, kv)
    assert step(points(small), load).seconds[0] < step(points(large), load).seconds[0]
    assert step(points(), load).seconds[0] <= step(points(), decode(sequences + more, kv)).seconds[0]
    assert step(points(), load).seconds[0] <= step(points(), decode(sequences, kv + more)).seconds[0]


def test_kv_cache_per_token_by_hand() -> None:
    assert kv_bytes_per_token(points())[0] == 131072
    assert kv_bytes_per_token(points(kv_cache_dtype="fp8"))[0] == 65536
    assert kv_bytes_per_token(points(tensor_parallel_size=4))[0] == 131072 / 4
    assert kv_bytes_per_token(points(tensor_parallel_size=32))[0] == 131072 / 8
    assert kv_bytes_per_token(points(pipeline_parallel_size=2))[0] == 131072 / 2
    assert kv_bytes_per_token(points(resolve_model("deepseek-ai/DeepSeek-V3")))[0] == 61 * 576 * 2


def test_memory_of_an_8b_model_on_a_24_gib_card() -> None:
    """Measured on an RTX 4090 with vLLM 0.19: 41,408 tokens of KV cache at max_model_len 32768."""
    found = memory(points(place="rtx_4090", max_num_batched_tokens=2048, max_model_len=32768))
    assert found.weights[0] == pytest.approx(2 * LLAMA.params)
    assert 0.8 * GIB < found.overhead[0] < 1.5 * GIB
    tokens = (found.available - found.weights - found.overhead)[0] / found.kv_per_token[0]
    assert tokens == pytest.approx(41_408, rel=0.15)
    assert found.feasible[0]


def test_what_does_not_fit_says_why() -> None:
    llama70 = resolve_model("meta-llama/Llama-3.1-70B")
    found = memory(points(llama70))
    assert not found.feasible[0]
    assert found.headroom[0] < 0
    feasible, reasons = feasibility(points(llama70), found)
    assert not feasible[0]
    text = reasons[0]
    assert "weights 131.4" in text
    assert "70.6 GiB are available" in text
    assert memory(points(llama70, tensor_parallel_size=4)).feasible[0]


def test_a_llama_cpp_server_reserves_all_its_slots() -> None:
    one = memory(points(place="local", served_by="llamacpp", n_parallel=1))
    four = memory(points(place="local", served_by="llamacpp", n_parallel=4))
    assert four.kv_needed[0] == pytest.approx(4 * one.kv_needed[0])
    fixed = memory(points(place="local", served_by="llamacpp", n_parallel=4, n_ctx=1200))
    assert fixed.sequences[0] == 1


def why_not(served_by: str = "vllm", place: str = "h100_sxm", **params: Scalar) -> str:
    found = points(place=place, served_by=served_by, **params)
    feasible, reasons = feasibility(found, memory(found))
    assert feasible[0] == (0 not in reasons)
    return reasons.get(0, "")


def test_heads_must_divide_among_the_devices() -> None:
    assert why_not(tensor_parallel_size=3) == "32 attention heads cannot be divided among tp 3"
    assert not why_not(tensor_parallel_size=8)


def test_a_request_must_fit_a_sequence() -> None:
    assert why_not(max_model_len=512) == "a request has 1152 tokens, a sequence of this config holds at most 512"
    assert not why_not(max_model_len=1152)
    assert "at most 300" in why_not("llamacpp", "local", n_parallel=4, n_ctx=1200)
    assert not why_not("llamacpp", "local", n_parallel=1, n_ctx=1200)


@given(st.floats(1.0, 8.0), st.integers(1, 8), st.integers(1, 300_000))
@settings(deadline=None)
def test_more_memory_never_makes_a_config_infeasible(factor: float, tp: int, length: int) -> None:
    base = platform("h100_sxm")
    larger = replace(base, memory_bytes=base.memory_bytes * factor)
    before, after = (
        memory(points(place=place, tensor_parallel_size=tp, max_model_len=length)) for place in (base, larger)
    )
    assert after.headroom[0] >= before.headroom[0]
    assert after.feasible[0] >= before.feasible[0]
    assert after.sequences[0] >= before.sequences[0]


def test_defaults_come_from_the_engine_and_silence_means_all_devices() -> None:
    found = points(devices=4)
    assert (found.tp[0], found.max_num_seqs[0], found.max_num_batched_tokens[0]) == (4, 1024, 8192)
    assert points(devices=4, tensor_parallel_size=2).devices[0] == 2
    assert points(devices=4, tensor_parallel_size=1).devices[0] == 1
    assert points(devices=4, tensor_parallel_size=None).devices[0] == 4
    assert points(served_by="llamacpp", devices=2).pp[0] == 2
    assert points(place="local", served_by="llamacpp", n_parallel=None).max_num_seqs[0] == 4


def test_formats_decide_bytes_and_rates() -> None:
    plain, eight = points(), points(quantization="fp8")
    assert (plain.layer_bytes[0], eight.layer_bytes[0], eight.head_bytes[0]) == (2, 1, 2)
    assert eight.gemm_flops[0] == pytest.approx(2 * plain.gemm_flops[0], rel=0.01)
    with pytest.raises(UnknownNameError, match="number format"):
        points(quantization="fp7")
    with pytest.raises(InputError, match="not a number"):
        points(max_num_seqs="many")


@pytest.mark.parametrize(
    "params",
    [{"max_num_seqs": 0}, {"tensor_parallel_size": -2}, {"pipeline_parallel_size": 1.5},
     {"gpu_memory_utilization": 0.0}, {"gpu_memory_utilization": 90}],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused(params: dict[str, Scalar]) -> None:
    with pytest.raises(InputError, match="the value"):
        points(**params)


def test_sglang_without_chunks_prefills_whole_prompts() -> None:
    found = points(served_by="sglang", chunked_prefill_size=-1)
    assert (found.chunked_prefill[0], found.max_num_batched_tokens[0]) == (0, 16384)


def test_threads_beyond_the_cores_add_nothing() -> None:
    some = [points(place="local", served_by="llamacpp", threads=count).gemm_flops[0] for count in (1, 64, 128)]
    assert some[0] <= some[1] == some[2]


@pytest.mark.parametrize(
    "workload",
    [
        Workload(isl=10, osl=10),
        Workload(isl=0, osl=10, concurrency=1),
        Workload(osl=10, concurrency=1),
        Workload(isl=10, osl=10, arrival=Arrival.CLOSED),
        Workload(isl=10, osl=10, arrival=Arrival.POISSON, request_rate=float("inf")),
    ],
)
def test_a_workload_must_say_lengths_and_load(workload: Workload) -> None:
    with pytest.raises(InputError, match="workload"):
        load_of(workload, 1)


def test_an_infinite_rate_is_a_burst_or_the_concurrency() -> None:
    capped = load_of(Workload(isl=1, osl=1, arrival=Arrival.POISSON, request_rate=float("inf"), concurrency=7), 1)
    burst = load_of(Workload(isl=1, osl=1, request_rate=float("inf"), requests=50), 1)
    assert (capped.amount[0], burst.amount[0]) == (7, 50)
    assert not capped.is_open[0]
    assert not burst.is_open[0]


def several(n: int, **params: Scalar) -> tuple[Points, list[StepLoad]]:
    """n configs, and two kinds of steps of each: prompts, and decoding whose drafts are verified."""
    sizes, none = np.linspace(1.0, 300.0, n), np.zeros(n)
    grid = Grid.of([params or {"data_parallel_size": 1}] * n)
    where = points_of(LLAMA, platform("h100_sxm"), engine("vllm"), 1, grid, load_of(SMALL, n))
    prompts = StepLoad(sizes, sizes / 2, np.ones(n), none, none, sizes)
    return where, [prompts, StepLoad(none, none, none, none, sizes, 10 * sizes, 4.0)]


@pytest.mark.parametrize("params", [{}, {"num_speculative_tokens": 3}], ids=["plain", "drafts"])
@pytest.mark.parametrize("n", [1, 3, 200])
def test_several_kinds_of_steps_take_what_each_takes_by_itself(params: dict[str, Scalar], n: int) -> None:
    where, kinds = several(n, **params)
    found = steps_s(where, kinds)
    assert [each.tolist() for each in found] == [step(where, kind).seconds.tolist() for kind in kinds]


@pytest.mark.parametrize("n", [1, 3, 200])
def test_what_bounds_steps_of_known_length_is_what_bounds_them_on_the_roofline(n: int) -> None:
    where, kinds = several(n)
    seconds = [np.full(n, 0.5), np.linspace(1.0, 2.0, n)]
    for found, kind, taken in zip(bound(where, kinds, seconds), kinds, seconds, strict=True):
        alone = step(where, kind)
        assert found.seconds.tolist() == taken.tolist()
        for name in ("compute_s", "memory_s", "message_s", "overhead_s"):
            assert getattr(found, name) / taken == pytest.approx(getattr(alone, name) / alone.seconds)
