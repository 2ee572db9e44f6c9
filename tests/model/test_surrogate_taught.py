"""What a surrogate makes of rows that it is told later, of parts that were measured, and of a load per config."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from surrogate_world import MODELS, WORKLOAD, History, joined, question, rows, truth

from model.load import load_of
from model.question import analyse
from model.surrogate import Surrogate
from perfdb.records import Grid, Workload


def load(concurrency: int) -> Workload:
    return replace(WORKLOAD, concurrency=concurrency)


def parts_of(history: History) -> History:
    """Rows that measured only the first token and those after it."""
    return {name: column for name, column in history.items() if name not in {"e2e_s", "output_tps"}}


def related() -> History:
    """Rows of four other models under many loads, enough for trees."""
    others = (*MODELS[1:], "meta-llama/Llama-3.2-3B")
    loads = [load(concurrency) for concurrency in (1, 2, 4, 8, 16, 24, 48, 64, 96, 128)]
    return parts_of(joined(*(rows(question(model, workload=each)) for model in others for each in loads)))


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
    slower = parts_of(rows(asked, keep=[0, 2, 5]))
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
