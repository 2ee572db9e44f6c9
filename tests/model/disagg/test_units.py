"""How devices and load are shared out among units of two pools (FEATURES S1.38)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.disagg.pools import Pool
from model.disagg.units import ALONE, Deployments, Shared, Sharing, shared_out
from model.question import Question
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Target, Workload

CLOSED = Workload(1000, 100, Arrival.CLOSED, 96, requests=960)
RATE = Workload(1000, 100, Arrival.POISSON, request_rate=24.0, requests=960)


def pools(workload: Workload, sizes: tuple[int, ...] = (1, 2)) -> tuple[Pool, Pool]:
    model = resolve_model("meta-llama/Llama-3.1-8B")
    grid = Grid.of([{"tensor_parallel_size": size} for size in sizes])
    target = Target(model.name, "h100_sxm", "vllm", 1, None)
    question = Question(target, model, platform("h100_sxm"), workload, grid)
    prompts = Workload(1000, 1, workload.arrival, workload.concurrency, workload.request_rate)
    return Pool.of(question, prompts), Pool.of(question, workload)


def share(
    workload: Workload, workers: tuple[int, int], sharing: Sharing = ALONE, rows: tuple[int, int] = (0, 0)
) -> Shared:
    columns = [np.array([value], np.int64) for value in (*rows, *workers)]
    return shared_out(pools(workload), Deployments(*columns), sharing, 50e9)


def test_a_unit_is_its_workers() -> None:
    one, unit = share(CLOSED, (1, 1)), share(CLOSED, (3, 2), rows=(0, 1))
    assert (unit.size[0], unit.device_counts[0].tolist()) == (7, [3, 4])
    assert unit.rates["prefill"] == pytest.approx(3 * one.rates["prefill"])
    assert unit.units.decode_engines[0] == 2.0
    # two devices of a decode worker take half of the cache each
    assert unit.units.takes[0] == pytest.approx(4 * one.units.takes[0])
    assert unit.units.once[0] == pytest.approx(one.units.once[0])
    assert unit.capacity[0] == min(float(rate[0]) for rate in unit.rates.values())


@pytest.mark.parametrize(("devices", "replicas"), [(None, 1), (2, 1), (9, 4), (1, 0)])
def test_as_many_units_as_there_are_devices_for(devices: int | None, replicas: int) -> None:
    found = share(CLOSED, (1, 1), Sharing(devices))
    assert found.replicas[0] == replicas
    count = max(replicas, 1)
    assert found.load[0] == pytest.approx(96 / count)
    assert found.requests[0] == pytest.approx(960 / count)
    assert found.worth[0] == count


def test_more_comes_to_units_that_serve_less_beside_others() -> None:
    found = share(RATE, (1, 1), Sharing(8, efficiency=0.8))
    assert found.load[0] == pytest.approx(24.0 / 4 / 0.8)
    assert found.worth[0] == pytest.approx(3.2)
    closed = share(CLOSED, (1, 1), Sharing(8, efficiency=0.8))
    assert closed.load[0] == pytest.approx(24.0)
    assert closed.worth[0] == pytest.approx(3.2)
    assert share(RATE, (1, 1), Sharing(3, efficiency=0.8)).load[0] == pytest.approx(24.0)


def test_a_router_lets_each_unit_have_its_share() -> None:
    found = share(RATE, (1, 1), Sharing(8, efficiency=0.5, router_limit=10.0))
    assert found.units.limit[0] * found.worth[0] == pytest.approx(10.0)
    assert found.capacity[0] == found.units.limit[0]
    alone = share(RATE, (1, 1))
    assert alone.units.limit[0] == alone.rates["decode"][0]


@given(st.integers(0, 4), st.integers(0, 4), st.one_of(st.none(), st.integers(4, 40)))
@settings(deadline=None, max_examples=25)
def test_workers_that_are_given_stay_and_others_are_found(x: int, y: int, devices: int | None) -> None:
    found = share(CLOSED, (x, y), Sharing(devices))
    for asked, workers in zip((x, y), found.workers[0].tolist(), strict=True):
        assert workers == asked or (asked == 0 and workers > 0)
    assert found.size[0] == found.workers[0].sum()
    if devices is not None:
        assert found.replicas[0] == devices // found.size[0]


def test_only_what_is_not_given_is_matched() -> None:
    columns = [np.array(column, np.int64) for column in ([0, 0, 1], [0, 1, 1], [0, 2, 0], [0, 3, 1])]
    together = shared_out(pools(CLOSED), Deployments(*columns), ALONE, 50e9)
    for row in range(3):
        alone = shared_out(pools(CLOSED), Deployments(*(column[row : row + 1] for column in columns)), ALONE, 50e9)
        assert together.workers[row].tolist() == alone.workers[0].tolist()
    assert together.workers[1].tolist() == [2, 3]
