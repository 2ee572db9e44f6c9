"""Requests at a rate of their own: a few rows are asked at once, many level by level, with one answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.closed_form import arriving as module
from model.closed_form.arriving import Arriving, arriving
from model.closed_form.full_cache import admitted
from model.knobs import points_of
from model.load import load_of
from model.points import Points
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Scalar, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")


def points(rate: float, isl: int, **params: list[Scalar]) -> Points:
    rows = [dict(zip(params, values, strict=True)) for values in zip(*params.values(), strict=True)]
    load = load_of(Workload(isl, 200, Arrival.POISSON, request_rate=rate), len(rows))
    return points_of(LLAMA, platform("h100_sxm"), engine("vllm"), 1, Grid.of(rows), load)


def served(rows: Points, slots: np.ndarray, room: float = np.inf) -> Arriving:
    return arriving(rows, slots, admitted(rows, np.full(len(rows), np.inf), np.full(len(rows), room)))


@given(st.floats(0.1, 60.0), st.integers(16, 6000))
@settings(deadline=None, max_examples=20)
def test_few_rows_are_answered_as_many(rate: float, isl: int) -> None:
    rows = points(
        rate, isl, tensor_parallel_size=[1, 2, 4, 1], max_num_batched_tokens=[512, 2048, 8192, 2048],
        num_speculative_tokens=[0, 0, 0, 3],
    )  # fmt: skip
    slots = np.array([4.0, 64.0, 256.0, 1.0])
    few = served(rows, slots, 80.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FEW", 0)
        many = served(rows, slots, 80.0)
    for name in few.__dataclass_fields__:
        assert getattr(few, name) == pytest.approx(getattr(many, name), rel=1e-12)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    rows = points(8.0, 1024, tensor_parallel_size=[1, 2, 8])
    slots = np.array([16.0, 64.0, 256.0])
    whole = served(rows, slots)
    for place in range(3):
        alone = served(rows.take(np.array([place])), slots[[place]])
        for name in alone.__dataclass_fields__:
            assert getattr(whole, name)[place] == pytest.approx(getattr(alone, name)[0], rel=1e-12)


def test_a_full_cache_serves_fewer_and_makes_them_wait_amid_their_answers() -> None:
    rows, slots = points(100.0, 128, max_num_seqs=[256]), np.array([60.0])
    free, full = served(rows, slots), served(rows, slots, 60.0)
    assert full.capacity.item() < free.capacity.item() * 0.99
    assert free.begun.item() == 0
    assert 1 < full.begun.item() < 60
    assert full.slot_s.item() == pytest.approx(free.slot_s.item(), rel=0.2)


def test_below_the_capacity_a_cache_is_as_good_as_one_without_end() -> None:
    rows, slots = points(3.0, 128, max_num_seqs=[256]), np.array([60.0])
    free, full = served(rows, slots), served(rows, slots, 60.0)
    assert full.begun.item() == pytest.approx(0, abs=1e-3)
    for name in ("active", "slot_s", "answer_s"):
        assert getattr(full, name).item() == pytest.approx(getattr(free, name).item(), rel=1e-3, abs=1e-9)


@given(st.floats(1.1, 20.0))
@settings(deadline=None, max_examples=20)
def test_waits_beyond_the_capacity_grow_with_the_run(times: float) -> None:
    """A request of the middle of a long run waits for half of those who are too many; in a short one all find slots."""
    slots = np.array([16.0])
    capacity = served(points(1.0, 512, max_num_seqs=[16]), slots).capacity.item()
    waits = []
    for requests in (20, 400, 4000, 40_000):
        load = Workload(512, 200, Arrival.POISSON, request_rate=times * capacity, requests=requests)
        rows = points_of(
            LLAMA, platform("h100_sxm"), engine("vllm"), 1, Grid.of([{"max_num_seqs": 16}]), load_of(load, 1)
        )
        waits.append(served(rows, slots).slot_s.item())
    assert (np.diff(waits) >= 0).all()
    most = 40_000 / 2 * (1 / capacity - 1 / (times * capacity))
    assert waits[-1] == pytest.approx(most, rel=0.05)
