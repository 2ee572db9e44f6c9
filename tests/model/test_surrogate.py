"""The whole model: raw without history, learned with it, measured where it was measured."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from surrogate_world import GRID, MODELS, joined, question, related, rows, truth

from model.checkpoint.architecture import Architecture
from model.derived import PREDICTED, mean_over_median
from model.prediction import Z90
from model.question import analyse
from model.surrogate import Surrogate
from perfdb.errors import InputError, UnknownNameError
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Provenance, Workload


def test_without_history_the_answer_is_the_roofline_and_wide() -> None:
    found = Surrogate.fit({}).predict(question())
    assert set(found.metrics) == set(PREDICTED)
    assert (found.provenance == Provenance.ROOFLINE).all()
    assert not found.validated
    assert found.feasible.all()
    interval = found.metrics["tpot_s"].interval(0)
    assert interval.lo < interval.mean < interval.hi
    assert interval.hi / interval.lo > 3


def test_related_history_corrects_what_was_never_measured() -> None:
    asked = question()
    actual = truth(asked)
    raw, learned = Surrogate.fit({}).predict(asked), Surrogate.fit(related()).predict(asked)
    assert (learned.provenance == Provenance.LEARNED).all()
    assert learned.validated
    for name in ("ttft_s", "tpot_s", "e2e_s", "output_tps"):
        before = np.abs(np.log(raw.metrics[name].mean / actual[name])).mean()
        after = np.abs(np.log(learned.metrics[name].mean / actual[name])).mean()
        assert after < 0.35 * before
        assert learned.metrics[name].log_sd[0] < raw.metrics[name].log_sd[0]


def test_a_little_history_gives_an_offset() -> None:
    other = question(MODELS[1])
    found = Surrogate.fit(rows(other)).predict(question())
    raw = Surrogate.fit({}).predict(question())
    assert (found.metrics["tpot_s"].mean > raw.metrics["tpot_s"].mean).all()
    assert not found.validated


def test_measured_rows_answer_for_themselves_and_teach_the_rest() -> None:
    asked, actual = question(), truth(question())
    found = Surrogate.fit(rows(asked, keep=[0, 3, 5])).predict(asked)
    assert found.provenance.tolist() == [
        "measured", "learned", "learned", "measured", "learned", "measured"
    ]  # fmt: skip
    for name in ("ttft_s", "tpot_s", "output_tps"):
        assert found.metrics[name].mean[[0, 3, 5]] == pytest.approx(actual[name][[0, 3, 5]])
        raw = np.abs(np.log(Surrogate.fit({}).predict(asked).metrics[name].mean / actual[name]))
        error = np.abs(np.log(found.metrics[name].mean / actual[name]))
        assert error[[1, 2, 4]].max() < raw[[1, 2, 4]].max()
    measured, other = found.metrics["tpot_s"].log_sd[[0, 1]]
    assert measured < other


def test_a_config_that_was_measured_did_serve_whatever_the_rules_say() -> None:
    """Engines can be told to go beyond a model's positions: then the run is stronger than the rule."""
    asked = question(grid=Grid({"max_model_len": np.array([200_000, 300_000]), "max_num_seqs": np.array([16, 16])}))
    refused = Surrogate.fit({}).predict(asked)
    assert not refused.feasible.any()
    assert sorted(refused.reasons) == [0, 1]
    found = Surrogate.fit(rows(asked, keep=[1])).predict(asked)
    assert found.feasible.tolist() == [False, True]
    assert sorted(found.reasons) == [0]
    assert found.provenance.tolist() == ["learned", "measured"]


def test_answers_of_one_token_have_nothing_between_tokens() -> None:
    one = Workload(isl=512, osl=1, arrival=Arrival.CLOSED, concurrency=8)
    found = Surrogate.fit(related()).predict(question(workload=one), [*PREDICTED, "tpot_s_p99"]).metrics
    nothing = {name for name, estimate in found.items() if np.isnan(estimate.mean).all()}
    assert nothing == {"tpot_s", "itl_s", "tpot_s_p99", "output_tps_per_user"}
    assert all(np.isfinite(found[name].hi).all() for name in found.keys() - nothing)


def test_the_noise_of_a_measured_config_comes_from_its_repeats() -> None:
    asked = question()
    repeats = rows(asked, keep=[0, 0, 0, 0, 0, 0])
    repeats["tpot_s"] = repeats["tpot_s"] * np.exp(0.3 * np.array([1, -1, 1, -1, 1, -1]))
    found = Surrogate.fit(repeats).predict(asked)
    quiet = Surrogate.fit(rows(asked, keep=[0, 0, 0])).predict(asked)
    assert found.metrics["tpot_s"].log_sd[0] > 3 * quiet.metrics["tpot_s"].log_sd[0]


def test_a_config_that_names_a_default_is_the_config_that_does_not() -> None:
    short = Grid({"max_num_seqs": np.array([256, 16])})
    long = Grid({"max_num_seqs": np.array([256]), "gpu_memory_utilization": np.array([0.9])})
    history = rows(question(grid=long))
    found = Surrogate.fit(history).predict(question(grid=short))
    assert found.provenance.tolist() == ["measured", "learned"]


def test_another_load_of_the_same_scenario_teaches_too() -> None:
    twice = Workload(isl=512, osl=128, arrival=Arrival.CLOSED, concurrency=64, requests=320)
    found = Surrogate.fit(rows(question(workload=twice))).predict(question())
    assert (found.provenance == Provenance.LEARNED).all()
    error = np.log(found.metrics["tpot_s"].mean / truth(question())["tpot_s"])
    assert np.abs(error).max() < 0.35


@pytest.mark.parametrize(
    "change",
    [{"outcome": "oom"}, {"origin": "simulated"}, {"platform": "unheard of"}, {"model": "unheard of"}],
)
def test_rows_that_cannot_be_used_teach_nothing(change: dict[str, object]) -> None:
    surrogate = Surrogate.fit(rows(question(), **change))
    assert (surrogate.predict(question()).provenance == Provenance.ROOFLINE).all()
    assert sum(surrogate.lessons(question()).training.skipped.values()) == len(GRID)


def test_spellings_of_one_context_are_one() -> None:
    history = rows(question(), model="Llama-3.1-8B", platform="Nvidia H100 GPU", engine="vLLM")
    assert (Surrogate.fit(history).predict(question()).provenance == Provenance.MEASURED).all()


def test_a_model_known_by_its_files_alone_learns_from_its_own_rows() -> None:
    mine = Architecture("my-model", 2048, 24, 16, 4, 128, 8192, 32000)
    longer = Workload(isl=1024, osl=128, arrival=Arrival.CLOSED, concurrency=32, requests=320)
    asked = question(mine)
    found = Surrogate.fit(rows(asked)).predict(question(mine, workload=longer))
    assert (found.provenance == Provenance.LEARNED).all()
    error = np.log(found.metrics["tpot_s"].mean / truth(question(mine, workload=longer))["tpot_s"])
    assert np.abs(error).mean() < 0.3


def test_medians_and_other_throughputs_serve_where_means_are_missing() -> None:
    history = rows(question())
    history["tpot_s_p50"] = history.pop("tpot_s") / mean_over_median("tpot_s")
    history["request_tps"] = history.pop("output_tps") / 128
    found = Surrogate.fit(history).predict(question())
    assert found.metrics["tpot_s"].mean == pytest.approx(truth(question())["tpot_s"])
    assert found.metrics["output_tps"].mean == pytest.approx(truth(question())["output_tps"])


def test_a_measured_median_is_the_predicted_median_and_not_the_mean() -> None:
    history = rows(question())
    median = history["ttft_s_p50"] = history.pop("ttft_s")
    found = Surrogate.fit(history).predict(question(), ("ttft_s", "ttft_s_p50")).metrics
    assert found["ttft_s_p50"].mean == pytest.approx(median)
    assert found["ttft_s"].mean == pytest.approx(median * mean_over_median("ttft_s"))
    assert mean_over_median("ttft_s") == pytest.approx(1.133, abs=0.001)


def test_identities_between_metrics() -> None:
    grid = Grid({"tensor_parallel_size": np.array([1, 2, 4])})
    found = Surrogate.fit({}).predict(question(grid=grid)).metrics
    devices = np.array([1, 2, 4])
    assert found["output_tps_per_gpu"].mean * devices == pytest.approx(found["output_tps"].mean)
    assert found["total_tps"].mean == pytest.approx(found["output_tps"].mean * 640 / 128)
    assert found["output_tps_per_user"].mean == pytest.approx(1 / found["tpot_s"].mean)
    dollars = platform("h100_sxm").usd_per_hour
    assert dollars is not None
    price = dollars * devices / 3600 / found["output_tps"].mean * 1e6
    assert found["cost_per_mtok"].mean == pytest.approx(price)


def test_percentiles_on_request() -> None:
    found = Surrogate.fit({}).predict(question(), ("ttft_s", "ttft_s_p50", "ttft_s_p99", "e2e_s_p90", "e2e_s")).metrics
    assert (found["ttft_s_p50"].mean < found["ttft_s"].mean).all()
    assert (found["ttft_s"].mean < found["ttft_s_p99"].mean).all()
    assert (found["e2e_s"].mean < found["e2e_s_p90"].mean).all()
    assert (found["ttft_s_p99"].log_sd > found["ttft_s"].log_sd).all()


def test_metrics_that_cannot_be_predicted_are_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="predictable metric"):
        Surrogate.fit({}).predict(question(), ("power_w",))
    with pytest.raises(InputError, match="no price"):
        Surrogate.fit({}).predict(question(place="v100_pcie_32gb"), ("cost_per_mtok",))


def test_an_offered_rate_is_known_better_than_the_capacity() -> None:
    load = Workload(isl=512, osl=128, arrival=Arrival.POISSON, request_rate=1.0)
    found = Surrogate.fit(related()).predict(question(workload=load)).metrics["output_tps"]
    assert found.mean == pytest.approx(128.0)
    assert (found.log_sd < 0.1).all()


def test_near_its_capacity_a_wait_may_be_anything() -> None:
    def wait(rate: float) -> tuple[float, float]:
        load = Workload(isl=512, osl=128, arrival=Arrival.POISSON, request_rate=rate)
        asked = question(workload=load, grid=Grid({"max_num_seqs": np.array([256])}))
        rho = float(analyse(asked).serving.utilisation[0])
        return rho, float(Surrogate.fit({}).predict(asked).metrics["ttft_s"].log_sd[0])

    rho, calm = wait(1.0)
    near, wild = wait(1.0 / rho)
    assert near == pytest.approx(1.0, abs=0.02)
    assert wild > 1.5 * calm


def test_the_same_database_gives_the_same_answer() -> None:
    history = joined(related(), rows(question(), keep=[0, 1, 2]))
    first, second = (Surrogate.fit(history).predict(question()).metrics["tpot_s"] for _ in range(2))
    assert np.array_equal(first.log_mean, second.log_mean)
    assert np.array_equal(first.log_sd, second.log_sd)


def test_intervals_hold_across_platforms_never_seen() -> None:
    """S0.8 in small: nine of ten, where the rule of the world is the same and the platform new."""
    history = related()
    history = {name: column[history["platform"] != "h200_sxm"] for name, column in history.items()}
    asked = question(place="h200_sxm")
    found = Surrogate.fit(history).predict(asked).metrics["tpot_s"]
    error = np.abs(np.log(truth(asked)["tpot_s"]) - found.log_mean)
    assert (error <= Z90 * found.log_sd).mean() >= 0.8


def test_predicting_imports_no_learning_library() -> None:
    """The command line stays quick: neither scikit-learn, xgboost, pandas nor numba without history."""
    code = (
        "import sys, numpy as np; from model.surrogate import Surrogate, Question; "
        "from model.checkpoint.architecture import resolve_model; from perfdb.facts.platforms import platform; "
        "from perfdb.records import *; name = 'meta-llama/Llama-3.1-8B'; "
        "load = Workload(isl=512, osl=128, concurrency=8); "
        "asked = Question(Target(name, 'h100_sxm', 'vllm'), resolve_model(name), platform('h100_sxm'), load, "
        "Grid({'max_num_seqs': np.array([8])})); Surrogate.fit({}).predict(asked); "
        "print([m for m in ('sklearn', 'xgboost', 'pandas', 'numba', 'scipy', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_row_that_cannot_be_read_costs_no_other() -> None:
    asked = question()
    clean = rows(asked, keep=[0, 3])
    bad = rows(asked, keep=[1]) | {"config": np.array(['{"quantization":"no such format"}'], object)}
    surrogate = Surrogate.fit(joined(clean, bad))
    found, expected = surrogate.predict(asked), Surrogate.fit(clean).predict(asked)
    assert found.metrics["tpot_s"].mean == pytest.approx(expected.metrics["tpot_s"].mean)
    assert surrogate.lessons(asked).training.skipped == {"unknown number format 'no such format'": 1}


def test_rows_that_measured_nothing_that_is_predicted_teach_nothing() -> None:
    empty = {name: np.full(6, np.nan) for name in truth(question())}
    found = Surrogate.fit(rows(question()) | empty).predict(question())
    assert all(provenance is Provenance.ROOFLINE for provenance in found.provenance)


def test_no_first_token_is_predicted_after_the_last_one() -> None:
    """Three short waits, growing fast, must not extrapolate past the whole latency where slots are few."""
    asked = question(
        grid=Grid({"max_num_seqs": np.array([2, 128, 64, 32]), "max_num_batched_tokens": np.full(4, 8192)})
    )
    history = rows(asked, keep=[1, 2, 3])
    history["ttft_s"] = history["ttft_s"] * np.array([1.0, 3.0, 9.0])
    found = Surrogate.fit(history).predict(asked)
    assert found.metrics["ttft_s"].mean[0] <= found.metrics["e2e_s"].mean[0]


@pytest.mark.parametrize("slots", [32, 256])
def test_a_config_that_says_nothing_is_the_one_that_leaves_all_to_the_engine(slots: int) -> None:
    surrogate = Surrogate.fit(rows(question(grid=Grid({"max_num_seqs": np.array([slots])}))))
    said: list[dict[str, None]] = [{}, {"tensor_parallel_size": None}, {"max_num_seqs": None}]
    silent, *others = (surrogate.predict(question(grid=Grid.of([config]))) for config in said)
    for name, estimate in silent.metrics.items():
        for other in others:
            assert estimate.log_mean.tolist() == other.metrics[name].log_mean.tolist()
            assert estimate.log_sd.tolist() == other.metrics[name].log_sd.tolist()
