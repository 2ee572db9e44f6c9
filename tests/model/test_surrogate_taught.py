"""What a surrogate makes of rows that it is told later, of parts that were measured, and of a load per config."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.architecture import resolve_model
from model.load import load_of
from model.question import analyse
from model.surrogate import Question, Surrogate
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Target, Workload, canonical_json

History = dict[str, np.ndarray[Any, Any]]
SLOTS = Grid({"max_num_seqs": np.array([4, 8, 16, 32, 64, 128])})
MODELS = ("meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B", "mistralai/Mistral-7B-v0.3", "Qwen/Qwen2.5-14B")


def load(concurrency: int = 32) -> Workload:
    return Workload(isl=512, osl=128, arrival=Arrival.CLOSED, concurrency=concurrency, requests=320)


def question(model: str = MODELS[0], grid: Grid = SLOTS, workload: Workload | None = None) -> Question:
    asked = workload or load()
    return Question(Target(model, "h100_sxm", "vllm"), resolve_model(model), platform("h100_sxm"), asked, grid)


def truth(asked: Question) -> dict[str, Any]:
    """A world that is slower than the analytic model, more so for few slots."""
    metrics = analyse(asked).serving.metrics
    slow = 1.6 + 2.0 / np.sqrt(np.asarray(asked.grid.columns["max_num_seqs"], float))
    return {"ttft_s": metrics["ttft_s"] * slow, "tpot_s": metrics["tpot_s"] * slow}


def rows(asked: Question, keep: list[int]) -> History:
    """What a database holds after the configs `keep` were measured."""
    n = len(keep)
    texts = {"model": asked.target.model, "platform": "h100_sxm", "engine": "vllm", "arrival": "closed"}
    numbers = {"isl": 512, "osl": 128, "concurrency": asked.workload.concurrency, "requests": 320, "devices": 1}
    configs = [canonical_json(dict(asked.grid.config(row))) for row in keep]
    return (
        {name: np.full(n, value, object) for name, value in texts.items()}
        | {name: np.full(n, value, float) for name, value in numbers.items()}
        | {"config": np.array(configs, object)}
        | {name: values[keep] for name, values in truth(asked).items()}
    )


def related() -> History:
    """Rows of four other models under many loads, enough for trees."""
    others = (*MODELS[1:], "meta-llama/Llama-3.2-3B")
    asked = [question(m, workload=load(c)) for m in others for c in (1, 2, 4, 8, 16, 24, 48, 64, 96, 128)]
    parts = [rows(each, list(range(6))) for each in asked]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.fixture(scope="module")
def base() -> Surrogate:
    return Surrogate.fit(related())


def test_latency_is_the_sum_of_its_measured_parts_where_it_was_not_measured(base: Surrogate) -> None:
    asked, found = question(), base.predict(question()).metrics
    assert base.lessons(asked).validated
    parts = found["ttft_s"].mean + 127 * found["tpot_s"].mean
    assert found["e2e_s"].mean == pytest.approx(parts)
    real = truth(asked)["ttft_s"] + 127 * truth(asked)["tpot_s"]
    assert np.abs(np.log(parts / real)).mean() < 0.3
    analytic = analyse(asked).serving.metrics
    product = analytic["output_tps"] * analytic["e2e_s"]
    assert found["output_tps"].mean * found["e2e_s"].mean == pytest.approx(product)


def test_rows_may_be_told_after_the_fit(base: Surrogate) -> None:
    """What a few rows of a context say is learned without fitting anew, and of that context alone."""
    asked = question()
    slower = rows(asked, keep=[0, 2, 5])
    slower["tpot_s"] = slower["tpot_s"] * 1.5
    told, actual = base.taught(slower), 1.5 * truth(asked)["tpot_s"]
    after = told.predict(asked).metrics["tpot_s"].mean
    assert after[[0, 2, 5]] == pytest.approx(actual[[0, 2, 5]])
    assert np.abs(np.log(after / actual))[[1, 3, 4]].max() < 0.15
    other = question(MODELS[1])
    assert told.predict(other).metrics["tpot_s"].log_mean == pytest.approx(
        base.predict(other).metrics["tpot_s"].log_mean
    )


def test_a_config_per_load(base: Surrogate) -> None:
    """Configs may each be asked for under a load of their own."""
    loads = [load(concurrency) for concurrency in (1, 8, 64)]
    one = Grid({"max_num_seqs": np.array([256])})
    grid = Grid({"max_num_seqs": np.array([256] * 3)})
    apart = [base.predict(question(grid=one, workload=each)).metrics["ttft_s"].mean[0] for each in loads]
    joint = replace(load_of(loads[0], 3), amount=np.array([1.0, 8.0, 64.0]))
    found = base.predict(question(grid=grid, workload=loads[0]), ("ttft_s",), joint).metrics["ttft_s"].mean
    assert found == pytest.approx(apart)


def test_equal_configs_of_a_large_grid_get_the_answer_of_one(base: Surrogate) -> None:
    few = Grid({"max_num_seqs": np.array([4, 8, 128])})
    many = Grid({"max_num_seqs": np.tile(few.columns["max_num_seqs"], 500)})
    one, all_of_them = (base.predict(question(grid=grid)).metrics["tpot_s"] for grid in (few, many))
    assert np.array_equal(all_of_them.log_mean.reshape(500, 3), np.tile(one.log_mean, (500, 1)))
    assert np.array_equal(all_of_them.log_sd.reshape(500, 3), np.tile(one.log_sd, (500, 1)))
