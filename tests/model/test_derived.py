"""What follows in rows of which only some metrics were measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint.architecture import resolve_model
from model.derived import BASIS, followed, sum_of
from model.load import load_of
from model.points import Points
from model.prediction import Estimate
from model.question import Question, analyse
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Target, Workload

LOOP = Workload(1024, 128, Arrival.CLOSED, 32)
GUESS = {"ttft_s": 0.3, "tpot_s": 0.02, "itl_s": 0.03, "e2e_s": 9.0, "e2e_s_p90": 10.0, "output_tps": 1.0}
TRUTH = {"ttft_s": 0.1184, "tpot_s": 0.0116, "e2e_s": 0.1184 + 127 * 0.0116}


def points(workload: Workload) -> Points:
    target = Target("Llama-3.1-8B", "h100_sxm", "vllm", 1)
    question = Question(target, resolve_model("llama-3.1-8b"), platform("h100_sxm"), workload, Grid({}))
    grid = Grid.of([{"tensor_parallel_size": 1}, {"tensor_parallel_size": 1}])
    return question.resolve(grid, load_of(workload, 2))


def answer(*measured: str, workload: Workload = LOOP) -> dict[str, np.ndarray]:
    """Central values of two rows; of the first `measured` holds what was measured."""
    answers = {}
    for name in BASIS:
        own = np.array([name in measured, False])
        values = np.where(own, TRUTH.get(name, 0.015), GUESS[name])
        answers[name] = (Estimate(np.log(values), np.where(own, 0.04, 0.7)), own)
    found = followed(answers, points(workload))
    assert {name: float(found[name].mean[1]) for name in BASIS} == pytest.approx(GUESS)
    return {name: np.array([estimate.mean[0], estimate.log_sd[0]]) for name, estimate in found.items()}


def test_a_whole_request_is_the_sum_of_what_was_measured() -> None:
    found = answer("ttft_s", "tpot_s")
    assert found["e2e_s"] == pytest.approx([1.5916, 0.04])
    assert found["itl_s"] == pytest.approx([0.0116, 0.04])
    assert found["e2e_s_p90"][0] == pytest.approx(1.5916 * 10 / 9)
    assert found["e2e_s_p90"][1] < 0.1
    assert found["output_tps"][0] == pytest.approx(32 * 128 / 1.5916)


def test_the_time_per_token_is_what_is_left_of_a_request() -> None:
    found = answer("ttft_s", "e2e_s")
    assert found["tpot_s"][0] == pytest.approx(0.0116)
    assert 0.04 < found["tpot_s"][1] < 0.05
    assert found["itl_s"][0] == pytest.approx(0.0116)


def test_what_was_measured_stands() -> None:
    everything = answer(*BASIS)
    assert everything["itl_s"][0] == pytest.approx(0.015)
    assert everything["output_tps"][0] == pytest.approx(0.015)
    assert everything["e2e_s"][0] == pytest.approx(TRUTH["e2e_s"])


def test_one_measured_part_tells_nothing_of_the_others() -> None:
    found = answer("ttft_s")
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx({**GUESS, "ttft_s": 0.1184})


@pytest.mark.parametrize(
    "workload",
    [
        Workload(1024, 128, Arrival.POISSON, request_rate=3.0),
        replace(LOOP, requests=64),
        Workload(1024, 128, Arrival.BATCH, batch_size=8),
    ],
)
def test_littles_law_is_of_loops_whose_places_are_taken(workload: Workload) -> None:
    assert answer("ttft_s", "tpot_s", workload=workload)["output_tps"][0] == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(0.01, 1.0)), min_size=2, max_size=2))
def test_parts_are_wrong_together(parts: list[tuple[float, float]]) -> None:
    one, other = (Estimate(np.log([mean]), np.array([sd])) for mean, sd in parts)
    total = sum_of(one, other)
    assert total.mean[0] == pytest.approx(parts[0][0] + parts[1][0])
    assert min(sd for _, sd in parts) <= total.log_sd[0] * (1 + 1e-9)
    assert total.log_sd[0] <= max(sd for _, sd in parts) * (1 + 1e-9)


@pytest.mark.parametrize("osl", [64, 128])
def test_a_static_batch_lasts_as_long_as_its_parts(osl: int) -> None:
    target = Target("Llama-3.1-8B", "h100_sxm", "vllm", 1)
    workload = Workload(1024, osl, Arrival.BATCH, batch_size=32, lengths=f"D(1024,{osl})")
    grid = Grid.of([{"tensor_parallel_size": 1}])
    asked = Question(target, resolve_model("llama-3.1-8b"), platform("h100_sxm"), workload, grid)
    found = {name: float(values[0]) for name, values in analyse(asked).serving.metrics.items()}
    assert found["e2e_s"] == pytest.approx(found["ttft_s"] + (osl - 1) * found["tpot_s"], rel=1e-3)
