"""A KV cache that is full: who runs, what is computed again, and how far that is from the event simulator."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from closed_beside_simulated import both, loop
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.closed_form.full_cache import Admitted, admitted
from model.closed_form.serving import serve, without_slot_waits
from model.knobs import points_of
from model.load import load_of
from model.memory import memory
from model.points import Points
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-70B")
SMALL = resolve_model("meta-llama/Llama-3.1-8B")
FOUR: dict[str, Scalar] = {"tensor_parallel_size": 4, "max_num_seqs": 256}


def points(load: Workload, served_by: str = "vllm", **params: Scalar) -> Points:
    config = params | (FOUR if served_by == "vllm" else {"tp_size": 4})
    return points_of(LLAMA, platform("h100_sxm"), engine(served_by), 4, Grid.of([config]), load_of(load, 1))


def kept(load: Workload, room: float, served_by: str = "vllm") -> Admitted:
    wanted = np.array([float(load.concurrency or 1)])
    return admitted(points(load, served_by), wanted, np.array([room]))


def test_room_for_all_keeps_nobody_out() -> None:
    for room in (100.0, np.inf):
        found = kept(loop(2000, 500, 32, 0.5), room)
        assert found.active.item() == pytest.approx(32)
        assert found.again.item() == pytest.approx(0, abs=1e-6)
        assert found.begun.item() == pytest.approx(0, abs=1e-6)


def test_a_prompt_that_waits_leaves_a_part_of_the_cache_empty() -> None:
    """Half a prompt where answers are short, next to nothing where they are long."""
    short, long = kept(loop(4000, 10, 64), 8.0), kept(loop(400, 4000, 64), 8.0)
    assert short.active.item() == pytest.approx(7.5, abs=0.05)
    assert long.active.item() == pytest.approx(8.0, abs=0.05)


def test_long_answers_push_out_those_who_came_last() -> None:
    few, many = kept(loop(4000, 400, 64, 0.5), 16.0), kept(loop(1000, 2000, 64, 0.5), 16.0)
    assert 0 < few.again.item() < 0.1
    assert many.again.item() > 0.8
    assert many.begun.item() > 2


def test_answers_that_vary_take_more_of_the_cache() -> None:
    alike, varied = (kept(loop(500, 2000, 64, spread), 16.0) for spread in (0.0, 0.9))
    assert varied.active.item() < 0.9 * alike.active.item()


def test_requests_that_the_budget_keeps_waiting_hold_no_blocks() -> None:
    """256 prompts of 2,000 tokens come 1 to a step of 2,048: after 60 steps of an answer 60 of them run."""
    load = loop(2000, 60, 256)
    found = points(load, max_num_batched_tokens=2048)
    assert admitted(found, np.array([256.0]), np.array([150.0])).active.item() == pytest.approx(256, rel=0.01)


def test_only_where_the_cache_grows_is_anybody_pushed_out() -> None:
    """TensorRT-LLM keeps room for whole answers."""
    grid = Grid.of([{"tp_size": 4}])
    found = points_of(LLAMA, platform("h100_sxm"), engine("trtllm"), 4, grid, load_of(loop(1000, 2000, 64), 1))
    told = admitted(found, np.array([64.0]), np.array([16.0]))
    assert (told.active.item(), told.again.item(), told.begun.item()) == (16, 0, 0)


def test_room_for_answers_keeps_some_waiting_and_others_from_being_sent_back() -> None:
    """SGLang's: fewer run than fit, the fewer the longer answers are, and fewer are sent back than at vLLM."""
    shares = []
    for osl in (100, 1000, 4000):
        reserving, growing = (kept(loop(1000, osl, 400, 0.5), 40.0, name) for name in ("sglang", "vllm"))
        shares.append(reserving.active.item() / 40.0)
        assert 0 < reserving.begun_share.item() < growing.begun_share.item()
    assert 1 > shares[0] > shares[1] > shares[2] > 0.6


def test_the_more_conservative_the_fewer_run_and_the_fewer_are_sent_back() -> None:
    load, many, room = loop(1000, 1000, 400, 0.5), np.array([400.0]), np.array([60.0])
    found = [admitted(points(load, "sglang", schedule_conservativeness=each), many, room) for each in (0.3, 1.0, 1.4)]
    for more, less in pairwise(found):
        assert more.active.item() > less.active.item()
        assert more.begun_share.item() > less.begun_share.item()


@given(st.integers(1, 600), st.floats(1, 400), st.integers(16, 20_000), st.integers(1, 4000), st.floats(0, 0.9))
@settings(deadline=None)
@pytest.mark.filterwarnings("error")
def test_room_for_answers_keeps_nobody_out_whom_it_has_not(
    concurrency: int, room: float, isl: int, osl: int, spread: float
) -> None:
    found = kept(loop(isl, osl, concurrency, spread), room, "sglang")
    assert 1 <= found.active.item() <= concurrency * (1 + 1e-9)
    assert 0 <= found.begun_share.item() < 0.5
    assert 0 <= found.begun.item() <= concurrency - found.active.item() + 1e-6


def test_equal_answers_come_and_go_in_waves() -> None:
    """Who was let in together grows together: of those who wait the more have begun the more alike answers are."""
    begun = [kept(loop(128, 512, 400, spread), 80.0).begun.item() for spread in (0.0, 0.05, 0.2, 0.8)]
    assert (np.diff(begun) < 0).all()
    assert begun[0] > 3 * begun[-1]
    assert begun[0] == pytest.approx(2 * kept(loop(128, 512, 400), 40.0).begun.item(), rel=0.2)


def test_of_lengths_that_nobody_knows_waves_are_half_as_high() -> None:
    known, unknown, varied = (
        admitted(points(load), np.array([400.0]), np.array([80.0])).begun.item()
        for load in (
            loop(128, 512, 400),
            Workload(128, 512, Arrival.CLOSED, 400, requests=4800),
            loop(128, 512, 400, 0.9),
        )
    )
    assert varied < unknown < known


def test_of_few_who_wait_some_are_new() -> None:
    """However long the answers: those who have begun go on before them."""
    for waiting in (4, 16, 64):
        found = kept(loop(16, 4000, 80 + waiting), 80.0)
        assert found.begun.item() < 80 + waiting - found.active.item()
    assert kept(loop(16, 4000, 96), 80.0).begun.item() > 0.8 * (96 - 80)


def test_a_short_run_remembers_how_it_began() -> None:
    """All at once whose prompts find room, and then each other out."""
    short, long = (kept(loop(128, 1536, 260, 0.5, rounds), 48.0).begun.item() for rounds in (2, 200))
    assert short > 1.5 * long


@given(st.integers(1, 256), st.floats(1, 400), st.floats(1, 1.5), st.integers(16, 20_000), st.integers(2, 4000))
@settings(deadline=None)
def test_more_room_never_runs_fewer(concurrency: int, room: float, more: float, isl: int, osl: int) -> None:
    load = loop(isl, osl, concurrency)
    less, wide = kept(load, room), kept(load, room * more)
    assert 1 <= less.active.item() <= concurrency
    assert wide.active.item() >= less.active.item() * (1 - 1e-9) - 1e-9
    for found in (less, wide):
        assert min(found.again.item(), found.begun.item()) >= 0
        assert np.isfinite([found.again.item(), found.begun.item()]).all()


@pytest.mark.parametrize(("isl", "osl", "concurrency"), [(8000, 500, 48), (1000, 1000, 128), (500, 1500, 64)])
def test_over_a_sweep_of_blocks_both_gain_the_same(isl: int, osl: int, concurrency: int) -> None:
    """From a third of what all requests need to more than that: what room is worth, and the metrics on the way."""
    load, needed = loop(isl, osl, concurrency, 0.5), concurrency * (isl + osl / 2) / 16
    pairs = [
        both(LLAMA, load, "vllm:0.24.0", 4, "h100_sxm", **{**FOUR, "num_gpu_blocks_override": round(needed * share)})
        for share in (0.3, 0.6, 0.85, 1.3)
    ]
    off = np.abs(np.log(np.array([np.array(closed) / np.array(simulated) for closed, simulated in pairs])))
    assert off[:, 0].max() < 0.2
    assert off[:, 1].max() < 0.08
    assert off[:, 2].max() < 0.08
    gains = np.diff(np.log([[closed[2], simulated[2]] for closed, simulated in pairs]), axis=0)
    assert np.abs(gains[:, 0] - gains[:, 1]).max() < 0.08


def test_what_corrections_are_learned_for_runs_in_a_cache_as_full() -> None:
    """Without those who wait for blocks that were counted, a token takes as long as with them."""
    all_of_them = points(loop(1000, 1000, 128, 0.5), num_gpu_blocks_override=2000)
    room = memory(all_of_them).room
    fewer = without_slot_waits(all_of_them, room)
    assert fewer.load.amount.item() < 40
    tpot = [serve(one, room).metrics["tpot_s"].item() for one in (fewer, all_of_them)]
    assert tpot[0] == pytest.approx(tpot[1], rel=0.04)


@pytest.mark.parametrize(("isl", "osl", "concurrency", "blocks"), [
    (128, 512, 128, 2000), (128, 512, 256, 2000), (256, 256, 128, 2000), (64, 64, 256, 1000), (1000, 1000, 128, 6000),
])  # fmt: skip
def test_equal_answers_in_a_full_cache_come_to_what_is_simulated(
    isl: int, osl: int, concurrency: int, blocks: int
) -> None:
    load = loop(isl, osl, concurrency)
    closed, simulated = both(SMALL, load, "vllm:0.24.0", 1, "h100_sxm", num_gpu_blocks_override=blocks)
    off = np.abs(np.log(np.array(closed) / np.array(simulated)))
    assert off[0] < 0.15
    assert off[1:].max() < 0.06


@pytest.mark.parametrize("times", [2.0, 4.0])
def test_a_rate_beyond_the_capacity_of_a_cache_comes_to_what_is_simulated(times: float) -> None:
    """Some 15.5 requests of these per second are what 2,000 blocks take."""
    load = Workload(128, 512, Arrival.POISSON, request_rate=15.5 * times, requests=1500, lengths="D(128,512)")
    closed, simulated = both(SMALL, load, "vllm:0.24.0", 1, "h100_sxm", num_gpu_blocks_override=2000)
    off = np.abs(np.log(np.array(closed) / np.array(simulated)))
    assert off[0] < 0.3
    assert off[1:].max() < 0.12


@pytest.mark.parametrize(("isl", "osl", "concurrency", "spread"), [
    (4000, 800, 64, 0.5), (1000, 800, 128, 0.0), (500, 300, 200, 0.5), (2000, 100, 24, 0.5),
    (300, 1500, 120, 0.9),
])  # fmt: skip
def test_a_full_cache_of_sglang_comes_to_what_is_simulated(isl: int, osl: int, concurrency: int, spread: float) -> None:
    load = loop(isl, osl, concurrency, spread)
    closed, simulated = both(SMALL, load, "sglang:0.5.9", 1, max_total_tokens=32_000)
    off = np.abs(np.log(np.array(closed) / np.array(simulated)))
    assert off[0] < 0.2
    assert off[1] < 0.15
    assert off[2] < 0.06


@pytest.mark.parametrize("times", [1.5, 2.5])
def test_a_rate_beyond_the_capacity_of_a_cache_of_sglang_comes_to_what_is_simulated(times: float) -> None:
    """Some 8 requests of these per second are what 32,000 tokens take."""
    load = Workload(500, 500, Arrival.POISSON, request_rate=8.0 * times, requests=1000, lengths="U(250,750)/(250,750)")
    closed, simulated = both(SMALL, load, "sglang:0.5.9", 1, max_total_tokens=32_000)
    off = np.abs(np.log(np.array(closed) / np.array(simulated)))
    assert off[0] < 0.25
    assert off[1:].max() < 0.12
