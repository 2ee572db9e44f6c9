"""What a run makes of results that are thin, cut off, or of metrics that nobody can predict or measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from perfdb.errors import InputError
from perfdb.records import Outcome
from perfdb.store import Store
from runner.execute import Job, JobResult
from servecast.report.document import document
from servecast.tuning.ask import Report, record_reports, suggestions
from servecast.tuning.budget import Budget
from servecast.tuning.executors import executor_for
from servecast.tuning.open_task import open_tuning
from servecast.tuning.task_file import load_task
from servecast.tuning.tune import Progress, tune


def told(tuning, answered, names):
    """Record each experiment of a document with the metrics `names` alone."""
    for each in answered["experiments"]:
        failed = None if each["outcome"] == "ok" else each["outcome"]
        metrics = {} if failed else {name: each["actual"][name] for name in names}
        record_reports(tuning, [Report.of("test", each["config"], metrics, failed)])
    return document(tuning, "")


def test_results_without_a_percentile_teach_the_objectives_all_the_same(task_file, tmp_path):
    whole = open_tuning(task_file, Store(tmp_path / "a.duckdb"))
    stopped = tune(whole, executor_for(whole), Budget.parse("8"), Progress())
    reference = document(whole, stopped)
    thin = open_tuning(task_file, Store(tmp_path / "b.duckdb"))
    answer = told(thin, reference, ["output_tps", "ttft_s", "tpot_s"])
    assert set(answer["prediction"]["median_error_after"]) == {"output_tps", "ttft_s", "tpot_s"}
    before, after = (answer["prediction"][f"median_error_{when}"] for when in ("before", "after"))
    assert all(after[name] < before[name] / 2 for name in before)
    for name in ("output_tps", "tpot_s"):
        # The percentile's own prior is one of the features, so the two learn alike, not identically.
        expected = [e["predicted"][name]["mean"] for e in reference["experiments"]]
        assert [e["predicted"][name]["mean"] for e in answer["experiments"]] == pytest.approx(expected, rel=0.2)


def test_declared_quality_does_not_count_as_a_prediction_that_held(task_file, tmp_path, edit):
    objectives = ["throughput", "ttft", "quality_loss"]
    edit(task_file, objectives=objectives, quality_loss={"fp8": 0.01})
    tuning = open_tuning(task_file, Store(tmp_path / "t.duckdb"))
    answer = document(tuning, tune(tuning, executor_for(tuning), Budget.parse("5"), Progress()))
    assert "quality_loss" not in answer["prediction"]["median_error_before"]
    ok = sum(e["outcome"] == "ok" for e in answer["experiments"])
    assert answer["prediction"]["intervals"]["of"] == 4 * ok


def test_no_more_is_suggested_than_the_budget_has_left(task_file, tmp_path):
    tuning = open_tuning(task_file, Store(tmp_path / "t.duckdb"))
    assert len(suggestions(tuning, Budget.parse("3"), 10)["suggestions"]) == 3


class OutOfTime:
    """An executor whose every job is ended by the budget."""

    name = "replay"

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, JobResult]]:
        for job in jobs:
            yield job, JobResult(Outcome.CANCELLED, error="out of time", wall_s=1.0)

    def close(self) -> None:
        pass


def test_a_baseline_that_was_cut_off_comes_first_again(task_file, tmp_path, edit):
    edit(task_file, baseline={"max_num_seqs": 3})
    tuning = open_tuning(task_file, Store(tmp_path / "t.duckdb"))
    tune(tuning, OutOfTime(), Budget.parse("1s"), Progress())
    assert [s["selection_reason"] for s in suggestions(tuning, Budget.parse("8"), 1)["suggestions"]] == ["baseline"]


def test_a_config_that_cannot_fit_is_not_on_the_predicted_frontier(task_file, tmp_path):
    tuning = open_tuning(task_file, Store(tmp_path / "t.duckdb"))
    belief = tuning.belief([])
    best = int(np.flatnonzero(tuning.predicted_front(belief))[0])
    feasible = np.arange(len(tuning.grid)) != best
    tuning.__dict__["prediction"] = replace(tuning.prediction, feasible=feasible)
    assert not tuning.predicted_front(belief)[best]
    assert tuning.predicted_front(belief).any()


def test_a_grid_where_nothing_fits_does_not_say_that_it_was_run(task_file, tmp_path):
    tuning = open_tuning(task_file, Store(tmp_path / "t.duckdb"))
    tuning.__dict__["prediction"] = replace(tuning.prediction, feasible=np.zeros(len(tuning.grid), dtype=bool))
    assert "24 are predicted not to fit" in tuning.verdict([]).reason


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"objectives": ["cost", "ttft"], "replay": None}, "cost_per_mtok cannot be measured without usd_per_hour"),
        ({"objectives": ["quality_loss"], "replay": None}, "quality_loss cannot be measured without quality_loss"),
        ({"objectives": ["ttft", "ttft_s_mean"]}, "stands twice"),
        ({"load": {"isl": 8, "osl": 8, "concurrency": [8, 8]}}, "a load stands twice"),
    ],
)
def test_a_task_that_could_never_be_answered_is_refused(task_file, edit, fields, sentence):
    edit(task_file, **fields)
    with pytest.raises(InputError, match=sentence):
        load_task(task_file)


def test_a_mean_is_the_metric_itself(task_file, edit):
    edit(task_file, objectives=["ttft_s_mean", "e2e_s_p90"])
    assert [o.name for o in load_task(task_file).objectives] == ["ttft_s", "e2e_s_p90"]


def test_a_spelling_of_a_value_is_the_value(task_file, tmp_path):
    tuning = open_tuning(task_file, Store(tmp_path / "t.duckdb"))
    metrics = {"output_tps": 100.0, "ttft_s": 1.0, "tpot_s": 0.01}
    configs = [
        {"max_num_seqs": seqs, "max_num_batched_tokens": 1024, "enable_chunked_prefill": chunked}
        for seqs, chunked in ((1, True), (1.0, True), (True, 1))
    ]
    for config in configs:
        record_reports(tuning, [Report.of("test", config, metrics, None)])
    assert [e.selection_reason for e in tuning.experiments()] == ["user", "replicate", "replicate"]
    assert {e.config for e in tuning.experiments()} == {tuning.baseline}
