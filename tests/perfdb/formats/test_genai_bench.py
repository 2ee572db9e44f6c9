"""Folders of genai-bench: one JSON per scenario and load, the settings beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers.folder import import_paths
from perfdb.importers.importer import ReadSettings
from perfdb.importers.sniff import importer, recognise
from perfdb.store.store import Store

Read, Facts = Callable[..., Batch], Callable[..., dict[str, Any]]
SETTINGS = {
    "cmd": "genai-bench benchmark --api_key hush-hush --server_engine SGLang", "benchmark_version": "0.0.2",
    "auth_config": {"api_key": "hush-hush"}, "api_model_name": "llama", "model": "Meta-Llama-3.1-70B-Instruct",
    "task": "text-to-text", "num_concurrency": [8], "traffic_scenario": ["D(100,1000)"], "server_engine": "SGLang",
    "server_version": "v0.4.1", "server_gpu_type": "H100", "server_gpu_count": "4",
    "experiment_folder_name": "/results/openai_SGLang_v0.4.1_20240906_165433",
}  # fmt: skip


def stats(mean: float, total: float | None = None) -> dict[str, float | None]:
    return {
        "min": mean / 2, "max": mean * 2, "mean": mean, "stddev": mean / 10, "sum": total, "p25": mean * 0.8,
        "p50": mean * 0.9, "p75": mean * 1.1, "p90": mean * 1.3, "p95": mean * 1.5, "p99": mean * 1.8,
    }  # fmt: skip


RUN: dict[str, Any] = {
    "scenario": "D(100,1000)", "num_concurrency": 8, "batch_size": 1, "iteration_type": "num_concurrency",
    "run_duration": 100.0, "mean_output_throughput_tokens_per_s": 400.0, "mean_input_throughput_tokens_per_s": 40.0,
    "mean_total_tokens_throughput_tokens_per_s": 440.0, "requests_per_second": 0.4, "error_codes_frequency": {},
    "error_rate": 0.0, "num_error_requests": 0, "num_completed_requests": 40, "num_requests": 40,
    "stats": {
        "ttft": stats(0.05), "tpot": stats(0.018), "e2e_latency": stats(18.0), "output_latency": stats(17.9),
        "output_inference_speed": stats(55.0), "num_input_tokens": stats(101.0, 4000.0),
        "num_output_tokens": stats(1000.0, 40000.0), "total_tokens": stats(1101.0, 44000.0),
        "input_throughput": stats(2000.0), "output_throughput": stats(55.0),
    },
}  # fmt: skip


def document(unit: str = "s", **changes: Any) -> dict[str, Any]:
    requests = [{"ttft": 0.05, "error_code": 401, "error_message": "no such api_key: hush-hush"}]
    return {"aggregated_metrics": RUN | changes, "individual_request_metrics": requests, "_time_unit": unit}


@pytest.fixture
def one(tmp_path: Path, read_as: Read, facts: Facts) -> Callable[..., dict[str, Any]]:
    def run(content: dict[str, Any], settings: dict[str, Any] | None = None) -> dict[str, Any]:
        (tmp_path / "experiment_metadata.json").write_text(json.dumps(SETTINGS | (settings or {})))
        return facts(read_as("genai_bench", content))

    return run


def test_what_served_stands_in_the_settings_beside_the_run(one: Facts) -> None:
    run = one(document())
    assert (run["model"], run["platform"], run["devices"]) == ("meta-llama/Llama-3.1-70B", "h100_sxm", 4)
    assert (run["engine"], run["engine_version"], run["client"]) == ("sglang", "v0.4.1", "genai-bench 0.0.2")
    assert run["measured_at"] == "2024-09-06T16:54:33"
    assert run["extra"]["task"] == "text-to-text"


def test_times_are_seconds_and_speeds_are_per_user(one: Facts) -> None:
    run = one(document())
    assert (run["ttft_s:mean"], run["ttft_s:p50"], run["ttft_s:p99"]) == pytest.approx((0.05, 0.045, 0.09))
    assert (run["tpot_s:mean"], run["tpot_s:std"]) == pytest.approx((0.018, 0.0018))
    assert (run["e2e_s:mean"], run["e2e_s:min"], run["e2e_s:max"]) == (18, 9, 36)
    assert (run["output_tps_per_user:mean"], run["output_tps_per_user:p95"]) == (55, 82.5)
    assert (run["input_tokens:mean"], run["output_tokens:mean"], run["isl"]) == (101, 1000, 100)
    assert (run["output_tps:value"], run["input_tps:value"], run["total_tps:value"]) == (400, 40, 440)
    assert (run["request_tps:value"], run["duration_s:value"]) == (0.4, 100)
    assert "ttft_s:p25" not in run


def test_the_declared_time_unit_counts(one: Facts) -> None:
    """--metrics-time-unit ms changes the latencies, not the speeds."""
    times = {name: stats(RUN["stats"][name]["mean"] * 1e3) for name in ("ttft", "tpot", "e2e_latency")}
    seconds, run = one(document()), one(document("ms", stats=RUN["stats"] | times))
    for name in ("ttft_s:mean", "tpot_s:p99", "e2e_s:max", "output_tps_per_user:mean", "output_tps:value"):
        assert run[name] == pytest.approx(seconds[name])


def test_early_versions_left_the_prefill_out_of_the_time(one: Facts) -> None:
    """Their output throughput is tokens per second of decoding; the tokens over the whole run are what is meant."""
    early = document(mean_output_throughput_tokens_per_s=450.0, requests_per_minute=24.0)
    del early["aggregated_metrics"]["run_duration"], early["aggregated_metrics"]["requests_per_second"]
    run = one(early)
    assert (run["output_tps:value"], run["request_tps:value"]) == pytest.approx((400, 0.4))
    assert run["extra"]["mean_output_throughput_tokens_per_s"] == 450
    assert "duration_s:value" not in run


@pytest.mark.parametrize(
    ("scenario", "isl", "osl", "lengths"),
    [
        ("N(480,240)/(300,150)", 480, 300, "N(480,240)/(300,150)"),
        ("U(100,200)/(300,400)", 150, 350, "U(100,200)/(300,400)"),
        ("P(2000,500)/200", 2500, 200, None),
        ("E(1024)", None, None, None),
        ("I(512,512)", None, None, None),
        ("dataset", None, None, None),
    ],
)
def test_scenarios(one: Facts, scenario: str, isl: float | None, osl: float | None, lengths: str | None) -> None:
    run = one(document(scenario=scenario))
    assert (run.get("isl"), run.get("osl"), run.get("lengths")) == (isl, osl, lengths)
    assert run["extra"].get("scenario") == (None if lengths else scenario)


def test_closed_loop(one: Facts) -> None:
    run = one(document())
    assert (run["arrival"], run["concurrency"], run["requests"]) == ("closed", 8, 40)


def test_runs_over_request_rates(one: Facts) -> None:
    run = one(document(iteration_type="request_rate", request_rate=5, num_concurrency=1), {"max_concurrency": 5000})
    assert (run["arrival"], run["request_rate"], run["concurrency"]) == ("constant", 5, 5000)


@pytest.mark.parametrize(("options", "arrival"), [("", "poisson"), (" --distribution constant", "constant")])
def test_open_loop_writes_its_rate_where_the_concurrency_stood(one: Facts, options: str, arrival: str) -> None:
    run = one(document(num_concurrency=2.5), {"cmd": "genai-bench benchmark --qps-level 2.5" + options})
    assert (run["arrival"], run["request_rate"]) == (arrival, 2.5)
    assert "concurrency" not in run


def test_documents_per_request_are_no_batch(one: Facts) -> None:
    run = one(document(iteration_type="batch_size", batch_size=32))
    assert (run["concurrency"], run["extra"]["documents_per_request"]) == (8, 32)
    assert "batch_size" not in run


def test_a_run_that_failed_in_part(one: Facts) -> None:
    """T10."""
    run = one(document(num_error_requests=10, num_completed_requests=30, error_codes_frequency={"429": 10}))
    assert (run["success_rate:value"], run["outcome"]) == (0.75, "partial")


def test_a_run_that_failed(one: Facts) -> None:
    """T9."""
    nothing = {name: dict.fromkeys(stats(1.0)) for name in RUN["stats"]}
    run = one(document(num_error_requests=40, num_completed_requests=0, stats=nothing))
    assert (run["success_rate:value"], run["outcome"]) == (0, "invalid")
    assert "ttft_s:mean" not in run


def test_without_settings_the_run_says_what_it_lacks(read_as: Read, facts: Facts) -> None:
    batch = read_as("genai_bench", document())
    assert not {"model", "engine", "platform"} & set(facts(batch))
    assert any("model is not said" in text for text in batch.warnings)


def test_the_settings_alone_are_no_result(tmp_path: Path) -> None:
    path = tmp_path / "experiment_metadata.json"
    path.write_text(json.dumps(SETTINGS))
    assert recognise(path.read_bytes(), path) is importer("genai_bench")
    with pytest.raises(FileError, match="settings of the runs beside it; they are read with those"):
        list(importer("genai_bench").read(path, ReadSettings()))


def test_secrets(one: Facts) -> None:
    """T22: the command, the settings and the requests hold the key."""
    assert "hush-hush" not in repr(one(document()))


def test_a_folder_into_a_store(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    folder.mkdir()
    for users in (8, 16):
        (folder / f"D100_1000_num_concurrency_{users}.json").write_text(json.dumps(document(num_concurrency=users)))
    (folder / "D100_1000_num_concurrency_4.json").write_text(json.dumps(document())[:-300])
    (folder / "experiment_metadata.json").write_text(json.dumps(SETTINGS))
    store = Store(tmp_path / "db.duckdb")
    report = import_paths(store, [folder])
    assert (report.files, report.stored, report.quarantined) == (2, 2, 0)
    reasons = {Path(file).name: reason for file, reason in report.skipped}
    assert "complete JSON" in reasons["D100_1000_num_concurrency_4.json"]
    assert "read with those" in reasons["experiment_metadata.json"]
    again = import_paths(store, [folder])
    assert (again.stored, again.duplicates) == (0, 2)


def test_other_settings_make_it_another_result(tmp_path: Path) -> None:
    path, settings = tmp_path / "run.json", tmp_path / "experiment_metadata.json"
    path.write_text(json.dumps(document()))
    settings.write_text(json.dumps(SETTINGS))
    store = Store(tmp_path / "db.duckdb")
    import_paths(store, [path])
    settings.write_text(json.dumps(SETTINGS | {"server_gpu_type": "H200"}))
    assert import_paths(store, [path]).stored == 1
