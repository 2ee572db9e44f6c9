"""Serving metrics in closed form: Little's law, queueing for slots, waves, rates, replicas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.closed_form.serving import Serving, serve
from model.knobs import points_of
from model.load import load_of
from model.memory import memory
from model.prediction import Floats
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")


def answer(workload: Workload, served_by: str = "vllm", place: str = "h100_sxm", **params: Scalar) -> Serving:
    grid = Grid.of([params]) if params else Grid({})
    points = points_of(LLAMA, platform(place), engine(served_by), 1, grid, load_of(workload, 1))
    return serve(points, memory(points).sequences)


def closed(concurrency: int, isl: float = 512, osl: float = 128, **more: object) -> Workload:
    return Workload(isl=isl, osl=osl, arrival=Arrival.CLOSED, concurrency=concurrency, **more)  # type: ignore[arg-type]


def value(found: Serving, name: str) -> float:
    return float(found.metrics[name][0])


@given(st.integers(1, 128), st.integers(16, 2048), st.integers(8, 512))
@settings(deadline=None)
def test_littles_law_where_nothing_queues(concurrency: int, isl: int, osl: int) -> None:
    """Closed loop: output tokens/s = concurrency · osl / e2e, when slots and KV cache suffice."""
    found = answer(closed(concurrency, isl, osl, requests=100_000), max_num_seqs=256)
    rate = concurrency * osl / value(found, "e2e_s")
    assert value(found, "output_tps") == pytest.approx(rate, rel=0.05)
    assert value(found, "total_tps") == pytest.approx(value(found, "output_tps") * (isl + osl) / osl)
    assert value(found, "request_tps") == pytest.approx(value(found, "output_tps") / osl)


@given(st.integers(1, 128), st.integers(16, 4096), st.integers(2, 512))
@settings(deadline=None)
def test_e2e_is_ttft_and_the_rest(concurrency: int, isl: int, osl: int) -> None:
    found = answer(closed(concurrency, isl, osl))
    assert value(found, "e2e_s") == pytest.approx(value(found, "ttft_s") + (osl - 1) * value(found, "tpot_s"))
    assert all(np.isfinite(values).all() and (values > 0).all() for values in found.metrics.values())


def test_requests_beyond_the_slots_wait_for_one() -> None:
    free, capped = answer(closed(64), max_num_seqs=64), answer(closed(64), max_num_seqs=8)
    assert value(capped, "ttft_s") > 5 * value(free, "ttft_s")
    assert value(capped, "tpot_s") < value(free, "tpot_s")
    assert value(capped, "output_tps") < value(free, "output_tps")
    wait = value(capped, "ttft_s") / value(capped, "e2e_s")
    assert 0.7 < wait < 0.95


@given(st.integers(1, 7), st.integers(1, 64))
@settings(deadline=None)
def test_more_concurrency_never_lowers_throughput_much_or_tpot(log_small: int, more: int) -> None:
    small = 2**log_small
    before, after = answer(closed(small)), answer(closed(small + more))
    assert value(after, "output_tps") >= 0.99 * value(before, "output_tps")
    assert value(after, "tpot_s") >= 0.99 * value(before, "tpot_s")


def test_without_continuous_batching_decode_is_undisturbed_and_the_wait_long() -> None:
    load = closed(8, 512, 64, lengths="N(512,64)/(64,16)")
    on, off = (
        answer(load, "llamacpp", "local", n_parallel=8, n_batch=1024, cont_batching=flag) for flag in (True, False)
    )
    assert value(off, "tpot_s") < value(on, "tpot_s")
    assert value(off, "ttft_s") > value(on, "ttft_s")


def test_a_burst_at_the_start_weighs_by_its_share() -> None:
    few, many = (answer(closed(32, 1024, 64, requests=n, lengths="U(1,2)")) for n in (32, 100_000))
    assert value(few, "ttft_s") > 2 * value(many, "ttft_s")


def test_a_static_batch_has_one_latency() -> None:
    load = Workload(isl=1024, osl=1024, arrival=Arrival.BATCH, batch_size=32)
    found = answer(load)
    assert value(found, "output_tps") == pytest.approx(32 * 1024 / value(found, "e2e_s"))
    waves = answer(load, max_num_seqs=8)
    assert value(waves, "e2e_s") > 2 * value(found, "e2e_s")


def rates(rate: float, **params: Scalar) -> Serving:
    return answer(Workload(isl=512, osl=128, arrival=Arrival.POISSON, request_rate=rate, requests=1000), **params)


def test_a_rate_is_served_until_capacity() -> None:
    low, high = rates(2.0), rates(1000.0)
    assert value(low, "request_tps") == pytest.approx(2.0)
    assert low.utilisation[0] < 0.2
    assert value(high, "request_tps") < 500
    assert high.utilisation[0] > 2
    assert value(high, "ttft_s") > 1.0


def test_an_idle_server_takes_one_prompts_time() -> None:
    """Measured with a 70 B model on four H200: 86 ms to the first token at one request a second."""
    found = rates(0.5)
    alone = float(found.mixed.seconds[0])
    assert alone < value(found, "ttft_s") < 2 * alone + 0.02


@given(st.floats(0.1, 60.0), st.floats(1.0, 2.0))
@settings(deadline=None)
def test_a_higher_rate_never_waits_less(rate: float, factor: float) -> None:
    before, after = rates(rate), rates(rate * factor)
    assert value(after, "e2e_s") >= 0.98 * value(before, "e2e_s")
    # prompts that crowd into one step cost a little more each
    assert value(after, "request_tps") >= 0.99 * value(before, "request_tps")


def test_a_rate_follows_littles_law_too() -> None:
    found = rates(20.0)
    in_flight = 20.0 * value(found, "e2e_s")
    assert float(found.active[0]) == pytest.approx(in_flight, rel=0.25)


def test_replicas_share_the_load() -> None:
    one, four = answer(closed(16)), answer(closed(64), data_parallel_size=4)
    assert value(four, "output_tps") == pytest.approx(4 * value(one, "output_tps"))
    assert value(four, "ttft_s") == pytest.approx(value(one, "ttft_s"))


def test_a_pipeline_helps_throughput_not_latency() -> None:
    one, two = answer(closed(128)), answer(closed(128), pipeline_parallel_size=2)
    assert value(two, "output_tps") > value(one, "output_tps")
    single, split = answer(closed(1)), answer(closed(1), pipeline_parallel_size=2)
    assert value(split, "tpot_s") >= value(single, "tpot_s")


def test_a_small_token_budget_spares_decode_and_delays_the_prompt() -> None:
    small, large = (answer(closed(16, 8192, 128), max_num_batched_tokens=size) for size in (512, 16384))
    assert value(small, "ttft_s") > 0.5 * value(large, "ttft_s")
    assert small.mixed.seconds[0] < large.mixed.seconds[0]


def test_rows_do_not_see_each_other() -> None:
    sizes = np.array([1, 8, 64, 256])
    load = load_of(closed(64), 4)
    points = points_of(LLAMA, platform("h100_sxm"), engine("vllm"), 1, Grid({"max_num_seqs": sizes}), load)
    together = serve(points, memory(points).sequences).metrics["output_tps"]
    alone: Floats = np.array([value(answer(closed(64), max_num_seqs=int(size)), "output_tps") for size in sizes])
    assert together == pytest.approx(alone)


def test_slots_are_found_where_llama_cpp_showed_them() -> None:
    """Published shape of a real run (45 M weights in Q4_0, D(96,24), 8 in flight): throughput and TPOT rise with slots,
    TTFT falls."""
    load = closed(8, 96, 24, requests=16, lengths="D(96,24)")
    found = [answer(load, "llamacpp", "local", n_parallel=n, quantization="Q4_0") for n in (1, 4, 8)]
    ttft, tpot, rate = ([value(one, name) for one in found] for name in ("ttft_s", "tpot_s", "output_tps"))
    assert ttft == sorted(ttft, reverse=True)
    assert tpot == sorted(tpot)
    assert rate == sorted(rate)


@pytest.mark.parametrize("load", [closed(2), Workload(isl=512, osl=128, arrival=Arrival.BATCH, batch_size=2)])
def test_replicas_beyond_the_requests_add_nothing(load: Workload) -> None:
    two, eight = (value(answer(load, data_parallel_size=dp), "output_tps") for dp in (2, 8))
    assert eight == pytest.approx(two)
