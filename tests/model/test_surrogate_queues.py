"""Waits that are computed stand as computed, whatever was learned where nobody waited."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from surrogate_world import MODELS, PLATFORMS, joined, question, rows, truth

from model.question import analyse
from model.surrogate import Surrogate
from perfdb.records import Arrival, Grid, Workload


def test_what_was_learned_without_queues_leaves_the_wait_for_a_slot() -> None:
    """Fewer slots than requests never look better than enough of them, though no such config was ever seen."""
    enough = Grid({"max_num_seqs": np.array([64, 128])})
    loads = [Workload(isl=isl, osl=128, arrival=Arrival.CLOSED, concurrency=c, requests=320) for isl in (256, 512, 1024)
             for c in (8, 16, 64)]  # fmt: skip
    seen = joined(*(rows(question(m, p, enough, load)) for m in MODELS[1:] for p in PLATFORMS for load in loads))
    # with more requests in flight first tokens came ever sooner than the analytic model says
    seen["ttft_s"] = seen["ttft_s"] / seen["concurrency"] ** 0.7
    asked = question(grid=Grid({"max_num_seqs": np.array([2, 4, 8, 16, 32, 64])}))
    found, actual = Surrogate.fit(seen).predict(asked), truth(asked)
    assert (np.diff(found.metrics["output_tps"].mean) >= -1e-6).all()
    assert (np.diff(found.metrics["ttft_s"].mean) <= 1e-6).all()
    assert np.abs(np.log(found.metrics["ttft_s"].mean / actual["ttft_s"]))[:4].max() < 1.0


@pytest.mark.parametrize(
    ("workload", "grid"),
    [
        (Workload(isl=512, osl=128, arrival=Arrival.BATCH, batch_size=64), Grid({"max_num_seqs": np.array([4])})),
        (Workload(isl=512, osl=128, arrival=Arrival.CLOSED, concurrency=64), Grid({"num_gpu_blocks_override": [160]})),
        (Workload(isl=512, osl=128, arrival=Arrival.POISSON, request_rate=1e4), Grid({"max_num_seqs": np.array([8])})),
    ],
)
def test_no_more_is_served_than_the_slots_can(workload: Workload, grid: Grid) -> None:
    """What was learned of many requests at once does not make a few slots serve as many."""
    enough = Grid({"max_num_seqs": np.array([128, 256])})
    loads = [Workload(isl=512, osl=128, arrival=Arrival.CLOSED, concurrency=c, requests=320) for c in (1, 8, 64, 128)]
    seen = joined(*(rows(question(m, p, enough, load)) for m in MODELS[1:] for p in PLATFORMS for load in loads))
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        seen[name] = seen[name] / seen["concurrency"] ** 0.7
    seen["output_tps"] = seen["output_tps"] * seen["concurrency"] ** 0.7
    asked = question(grid=Grid({name: np.asarray(column) for name, column in grid.columns.items()}), workload=workload)
    found = Surrogate.fit(seen).predict(asked).metrics["output_tps"].mean
    assert np.abs(np.log(found / analyse(asked).serving.metrics["output_tps"])).max() < 2.0


def taught_to_hurry() -> Surrogate:
    """What was learned where nobody waited: many requests at once come far sooner than the analytic model says."""
    enough = Grid({"max_num_seqs": np.array([128, 256])})
    loads = [Workload(isl=512, osl=128, arrival=Arrival.CLOSED, concurrency=c, requests=320) for c in (1, 8, 64, 128)]
    seen = joined(*(rows(question(m, p, enough, load)) for m in MODELS[1:] for p in PLATFORMS for load in loads))
    for name in ("ttft_s", "e2e_s"):
        seen[name] = seen[name] / seen["concurrency"]
    seen["output_tps"] = seen["output_tps"] * seen["concurrency"]
    return Surrogate.fit(seen)


def test_no_more_is_served_than_comes() -> None:
    """Beyond the capacity what was learned may raise what is served, up to what is offered."""
    taught = taught_to_hurry()
    for rate in (50.0, 500.0, 5e4):
        asked = question(workload=Workload(isl=512, osl=128, arrival=Arrival.POISSON, request_rate=rate))
        found = taught.predict(asked)
        for name, tokens in (("output_tps", 128), ("request_tps", 1), ("total_tps", 640)):
            assert (found.metrics[name].mean <= rate * tokens * (1 + 1e-9)).all()
            assert (found.metrics[name].hi <= rate * tokens * (1 + 1e-9)).all()
            assert (found.metrics[name].lo < found.metrics[name].mean).all()
        assert found.utilisation == pytest.approx(analyse(asked).serving.utilisation)
    assert np.isnan(taught.predict(question()).utilisation).all()


def test_no_more_tokens_are_served_than_the_budget_of_the_steps() -> None:
    """A small budget that is always full does not look better than a large one."""
    budgets = np.array([128, 256, 1024, 8192])
    loop = Workload(isl=512, osl=128, arrival=Arrival.CLOSED, concurrency=128)
    grid = Grid({"max_num_seqs": np.full(4, 128), "max_num_batched_tokens": budgets})
    found = taught_to_hurry().predict(question(grid=grid, workload=loop)).metrics
    tokens = found["output_tps"].mean / 128 * (512 + 128)
    assert (tokens * found["tpot_s"].mean <= budgets * 1.001).all()
    latency = found["ttft_s"].mean + 127 * found["tpot_s"].mean
    assert (latency * found["output_tps"].mean / 128 >= 128 * 0.5)[:2].all()


@pytest.mark.parametrize("times", [1.3, 1.7])
def test_a_cache_is_as_full_as_its_memory_says(times: float) -> None:
    """What was learned where all found room does not shorten the wait for blocks, counted or accounted."""
    load = Workload(isl=2048, osl=512, arrival=Arrival.CLOSED, concurrency=1, requests=100_000)
    grid = Grid({"max_num_seqs": np.array([4096])})
    account = analyse(question(grid=grid, workload=load)).memory
    asked = replace(load, concurrency=round(times * account.sequences.item()))
    counted = Grid({**grid.columns, "num_gpu_blocks_override": account.blocks.astype(np.int64)})
    taught = taught_to_hurry()
    told, untold = (taught.predict(question(grid=each, workload=asked)).metrics for each in (counted, grid))
    for name in ("ttft_s", "output_tps"):
        assert untold[name].mean.item() == pytest.approx(told[name].mean.item(), rel=0.01)
