"""One turnover of the requests in flight: what decoding leaves of the budget, and how prompts share steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.closed_form.convoy import burst_share
from model.closed_form.cycle import Cycle, cycle, prompt_room
from model.closed_form.serving import serve
from model.knobs import points_of
from model.load import load_of
from model.memory import memory
from model.points import Points
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")


def points(load: Workload, served_by: str = "vllm", **params: Scalar) -> Points:
    return points_of(LLAMA, platform("h100_sxm"), engine(served_by), 1, Grid.of([params]), load_of(load, 1))


def closed(concurrency: int, isl: float, osl: float, lengths: str = "D(1,1)", requests: int = 100_000) -> Workload:
    return Workload(isl, osl, Arrival.CLOSED, concurrency, requests=requests, lengths=lengths)


def turnover(load: Workload, **params: Scalar) -> Cycle:
    return cycle(points(load, **params), np.array([float(load.concurrency or 1)]))


def room(sequences: int, budget: int, isl: float, osl: float, served_by: str = "vllm", **params: Scalar) -> float:
    name = "chunked_prefill_size" if served_by == "sglang" else "max_num_batched_tokens"
    return prompt_room(points(closed(8, isl, osl), served_by, **{name: budget}, **params), np.array([sequences])).item()


def test_sequences_that_decode_take_of_the_budget() -> None:
    assert room(1, 512, 100, 1000) == 512
    assert room(65, 512, 100, 1000) == 512 - 64
    assert room(65, 512, 100, 1000, num_speculative_tokens=3) == 512 - 4 * 64
    assert room(65, 512, 100, 1000, "sglang") == 512


def test_a_budget_that_decoding_would_fill_is_shared_as_a_request_shares_its_tokens() -> None:
    """300 tokens of prompt and 99 further steps: of 256 tokens 192.5 are a prompt's."""
    assert room(256, 256, 300, 100) == pytest.approx(256 * 300 / 399)


def test_throughput_is_the_budget_over_the_tokens_of_a_request() -> None:
    """Far more requests than a step holds of their prompts: every token of every step is used."""
    found = turnover(closed(256, 2000, 100), max_num_batched_tokens=256, max_num_seqs=256)
    per_step = 256 / found.seconds.item() * found.mixed_s.item()
    assert per_step == pytest.approx(256 / (2000 + 99), rel=0.02)
    assert found.mixed_share.item() == pytest.approx(1.0)


@given(st.integers(1, 256), st.integers(256, 4096), st.integers(1, 4096), st.integers(2, 512))
@settings(deadline=None)
def test_a_smaller_budget_never_serves_more(concurrency: int, budget: int, isl: int, osl: int) -> None:
    load = closed(concurrency, isl, osl)
    less, more = (turnover(load, max_num_batched_tokens=size, max_num_seqs=256) for size in (budget, 2 * budget))
    assert more.fitting.item() >= less.fitting.item()
    for found in (less, more):
        assert min(found.seconds.item(), found.unhindered_s.item()) > 0
        assert 0 < found.mixed_share.item() <= 1 + 1e-12
        assert min(found.late_s.item(), found.each_s.item()) >= 0


def test_prompts_of_one_length_that_do_not_fit_together_come_apart() -> None:
    """Two prompts of 2,048 tokens fit 4,096 only while nobody decodes: a few requests soon take turns, many do not."""
    few, many = (turnover(closed(n, 2048, 1024, requests=20 * n), max_num_batched_tokens=4096) for n in (4, 64))
    assert many.mixed_s.item() > 1.4 * few.mixed_s.item()
    both = turnover(closed(4, 2040, 1024), max_num_batched_tokens=4096)
    assert both.mixed_s.item() > 1.6 * few.mixed_s.item()


def test_a_prompt_that_nearly_fits_takes_two_full_steps_behind_another() -> None:
    alone, behind = (turnover(closed(n, 2048, 128), max_num_batched_tokens=2048) for n in (1, 4))
    assert alone.first_s.item() == pytest.approx(alone.mixed_s.item())
    assert behind.first_s.item() == pytest.approx(2.0 * behind.mixed_s.item())
    assert behind.mixed_s.item() > 0.9 * alone.mixed_s.item()


def test_unlike_lengths_wait_by_chance() -> None:
    """64 prompts that fill a step each in 67 steps: alike they never meet, unlike they do."""
    alike, unlike = (
        turnover(closed(64, 4000, 67, text), max_num_batched_tokens=4096, max_num_seqs=64)
        for text in ("D(4000,67)", "N(4000,2000)/(67,33)")
    )
    assert alike.late_s.item() == 0
    assert unlike.late_s.item() > 3 * unlike.mixed_s.item()
    assert unlike.seconds.item() > alike.seconds.item()


@given(st.integers(2, 64), st.integers(64, 8000), st.integers(2, 512))
@settings(deadline=None)
def test_a_lone_request_waits_for_nobody(budget: int, isl: int, osl: int) -> None:
    found = turnover(closed(1, isl, osl, "N(1,1)"), max_num_batched_tokens=64 * budget)
    assert found.late_s.item() == 0
    assert found.first_s.item() <= found.seconds.item() * (1 + 1e-12)


def test_the_burst_is_the_share_of_the_requests_that_come_at_once() -> None:
    flight = np.array([32.0])
    assert burst_share(points(closed(32, 100, 10, requests=320)), flight).item() == pytest.approx(0.1)
    assert burst_share(points(Workload(100, 10, Arrival.BATCH, batch_size=32)), flight).item() == 1
    assert burst_share(points(Workload(100, 10, Arrival.POISSON, request_rate=3.0)), flight).item() == 0


def test_chunked_prefill_off_keeps_prompts_whole() -> None:
    off = turnover(closed(64, 1000, 100), max_num_batched_tokens=2500, enable_chunked_prefill=False)
    assert off.fitting.item() == 2
    assert off.first_s.item() == pytest.approx(off.mixed_s.item())


def test_a_tight_budget_shows_in_the_metrics() -> None:
    """At 256 in flight and 256 tokens a step the prompts take most of each step, at 8,192 a small part of them."""
    load, slots = closed(256, 1000, 128), {"max_num_seqs": 256}
    tight, wide = (points(load, max_num_batched_tokens=size, **slots) for size in (256, 8192))
    ttft = [serve(one, memory(one).room).metrics["ttft_s"].item() for one in (tight, wide)]
    assert ttft[0] > 10 * ttft[1]
