"""Corrections of pools by what whole servers taught, and the metrics that follow from both times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.checkpoint.architecture import resolve_model
from model.disagg.answer import Answer, Asked, disaggregated
from model.disagg.lessons import APART_SD, correction
from model.disagg.units import Deployments
from model.learning.history import training
from model.learning.lessons import Lessons
from model.learning.residual import PRIOR_SD, UNFAMILIAR
from model.question import Question, analyse
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Target, Workload

MODEL = resolve_model("meta-llama/Llama-3.1-8B")
LOAD = Workload(1000, 100, Arrival.CLOSED, 16)
ONE = np.ones(1, np.int64)


def question(load: Workload = LOAD, place: str = "h100_sxm", seqs: tuple[int, ...] = (256,)) -> Question:
    grid = Grid.of([{"max_num_seqs": value} for value in seqs])
    return Question(Target(MODEL.name, place, "vllm", 1, None), MODEL, platform(place), load, grid)


def lessons(factor: float) -> Lessons:
    """Whole servers took `factor` times as long as predicted."""
    levels = [1, 2, 4, 8, 16, 32, 64, 128]
    found = [analyse(question(replace(LOAD, concurrency=level))).serving.metrics for level in levels]
    n = len(levels)
    words = {"model": MODEL.name, "platform": "h100_sxm", "engine": "vllm", "config": "{}", "arrival": "closed"}
    history = {name: np.array([word] * n, object) for name, word in words.items()}
    history |= {"engine_version": np.array([None] * n, object), "devices": np.ones(n)}
    history |= {"isl": np.full(n, 1000.0), "osl": np.full(n, 100.0), "concurrency": np.array(levels, float)}
    history |= {name: np.array([factor * one[name][0] for one in found]) for name in ("ttft_s", "tpot_s")}
    return Lessons(training(history))


def answer(load: Workload, taught: Lessons | None = None, places: tuple[str, str] = ("h100_sxm", "h100_sxm")) -> Answer:
    pools = (question(load, place) for place in places)
    return disaggregated(Asked(*pools, Deployments(0 * ONE, 0 * ONE, ONE, ONE)), taught)


def test_without_lessons_there_is_no_correction_but_a_wide_interval() -> None:
    for family in ("ttft_s", "tpot_s"):
        found = correction(family, question(), np.zeros(3, np.int64), np.ones(3), None)
        assert not found.learned
        assert found.shift.tolist() == [0.0] * 3
        assert found.sd == pytest.approx(np.full(3, np.hypot(PRIOR_SD[family], APART_SD[family])))
    other = correction("tpot_s", question(place="mi300x"), np.zeros(1, np.int64), np.ones(1), None)
    assert other.sd[0] == pytest.approx(np.hypot(UNFAMILIAR * PRIOR_SD["tpot_s"], APART_SD["tpot_s"]))


def test_workers_err_as_whole_servers_with_as_many_requests() -> None:
    taught = lessons(2.0)
    rows, held = np.array([0, 1, 0, 1, 0]), np.array([1.0, 16.0, 1.0, 3.0, 90.0])
    pool = question(seqs=(256, 128))
    found = correction("tpot_s", pool, rows, held, taught)
    assert found.learned
    assert found.shift == pytest.approx(np.log(2.0), rel=0.35)
    assert found.sd.min() > APART_SD["tpot_s"]
    assert found.sd.max() < np.hypot(PRIOR_SD["tpot_s"], APART_SD["tpot_s"])
    for place, row in enumerate(rows):
        alone = correction("tpot_s", pool, np.array([row]), held[place : place + 1], taught)
        assert found.shift[place] == pytest.approx(alone.shift[0])


def test_corrected_times_carry_over_to_all_that_follows() -> None:
    raw, told = answer(LOAD), answer(LOAD, lessons(2.0))
    mean = {name: float(estimate.mean[0]) for name, estimate in told.metrics.items()}
    before = {name: float(estimate.mean[0]) for name, estimate in raw.metrics.items()}
    assert mean["e2e_s"] == pytest.approx(mean["ttft_s"] + 99 * mean["tpot_s"])
    # a closed loop: what takes longer is done less often
    assert mean["output_tps"] * mean["e2e_s"] == pytest.approx(before["output_tps"] * before["e2e_s"])
    assert mean["total_tps"] == pytest.approx(11 * mean["output_tps"])
    assert mean["output_tps_per_gpu"] == pytest.approx(mean["output_tps"] / 2)
    assert mean["cost_per_mtok"] * mean["output_tps"] == pytest.approx(before["cost_per_mtok"] * before["output_tps"])
    sd = {name: float(estimate.log_sd[0]) for name, estimate in told.metrics.items()}
    assert min(sd["ttft_s"], sd["tpot_s"]) <= sd["e2e_s"] <= max(sd["ttft_s"], sd["tpot_s"])
    assert told.stages["decode"] == pytest.approx(raw.stages["decode"])


def test_a_rate_stays_what_is_offered() -> None:
    load = Workload(1000, 100, Arrival.POISSON, request_rate=3.0)
    told = answer(load, lessons(2.0))
    assert told.metrics["request_tps"].mean[0] == pytest.approx(3.0)
    assert told.metrics["request_tps"].log_sd[0] < 0.1


def test_near_the_capacity_a_wait_is_anyones_guess() -> None:
    def sd(rate: float) -> float:
        return float(answer(Workload(1000, 100, Arrival.POISSON, request_rate=rate)).metrics["ttft_s"].log_sd[0])

    most = float(answer(Workload(1000, 100, Arrival.POISSON, request_rate=1e4)).metrics["request_tps"].mean[0])
    assert sd(most) > sd(most / 10) + 0.3
