"""Into how many groups requests part that come to a pipeline at a rate."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.closed_form.parting import OneGroup, apart, at, poisson_tail
from model.knobs import points_of
from model.load import load_of
from model.points import Points
from perfdb.facts.engines import engine
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Workload

LLAMA = resolve_model("meta-llama/Llama-3.1-8B")
SIZES = np.array([[1.0], [16.0], [256.0]])


def rows(stages: int, served_by: str = "vllm") -> Points:
    name = "pp_size" if served_by == "sglang" else "pipeline_parallel_size"
    load = Workload(1024, 100, Arrival.POISSON, request_rate=1.0, lengths="D(1024,100)")
    grid = Grid.of([{name: stages}])
    return points_of(LLAMA, platform("h200_sxm"), engine(served_by), stages, grid, load_of(load, 1))


def group(fitting: float, each_s: float = 0.02, decode_s: float = 0.01, longer_s: float = 1e-5) -> OneGroup:
    """Steps of `decode_s`, `longer_s` more for each sequence, a hundred for an answer."""
    steps = decode_s + longer_s * SIZES
    same = np.ones_like(SIZES)
    return OneGroup(SIZES, 100.0 * steps + SIZES * each_s, steps, each_s * same, fitting * same)


def parted(stages: int, rate: float, one: OneGroup, requests: float = 1000.0, served_by: str = "vllm") -> float:
    return float(apart(rows(stages, served_by), np.array([rate]), np.array([requests]), one).item())


def test_prompts_that_always_fit_stay_in_one_group() -> None:
    assert parted(4, 10.0, group(64.0)) == pytest.approx(1.0, abs=1e-6)


def test_prompts_that_never_fit_are_in_all_groups() -> None:
    assert parted(4, 20.0, group(0.25)) > 3.5
    assert parted(2, 20.0, group(0.25)) > 1.9


def test_one_group_of_few_slots_keeps_all() -> None:
    """No more prompts come at once than there are slots: none is ever left for the next batch."""
    assert parted(4, 1000.0, group(256.0)) == pytest.approx(1.0)
    assert parted(4, 1000.0, group(255.0)) > 2.0


def test_micro_batches_of_sglang_take_whom_the_first_has_no_place_for() -> None:
    most = float((SIZES[-1] / group(256.0).seconds[-1]).item())
    assert parted(4, 0.5 * most, group(256.0), served_by="sglang") == pytest.approx(1.0, abs=1e-3)
    assert parted(4, 4.0 * most, group(256.0), served_by="sglang") > 2.0


def test_the_longer_a_run_the_more_groups() -> None:
    found = [parted(2, 25.0, group(4.0), requests) for requests in (100.0, 1000.0, 1e4, 1e6)]
    assert found == sorted(found)
    assert found[0] < 1.3
    assert found[-1] > 1.9


@given(st.integers(2, 8), st.floats(1e-3, 1e5), st.floats(0.05, 300), st.floats(1e-4, 1), st.floats(0, 1e-3))
def test_there_are_no_more_groups_than_stages(
    stages: int, rate: float, fitting: float, each_s: float, longer_s: float
) -> None:
    for served_by in ("vllm", "sglang"):
        assert 1.0 <= parted(stages, rate, group(fitting, each_s, 0.01, longer_s), 1000.0, served_by) <= stages + 1e-9


@given(st.integers(1, 60), st.floats(0.02, 0.6))
def test_the_tail_is_that_of_a_poisson_distribution(many: int, share: float) -> None:
    mean, chance, below = many * share, exp(-many * share), 0.0
    for k in range(many):
        below += chance
        chance *= mean / (k + 1)
    above = 0.0
    for k in range(many, many + 400):
        above += chance
        chance *= mean / (k + 1)
    assert above <= 1.0 - below + 1e-9
    assert poisson_tail(np.array([mean]), np.array([float(many)])).item() == pytest.approx(above, rel=0.2)


def test_values_between_places_and_beyond() -> None:
    places, values = np.array([[1.0], [2.0], [4.0]]), np.array([[10.0], [20.0], [0.0]])
    assert [at(places, values, np.array([x])).item() for x in (0.0, 1.5, 2.0, 3.0, 9.0)] == [10, 15, 20, 10, 0]
