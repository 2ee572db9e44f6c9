"""Two pools in closed form (FEATURES S1.31, S1.34): capacities, sharing of devices, the KV cache on its way, and what
does not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.closed_form.serving import serve
from model.disagg.answer import Answer, Asked, disaggregated
from model.disagg.pools import Pool, moved_bytes
from model.disagg.units import ALONE, Deployments, Sharing
from model.load import load_of
from model.memory import memory
from model.question import Question
from model.steps.hosts import NETWORK_BYTES_S
from model.steps.overheads import overheads
from perfdb.errors import InputError
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Target, Workload

MODEL = "meta-llama/Llama-3.1-8B"
PLACE = "h100_sxm"
Sets = dict[str, Scalar]


def closed(concurrency: int, isl: float = 2000, osl: float = 200) -> Workload:
    return Workload(isl, osl, Arrival.CLOSED, concurrency)


def at_rate(rate: float, isl: float = 2000, osl: float = 200) -> Workload:
    return Workload(isl, osl, Arrival.POISSON, request_rate=rate)


def question(workload: Workload, configs: list[Sets], place: str = PLACE, model: str = MODEL) -> Question:
    architecture = resolve_model(model)
    grid = Grid.of([{"tensor_parallel_size": 1, **config} for config in configs])
    return Question(Target(architecture.name, place, "vllm", 1, None), architecture, platform(place), workload, grid)


def answer(
    workload: Workload, workers: tuple[int, int] = (1, 1), prefill: Sets | None = None, decode: Sets | None = None,
    places: tuple[str, str] = (PLACE, PLACE), sharing: Sharing = ALONE, model: str = MODEL,
) -> Answer:  # fmt: skip
    pools = (
        question(workload, [config or {}], place, model)
        for config, place in zip((prefill, decode), places, strict=True)
    )
    zero = np.zeros(1, np.int64)
    return disaggregated(Asked(*pools, Deployments(zero, zero, zero + workers[0], zero + workers[1]), sharing))


def value(found: Answer, name: str) -> float:
    return float(found.metrics[name].mean[0])


def test_each_pool_limits_where_the_other_is_large() -> None:
    """A free link and endless decode leave what prefill can do, and the other way round."""
    free = Sharing(link=1e15)
    prefill = answer(closed(4000), (2, 1000), sharing=free)
    assert prefill.limits[0] == "prefill"
    assert prefill.utilisation["prefill"][0] == pytest.approx(1.0, rel=1e-3)
    twice = answer(closed(8000), (4, 1000), sharing=free)
    assert value(twice, "request_tps") == pytest.approx(2 * value(prefill, "request_tps"), rel=0.01)
    decode = answer(closed(4000), (1000, 2), decode={"max_num_seqs": 64}, sharing=free)
    assert decode.limits[0] == "decode"
    assert decode.active[0] == pytest.approx(64)
    step = value(decode, "tpot_s") - overheads("vllm").token_s
    assert value(decode, "request_tps") == pytest.approx(2 * 64 / (199 * step), rel=1e-3)


def test_a_lone_request_is_prefilled_as_by_a_whole_server_and_moved() -> None:
    found = answer(closed(1))
    points = question(closed(1), [{}]).resolve(Grid.of([{"tensor_parallel_size": 1}]), load_of(closed(1), 1))
    whole = serve(points, memory(points).sequences)
    assert found.stages["prefill"][0] == pytest.approx(float(whole.mixed.seconds[0]), rel=0.01)
    # 32 layers, 8 heads of 128 for keys and values, 2 bytes each
    moved = 2000 * 32 * 2 * 8 * 128 * 2 / NETWORK_BYTES_S
    assert found.stages["transfer"][0] == pytest.approx(moved)
    added = 2 * overheads("vllm").request_s
    rest = found.stages["prefill"][0] + found.stages["transfer"][0] + found.stages["wait"][0]
    assert value(found, "ttft_s") == pytest.approx(rest + added)
    assert value(found, "e2e_s") == pytest.approx(value(found, "ttft_s") + 199 * value(found, "tpot_s"))


def test_a_cache_in_parts_moves_over_several_links() -> None:
    def parts(one: int, other: int, model: str = MODEL) -> tuple[float, float]:
        pools = [
            Pool.of(question(closed(1), [{"tensor_parallel_size": tp}], model=model), closed(1)) for tp in (one, other)
        ]
        sent, taken = moved_bytes(*pools, np.zeros(1, np.int64), np.zeros(1, np.int64))
        return float(sent[0]), float(taken[0])

    whole = 2000 * 131072.0
    assert parts(1, 1) == pytest.approx((whole, whole))
    assert parts(1, 4) == pytest.approx((whole, whole / 4))
    assert parts(4, 1) == pytest.approx((whole / 4, whole))
    # eight heads for sixteen devices: two copies
    assert parts(1, 16) == pytest.approx((2 * whole, whole / 8))
    latent = parts(1, 1, "deepseek-ai/DeepSeek-V3")[0]
    assert parts(1, 8, "deepseek-ai/DeepSeek-V3") == pytest.approx((8 * latent, latent))


def test_replicas_of_a_unit_share_devices() -> None:
    """32 devices, four prefill workers of one and a decode worker of four: eight a unit, four units."""
    decode: Sets = {"tensor_parallel_size": 4}
    found = answer(closed(512), (4, 1), decode=decode, sharing=Sharing(32))
    assert (found.replicas[0], found.gpus[0], found.left_over[0]) == (4, 32, 0)
    one = answer(closed(128), (4, 1), decode=decode)
    assert value(found, "output_tps") == pytest.approx(4 * value(one, "output_tps"))
    assert value(found, "ttft_s") == pytest.approx(value(one, "ttft_s"))
    more = answer(closed(512), (4, 1), decode=decode, sharing=Sharing(38))
    assert (more.replicas[0], more.gpus[0], more.left_over[0]) == (4, 32, 6)
    assert value(more, "output_tps_per_gpu") == pytest.approx(value(found, "output_tps") / 32)


def test_units_beside_others_and_a_router_cost_throughput() -> None:
    def at(load: Workload, **said: float) -> Answer:
        return answer(load, (1, 1), sharing=Sharing(8, **said))

    alone = value(at(closed(256)), "request_tps")
    assert value(at(closed(256), efficiency=0.9), "request_tps") == pytest.approx(0.9 * alone)
    limited = at(closed(256), router_limit=alone / 2)
    assert value(limited, "request_tps") == pytest.approx(alone / 2, rel=1e-3)
    assert value(limited, "ttft_s") > value(at(closed(256)), "ttft_s")
    # a rate below the capacity is served all the same; beyond it the units are as full as they get
    assert value(at(at_rate(8.0), efficiency=0.9), "request_tps") == pytest.approx(8.0)
    most = value(at(at_rate(1e5)), "request_tps")
    assert value(at(at_rate(1e5), efficiency=0.9), "request_tps") == pytest.approx(0.9 * most)
    single = answer(closed(64), sharing=Sharing(2, efficiency=0.5))
    assert value(single, "request_tps") == pytest.approx(value(answer(closed(64)), "request_tps"))


def test_units_beyond_the_requests_have_nothing_to_do() -> None:
    found = answer(closed(2), sharing=Sharing(64))
    assert value(found, "request_tps") == pytest.approx(2 * value(answer(closed(1)), "request_tps"))


@given(st.integers(1, 512), st.sampled_from([64, 1000, 4096]), st.sampled_from([2, 50, 512]))
@settings(deadline=None, max_examples=20)
def test_matched_pools_serve_more_per_device_than_one_of_each(concurrency: int, isl: int, osl: int) -> None:
    load = closed(concurrency, isl, osl)
    matched, plain = answer(load, (0, 0)), answer(load)
    assert value(matched, "output_tps_per_gpu") >= 0.9 * value(plain, "output_tps_per_gpu")
    assert matched.deployments.prefill_workers[0] > 0
    assert all(np.isfinite(estimate.mean).all() for estimate in matched.metrics.values())


def test_a_rate_is_served_until_a_pool_is_full() -> None:
    low, high = answer(at_rate(2.0)), answer(at_rate(500.0))
    assert value(low, "request_tps") == pytest.approx(2.0)
    assert low.metrics["request_tps"].log_sd[0] < 0.1
    assert value(high, "request_tps") < 100
    assert high.utilisation["prefill"][0] == pytest.approx(1.0)
    assert value(high, "ttft_s") > 1.0


@given(st.floats(0.1, 40.0), st.floats(1.0, 1.5))
@settings(deadline=None, max_examples=20)
def test_a_higher_rate_never_waits_less(rate: float, factor: float) -> None:
    before, after = answer(at_rate(rate), (2, 1)), answer(at_rate(rate * factor), (2, 1))
    assert value(after, "e2e_s") >= 0.999 * value(before, "e2e_s")


def test_engines_that_share_wait_less_for_slots() -> None:
    slots: Sets = {"max_num_seqs": 16}
    most = value(answer(at_rate(1e4), (50, 1), decode=slots), "request_tps")
    for share in (0.5, 0.9):
        one, four = (answer(at_rate(n * share * most), (50, n), decode=slots) for n in (1, 4))
        assert four.stages["wait"][0] < one.stages["wait"][0]
        assert four.utilisation["decode"][0] == pytest.approx(share, rel=0.01)
        assert float(four.active[0]) == pytest.approx(float(one.active[0]), rel=0.15)
        # Little's law in the slots: sequences = requests per second · seconds of decode
        assert float(four.active[0]) * 4 == pytest.approx(4 * share * most * float(four.stages["decode"][0]), rel=0.02)


def test_other_hardware_decodes_at_its_own_speed_and_price() -> None:
    load = closed(1)
    same, other = answer(load), answer(load, places=(PLACE, "h200_sxm"))
    assert value(other, "tpot_s") < value(same, "tpot_s")
    assert other.stages["prefill"][0] == pytest.approx(same.stages["prefill"][0], rel=0.05)
    prices = [platform(name).usd_per_hour or 0.0 for name in (PLACE, "h200_sxm")]
    assert value(other, "cost_per_mtok") == pytest.approx(sum(prices) / 3600 / value(other, "output_tps") * 1e6)
    assert "cost_per_mtok" not in answer(load, places=(PLACE, "h100_nvl")).metrics


def test_a_slow_link_is_what_limits() -> None:
    slow = answer(closed(256), sharing=Sharing(link=1e9))
    assert slow.limits[0] == "transfer"
    assert value(slow, "request_tps") == pytest.approx(1e9 / (2000 * 131072), rel=1e-3)
    assert slow.stages["transfer"][0] > 0.2


def test_what_does_not_fit_names_the_pool() -> None:
    seventy = "meta-llama/Llama-3.1-70B"
    fits: Sets = {"tensor_parallel_size": 4}
    for prefill, decode, said in ((None, fits, "prefill: needs"), (fits, None, "decode: needs")):
        found = answer(closed(8), prefill=prefill, decode=decode, model=seventy)
        assert not found.feasible[0]
        assert found.reasons[0].startswith(said)
    assert answer(closed(8), prefill=fits, decode=fits, model=seventy).feasible[0]
    unlike = answer(closed(8), decode={"kv_cache_dtype": "fp8"})
    assert "fp8 cannot take over one in bf16" in unlike.reasons[0]
    short = answer(closed(8), (4, 2), sharing=Sharing(5))
    assert short.reasons[0] == "4 prefill and 2 decode workers take 6 devices, there are 5"


@pytest.mark.parametrize(
    ("load", "said"),
    [(Workload(100, 10, Arrival.BATCH, batch_size=4), "static batch"), (closed(4, 100, 1), "nothing is left")],
)
def test_loads_that_two_pools_cannot_have(load: Workload, said: str) -> None:
    with pytest.raises(InputError, match=said):
        answer(load)


def test_rows_do_not_see_each_other() -> None:
    load = closed(64)
    one = question(load, [{"max_num_batched_tokens": 1024}, {"max_num_batched_tokens": 8192}])
    other = question(load, [{"max_num_seqs": 16}, {"max_num_seqs": 256}, {"tensor_parallel_size": 2}])
    rows = [(i, j, x, y) for i in range(2) for j in range(3) for x, y in ((1, 1), (0, 0), (3, 1))]
    columns = (np.array(column) for column in zip(*rows, strict=True))
    together = disaggregated(Asked(one, other, Deployments(*columns)))
    for place, row in enumerate(rows):
        alone = disaggregated(Asked(one, other, Deployments(*(np.array([part]) for part in row))))
        for name, estimate in alone.metrics.items():
            assert together.metrics[name].mean[place] == pytest.approx(estimate.mean[0]), (row, name)


def test_prompts_queue_as_in_the_simulator() -> None:
    """Prefill alone, at half its load: the simulated scheduler's mean time to the first token of 2,000 prompts."""
    from servecast.simulation.simulating import Simulation, simulate

    found = answer(at_rate(12.0, osl=2), (1, 50))
    alone = Workload(2000, 1, Arrival.POISSON, request_rate=12.0, lengths="D(2000,1)")
    asked = Simulation(MODEL, PLACE, "vllm", {}, workload=alone, requests=2000, seed=5)
    simulated = simulate(asked)["ttft_s"]["mean"] - overheads("vllm").request_s
    assert 0.4 < found.utilisation["prefill"][0] < 0.6
    assert found.stages["prefill"][0] == pytest.approx(simulated, rel=0.1)


def test_lessons_of_whole_servers_correct_both_times_and_widen() -> None:
    from model.learning.history import training
    from model.learning.lessons import Lessons

    load = closed(32)
    whole = question(load, [{}])
    points = whole.resolve(whole.grid, load_of(load, 1))
    metrics = serve(points, memory(points).room).metrics
    n = 12
    history = {
        "model": np.array([MODEL] * n, object), "platform": np.array([PLACE] * n, object),
        "engine": np.array(["vllm"] * n, object), "engine_version": np.array([None] * n, object),
        "devices": np.ones(n), "config": np.array(["{}"] * n, object), "isl": np.full(n, 2000.0),
        "osl": np.full(n, 200.0), "arrival": np.array(["closed"] * n, object), "concurrency": np.full(n, 32.0),
        "ttft_s": np.full(n, 1.5 * metrics["ttft_s"][0]), "tpot_s": np.full(n, 1.5 * metrics["tpot_s"][0]),
    }  # fmt: skip
    zero = np.zeros(1, np.int64)
    asked = Asked(whole, replace(whole), Deployments(zero, zero, zero + 1, zero + 1))
    raw, told = disaggregated(asked), disaggregated(asked, Lessons(training(history)))
    assert (raw.learned, told.learned) == (False, True)
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        assert value(told, name) > 1.15 * value(raw, name)
    assert value(told, "output_tps") < value(raw, "output_tps")
    assert told.metrics["tpot_s"].log_sd[0] > 0.25
