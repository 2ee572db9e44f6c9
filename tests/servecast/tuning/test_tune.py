"""The whole loop on a recorded grid: budgets, failures, resuming, frontiers, and the same choices whoever asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfdb.errors import BudgetError, FileError, StoreBusyError
from perfdb.records import Outcome
from perfdb.store import Store
from runner.execute import Executor, Job, JobResult
from search.frontier import non_dominated
from servecast.report.document import document
from servecast.report.page import write_page
from servecast.tuning.ask import Report, record_reports, suggestions
from servecast.tuning.budget import Budget
from servecast.tuning.executors import executor_for
from servecast.tuning.open_task import open_tuning
from servecast.tuning.run_lock import alone
from servecast.tuning.space import row_of
from servecast.tuning.tune import Progress, tune


def tuned(task_file: Path, db: Path, budget: str = "8", executor: Executor | None = None) -> dict[str, Any]:
    tuning = open_tuning(task_file, Store(db))
    return document(tuning, tune(tuning, executor or executor_for(tuning), Budget.parse(budget), Progress()))


def choices(answer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(e["selection_reason"], e["config"]) for e in answer["experiments"]]


def test_the_frontier_is_what_no_measured_config_beats(task_file, tmp_path):
    """S0.12: only selected configs are run, and the actual frontier comes from real results only."""
    answer = tuned(task_file, tmp_path / "t.duckdb")
    ok = [e for e in answer["experiments"] if e["outcome"] == "ok"]
    losses = np.array([[-e["actual"]["output_tps"], e["actual"]["ttft_s"], e["actual"]["tpot_s"]] for e in ok])
    best = [e["config"] for e, keep in zip(ok, non_dominated(losses), strict=True) if keep]
    assert sorted(map(str, best)) == sorted(str(entry["config"]) for entry in answer["frontier"])
    assert len(answer["experiments"]) == 8
    assert answer["knee"]["config"] in best


def test_the_baseline_runs_first_and_every_choice_has_a_reason(task_file, tmp_path):
    answer = tuned(task_file, tmp_path / "t.duckdb")
    first, *rest = answer["experiments"]
    assert first["selection_reason"] == "baseline"
    assert first["config"] == {"max_num_seqs": 1, "max_num_batched_tokens": 1024, "enable_chunked_prefill": True}
    assert {e["selection_reason"] for e in rest} <= {"initial_design", "active"}
    assert answer["baseline"]["config"] == first["config"]


def test_every_config_runs_once_and_failures_are_charged_recorded_and_never_on_the_frontier(task_file, tmp_path):
    answer = tuned(task_file, tmp_path / "t.duckdb", "100")
    seen = [str(config) for _, config in choices(answer)]
    assert len(seen) == len(set(seen)) == 24
    assert answer["stopped_because"] == "every config of the space has been run"
    failed = [e for e in answer["experiments"] if e["outcome"] == "oom"]
    assert len(failed) == 2
    assert all(e["error"] and not e["actual"] and not e["on_frontier"] for e in failed)


def test_a_larger_budget_goes_on_and_repeats_nothing(task_file, tmp_path):
    """S2.36: a resumed run restores its trials exactly and chooses as one that was never stopped."""
    stopped = tuned(task_file, tmp_path / "a.duckdb", "5")
    resumed = tuned(task_file, tmp_path / "a.duckdb", "10")
    straight = tuned(task_file, tmp_path / "b.duckdb", "10")
    assert choices(resumed)[:5] == choices(stopped)
    assert choices(resumed) == choices(straight)
    assert resumed["run"] == stopped["run"]


class CutOffError(Exception):
    """Stands for whatever ends a process in the middle."""


class Dies:
    """An executor that is cut off after some jobs, as a killed process would be."""

    name = "replay"

    def __init__(self, executor: Executor, after: int) -> None:
        self.executor, self.after = executor, after

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, JobResult]]:
        if self.after == 0:
            raise CutOffError
        self.after -= 1
        yield from self.executor.run(jobs)

    def close(self) -> None:
        self.executor.close()


def test_cut_off_inside_an_experiment_the_same_command_goes_on(task_file, tmp_path):
    tuning = open_tuning(task_file, Store(tmp_path / "a.duckdb"))
    with pytest.raises(CutOffError):
        tune(tuning, Dies(executor_for(tuning), after=3), Budget.parse("6"), Progress())
    assert len(tuning.experiments()) == 3
    assert choices(tuned(task_file, tmp_path / "a.duckdb", "6")) == choices(
        tuned(task_file, tmp_path / "b.duckdb", "6")
    )


def test_a_time_budget_charges_recorded_seconds_and_is_never_exceeded(task_file, tmp_path):
    answer = tuned(task_file, tmp_path / "t.duckdb", "45s")
    assert sum(e["wall_s"] for e in answer["experiments"]) <= 45
    assert sum(e["wall_s"] for e in answer["experiments"]) > 45 - 10
    assert "45" in answer["stopped_because"] or "0.75m" in answer["stopped_because"]


def test_a_dollar_budget_needs_a_price_and_then_counts_it(task_file, tmp_path, edit):
    with pytest.raises(BudgetError, match="usd_per_hour"):
        tuned(task_file, tmp_path / "t.duckdb", "$1")
    edit(task_file, usd_per_hour=36.0, devices=2)
    answer = tuned(task_file, tmp_path / "t.duckdb", "$1")
    assert 0.6 <= answer["cost"]["usd"] <= 1
    assert all("cost_per_mtok" in e["actual"] for e in answer["experiments"] if e["outcome"] == "ok")


def test_suggest_and_record_choose_as_tune_does(task_file, tmp_path):
    whole = tuned(task_file, tmp_path / "tune.duckdb", "9")
    results = {str(e["config"]): e for e in whole["experiments"]}
    tuning = open_tuning(task_file, Store(tmp_path / "ask.duckdb"))
    while asked := suggestions(tuning, Budget.parse("9"), 1)["suggestions"]:
        config = asked[0]["config"]
        done = results[str(config)]
        outcome = None if done["outcome"] == "ok" else done["outcome"]
        record_reports(tuning, [Report.of("test", config, done["actual"], outcome)])
    told = document(tuning, "")
    assert choices(told) == choices(whole)
    assert [e["predicted"] for e in told["experiments"]] == [e["predicted"] for e in whole["experiments"]]


def test_suggest_and_tune_mix_freely(task_file, tmp_path):
    straight = tuned(task_file, tmp_path / "a.duckdb", "8")
    tuned(task_file, tmp_path / "b.duckdb", "3")
    tuning = open_tuning(task_file, Store(tmp_path / "b.duckdb"))
    config = suggestions(tuning, Budget.parse("8"), 1)["suggestions"][0]["config"]
    done = next(e for e in straight["experiments"] if e["config"] == config)
    outcome = None if done["outcome"] == "ok" else done["outcome"]
    record_reports(tuning, [Report.of("test", config, done["actual"], outcome)])
    assert choices(tuned(task_file, tmp_path / "b.duckdb", "8")) == choices(straight)


def test_flags_on_both_frontiers_are_stored(task_file, tmp_path):
    """S0.42, S0.43, S0.44, S0.45: predicted and actual values, frontier flags and reasons are columns."""
    tuned(task_file, tmp_path / "t.duckdb")
    names = ["throughput", "ttft", "tpot", "latency_p90"]
    columns = [f"{kind}_{name}" for kind in ("predicted", "actual") for name in names]
    query = (
        f"SELECT {', '.join(columns)}, is_on_actual_frontier, selection_reason FROM experiments WHERE outcome = 'ok'"
    )
    rows = Store(tmp_path / "t.duckdb").sql(query).rows
    assert all(isinstance(value, float) and value > 0 for row in rows for value in row[:8])
    assert any(row[8] for row in rows)
    assert {row[9] for row in rows} <= {"baseline", "initial_design", "active"}


@pytest.mark.parametrize("strategy", ["grid", "random", "active", "tpe"])
def test_every_strategy_spends_the_budget(task_file, tmp_path, edit, strategy):
    edit(task_file, strategy=strategy)
    answer = tuned(task_file, tmp_path / "t.duckdb", "6")
    assert len(answer["experiments"]) == 6
    assert all(set(e["predicted"]) >= {"output_tps", "ttft_s", "tpot_s"} for e in answer["experiments"])


def test_predictions_improve_by_learning(task_file, tmp_path):
    prediction = tuned(task_file, tmp_path / "t.duckdb", "12")["prediction"]
    assert prediction["median_error_after"]["output_tps"] < prediction["median_error_before"]["output_tps"]
    assert prediction["intervals"]["of"] > 0
    assert 0 <= prediction["intervals"]["hit"] <= prediction["intervals"]["of"]


class NeverLaunches:
    """An executor whose engine is broken."""

    name = "local"

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, JobResult]]:
        for job in jobs:
            yield job, JobResult(Outcome.LAUNCH_FAILED, error="no such binary", wall_s=1.0)

    def close(self) -> None:
        pass


def test_an_engine_that_never_launches_does_not_eat_the_budget(task_file, tmp_path):
    answer = tuned(task_file, tmp_path / "t.duckdb", "20", NeverLaunches())
    assert len(answer["experiments"]) == 3
    assert "no such binary" in answer["stopped_because"]
    assert answer["frontier"] == []


def test_the_page_is_self_contained_and_escapes_what_it_shows(task_file, tmp_path, edit):
    edit(task_file, name="<script>alert(1)</script>")
    answer = tuned(task_file, tmp_path / "t.duckdb", "5")
    write_page(answer, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "<script>alert(1)" not in html
    assert 'src="http' not in html
    assert html.count("plotly-graph-div") >= 3
    assert [path.name for path in tmp_path.glob(".report*")] == []


def test_a_page_of_nothing_measured_is_still_a_page(task_file, tmp_path):
    answer = tuned(task_file, tmp_path / "t.duckdb", "20", NeverLaunches())
    write_page(answer, tmp_path / "report.html")
    assert "no such binary" in (tmp_path / "report.html").read_text()
    with pytest.raises(FileError, match="cannot be written"):
        write_page(answer, tmp_path / "missing" / "report.html")


def test_a_run_is_tuned_by_one_process_at_a_time(task_file, tmp_path):
    tuning = open_tuning(task_file, Store(tmp_path / "t.duckdb"))
    with alone(tuning.store.path, tuning.run_id), pytest.raises(StoreBusyError, match="is being tuned by process"):
        tuned(task_file, tmp_path / "t.duckdb")
    assert len(tuned(task_file, tmp_path / "t.duckdb", "2")["experiments"]) == 2
    assert list(tmp_path.glob(".*.lock")) == []


def test_configs_that_take_more_devices_than_there_are_are_left_out(task_file, tmp_path, edit):
    space = {"tensor_parallel_size": [1, 2, 4], "max_num_seqs": [8, 16]}
    edit(task_file, space=space, baseline={"max_num_seqs": 8}, replay=None)
    assert open_tuning(task_file, Store(tmp_path / "t.duckdb")).target.devices == 4
    edit(task_file, devices=2)
    tuning = open_tuning(task_file, Store(tmp_path / "t.duckdb"))
    assert set(tuning.grid.columns["tensor_parallel_size"].tolist()) == {1, 2}
    assert tuning.target.devices == 2
    sizes = [(c := tuning.grid.config(row))["tensor_parallel_size"] == tuning.devices_of(c) for row in range(4)]
    assert sizes == [True] * 4


class CancelsSecond:
    """An executor whose second job is cut off by its time limit."""

    name = "replay"

    def __init__(self, executor: Executor) -> None:
        self.executor, self.jobs = executor, 0

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, JobResult]]:
        for job, result in self.executor.run(jobs):
            self.jobs += 1
            yield job, JobResult(Outcome.CANCELLED, error="out of time") if self.jobs == 2 else result

    def close(self) -> None:
        self.executor.close()


def test_a_cancelled_experiment_is_charged_and_says_nothing_of_its_config(task_file, tmp_path):
    tuning = open_tuning(task_file, Store(tmp_path / "t.duckdb"))
    tune(tuning, CancelsSecond(executor_for(tuning)), Budget.parse("3"), Progress())
    experiments = tuning.experiments()
    assert [e.outcome.value for e in experiments].count("cancelled") == 1
    assert len(experiments) == 3
    state = tuning.state(experiments)
    assert len(state.rows) == 2
    assert row_of(tuning.grid, experiments[1].config) in state.open_rows
