"""Profile exports of aiperf and genai-perf, JSON and CSV."""

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
from perfdb.importers.options import ImportOptions
from perfdb.importers.sniff import importer
from perfdb.store.store import Store

Read, Facts = Callable[..., Batch], Callable[..., dict[str, Any]]


def single(unit: str, value: float) -> dict[str, Any]:
    return {"unit": unit, "avg": value}


def spread(unit: str, mean: float) -> dict[str, Any]:
    return {
        "unit": unit, "avg": mean, "p1": mean * 0.5, "p25": mean * 0.75, "p50": mean, "p75": mean * 1.25,
        "p90": mean * 1.5, "p95": mean * 1.75, "p99": mean * 2, "min": mean * 0.5, "max": mean * 2, "std": mean * 0.25,
    }  # fmt: skip


METRICS: dict[str, Any] = {
    "request_throughput": single("requests/sec", 1.0), "request_latency": spread("ms", 3700.0),
    "request_count": single("requests", 64.0), "time_to_first_token": spread("ms", 50.0),
    "time_to_second_token": spread("ms", 18.0), "inter_token_latency": spread("ms", 18.0),
    "inter_chunk_latency": spread("ms", 19.0), "output_token_throughput": single("tokens/sec", 200.0),
    "output_token_throughput_per_user": spread("tokens/sec/user", 55.0),
    "output_sequence_length": spread("tokens", 200.0), "input_sequence_length": spread("tokens", 100.0),
    "benchmark_duration": single("sec", 64.0), "error_request_count": None, "goodput": None,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "endpoint": {"model_names": ["Qwen/Qwen3-0.6B"], "type": "chat", "streaming": True, "api_key": "hush-hush",
                 "url": "http://me:hush-hush@localhost:8000"},
    "input": {"prompt": {"input_tokens": {"mean": 100, "stddev": 0.0}, "output_tokens": {"mean": 200, "stddev": 0.0}}},
    "loadgen": {"concurrency": 4, "arrival_pattern": "concurrency_burst", "warmup_request_count": 3},
    "cli_command": "aiperf profile --api-key hush-hush",
}  # fmt: skip
EXPORT = METRICS | {"input_config": CONFIG, "was_cancelled": False, "start_time": "2025-11-07T13:45:40.060249"}
GENAI_PERF: dict[str, Any] = {
    "model": ["test_model"], "formatted_model_name": "test_model", "backend": "tensorrtllm", "service_kind": "openai",
    "endpoint_type": "chat", "streaming": True, "concurrency": 8, "request_rate": None, "warmup_request_count": 0,
    "synthetic_input_tokens_mean": 550, "synthetic_input_tokens_stddev": 50, "output_tokens_mean": 128,
    "output_tokens_stddev": 0, "subcommand": "profile",
}  # fmt: skip


@pytest.fixture
def one(read_as: Read, facts: Facts) -> Callable[..., dict[str, Any]]:
    return lambda document, file="profile_export_aiperf.json": facts(read_as("aiperf", document, file))


def test_what_was_run(one: Facts) -> None:
    run = one(EXPORT)
    assert (run["client"], run["model"], run["measured_at"]) == (
        "aiperf", "Qwen/Qwen3-0.6B", "2025-11-07T13:45:40.060249"
    )  # fmt: skip
    assert (run["arrival"], run["concurrency"], run["warmup_requests"]) == ("closed", 4, 3)
    assert (run["isl"], run["osl"], run["lengths"]) == (100, 200, "D(100,200)")
    assert (run["extra"]["endpoint_type"], run["extra"]["streaming"]) == ("chat", True)


def test_the_declared_unit_counts(one: Facts) -> None:
    run = one(EXPORT)
    assert (run["ttft_s:mean"], run["ttft_s:p75"], run["ttft_s:p99"]) == pytest.approx((0.05, 0.0625, 0.1))
    assert (run["e2e_s:mean"], run["e2e_s:max"], run["e2e_s:std"]) == pytest.approx((3.7, 7.4, 0.925))
    assert (run["output_tps_per_user:mean"], run["output_tps_per_user:min"]) == (55, 27.5)
    assert (run["request_tps:value"], run["output_tps:value"], run["duration_s:value"]) == (1, 200, 64)
    assert (run["input_tokens:mean"], run["output_tokens:p90"]) == (100, 300)
    assert "ttft_s:p25" not in run
    for unit, factor in (("us", 1e3), ("ns", 1e6), ("sec", 1e-3)):
        again = one(EXPORT | {"time_to_first_token": spread(unit, 50.0 * factor)})
        assert again["ttft_s:p99"] == pytest.approx(run["ttft_s:p99"])


def test_inter_token_latency_is_tpot_and_inter_chunk_latency_is_itl(one: Facts) -> None:
    """aiperf's inter-token latency is (e2e - ttft) / (n - 1) of each request."""
    run = one(EXPORT)
    assert (run["tpot_s:mean"], run["tpot_s:p95"]) == pytest.approx((0.018, 0.0315))
    assert (run["itl_s:mean"], run["itl_s:p50"]) == pytest.approx((0.019, 0.019))


@pytest.mark.parametrize(
    ("loadgen", "arrival", "rate", "concurrency"),
    [
        ({"request_rate": 5.0, "arrival_pattern": "constant"}, "constant", 5, None),
        ({"request_rate": 5.0, "concurrency": 32}, "poisson", 5, 32),
        ({"request_rate": 5.0, "arrival_pattern": "gamma"}, None, 5, None),
        ({"concurrency": 100, "request_rate_mode": "concurrency_burst"}, "closed", None, 100),
        ({"concurrency": 2}, "closed", None, 2),
    ],
)
def test_arrivals(
    one: Facts, loadgen: dict[str, Any], arrival: str | None, rate: float | None, concurrency: float | None
) -> None:
    run = one(EXPORT | {"input_config": CONFIG | {"loadgen": loadgen}})
    assert (run.get("arrival"), run.get("request_rate"), run.get("concurrency")) == (arrival, rate, concurrency)


def test_the_newest_config(one: Facts) -> None:
    config = {
        "models": {"strategy": "round_robin", "items": [{"name": "Qwen/Qwen3-8B"}]},
        "endpoint": {"urls": ["http://localhost"], "type": "chat", "streaming": True},
        "datasets": [{"prompts": {"isl": {"mean": 128.0, "stddev": 16.0}, "osl": 64}}],
        "phases": [
            {"name": "warmup", "type": "concurrency", "exclude_from_results": True, "requests": 10, "concurrency": 1},
            {"name": "profiling", "type": "poisson", "exclude_from_results": False, "rate": 20.0, "concurrency": 512},
        ],
    }
    run = one({"schema_version": "1.0", "aiperf_version": "0.8.0", **EXPORT, "input_config": config})
    assert (run["client"], run["model"]) == ("aiperf 0.8.0", "Qwen/Qwen3-8B")
    assert (run["arrival"], run["request_rate"], run["concurrency"]) == ("poisson", 20, 512)
    assert (run["warmup_requests"], run["lengths"]) == (10, "N(128,16)/(64,0)")


def test_the_first_schema(one: Facts) -> None:
    records = {name: metric for name, metric in METRICS.items() if metric is not None}
    records["ttft"] = {"tag": "ttft", "header": "Time to First Token", **records.pop("time_to_first_token")}
    run = one({"records": records, "input_config": CONFIG, "was_cancelled": False})
    assert (run["ttft_s:mean"], run["e2e_s:p90"]) == pytest.approx((0.05, 5.55))


def test_genai_perf(one: Facts) -> None:
    export = {name: METRICS[name] for name in METRICS if METRICS[name] is not None} | {"input_config": GENAI_PERF}
    run = one(export, "profile_export_genai_perf.json")
    assert (run["client"], run["model"], run["concurrency"]) == ("genai-perf", "test_model", 8)
    assert (run["lengths"], run["warmup_requests"]) == ("N(550,50)/(128,0)", 0)
    assert (run["tpot_s:mean"], run["requests"]) == (pytest.approx(0.018), 64)
    # nothing counts failures, and the backend is a default that has no meaning behind another service
    assert not {"success_rate:value", "engine"} & set(run)


def test_genai_perf_behind_triton_at_a_rate_with_free_answers(one: Facts) -> None:
    config = GENAI_PERF | {
        "service_kind": "triton", "request_rate": 3.0, "concurrency": None, "output_tokens_mean": -1
    }  # fmt: skip
    run = one(METRICS | {"input_config": config})
    assert (run["engine"], run["arrival"], run["request_rate"]) == ("trtllm", "constant", 3)
    assert (run["isl"], run.get("osl"), run.get("lengths")) == (550, None, None)


def test_genai_perf_with_a_nested_config(one: Facts) -> None:
    config = {
        "model_names": ["test_model"], "endpoint": {"type": "chat", "service_kind": "openai"},
        "perf_analyzer": {"stimulus": {"concurrency": 16}, "warmup_request_count": 2},
        "input": {"synthetic_tokens": {"mean": 300, "stddev": 0}, "output_tokens": {"mean": 30, "stddev": 0}},
    }  # fmt: skip
    run = one(METRICS | {"input_config": config})
    assert (run["client"], run["concurrency"], run["warmup_requests"]) == ("genai-perf", 16, 2)
    assert run["lengths"] == "D(300,30)"


def test_requests_that_failed(one: Facts) -> None:
    """T10."""
    assert one(EXPORT)["success_rate:value"] == 1
    run = one(EXPORT | {"error_request_count": single("requests", 16.0)})
    assert (run["requests"], run["success_rate:value"], run["outcome"]) == (80, 0.8, "partial")


def test_a_run_that_failed(one: Facts) -> None:
    """T9: aiperf leaves out every metric for which no request counts."""
    run = one({"error_request_count": single("requests", 64.0), "input_config": CONFIG, "was_cancelled": False})
    assert (run["requests"], run["success_rate:value"], run["outcome"]) == (64, 0, "invalid")


def test_a_cancelled_run_is_a_part(one: Facts) -> None:
    run = one(EXPORT | {"was_cancelled": True})
    assert (run["outcome"], run["ttft_s:mean"]) == ("partial", pytest.approx(0.05))


def test_telemetry_tells_the_kind_of_device_only(one: Facts) -> None:
    gpu = {"gpu_name": "NVIDIA H100 80GB HBM3", "metrics": {}}
    seen = {"endpoints": {"a:9400": {"gpus": {"gpu_0": gpu}}, "b:9400": {"gpus": {"gpu_0": gpu}}}}
    run = one(EXPORT | {"telemetry_data": seen})
    assert (run["platform"], run.get("devices")) == ("h100_sxm", None)
    seen["endpoints"]["b:9400"]["gpus"]["gpu_1"] = gpu | {"gpu_name": "NVIDIA L4"}
    assert "platform" not in one(EXPORT | {"telemetry_data": seen})


def test_secrets(read_as: Read) -> None:
    """T22."""
    assert "hush-hush" not in repr(read_as("aiperf", EXPORT))


def test_slices_of_time_are_no_runs(tmp_path: Path) -> None:
    head = json.dumps({"timeslices": [METRICS], "input_config": CONFIG}).encode()
    assert importer("aiperf").sniff(head, tmp_path / "profile_export_aiperf_timeslices.json") == 0


AIPERF_CSV = """\
Metric,avg,min,max,p1,p5,p25,p50,p75,p90,p95,p99,std
Input Sequence Length (tokens),500.00,500.00,500.00,500.00,500.00,500.00,500.00,500.00,500.00,500.00,500.00,0.00
Inter Chunk Latency (ms),25.00,5.00,150.00,6.00,8.00,20.00,22.00,24.00,30.00,40.00,125.00,20.00
Inter Token Latency (ms),25.00,20.00,32.00,20.50,21.00,23.00,24.00,26.00,28.00,30.00,31.00,3.00
Output Sequence Length (tokens),240.00,200.00,250.00,200.00,205.00,230.00,240.00,250.00,250.00,250.00,250.00,10.00
Output Token Throughput Per User (tokens/sec/user),40.00,31.25,50.00,32.00,33.00,38.00,41.00,43.00,45.00,47.00,49.00,5.0
Request Latency (ms),8000.00,7000.00,9000.00,7100.00,7200.00,7500.00,8000.00,8500.00,8600.00,8700.00,8800.00,200.00
Time to First Token (ms),2000.00,400.00,4000.00,500.00,600.00,1500.00,2100.00,2500.00,3000.00,3500.00,3900.00,900.00

Metric,Value
Benchmark Duration (sec),9.25
Error Request Count,11.00
Output Token Throughput (tokens/sec),2309.19
Request Count,89.00
Request Throughput (requests/sec),9.62


Endpoint,GPU_Index,GPU_Name,GPU_UUID,Metric,avg,min
localhost:9400,0,NVIDIA L4,GPU-0,GPU Power Usage (W),70.00,60.00
"""
GENAI_PERF_CSV = """\
Metric,avg,min,max,p99,p95,p90,p75,p50,p25
Time To First Token (ms),50.00,40.00,80.00,79.00,70.00,65.00,55.00,48.00,44.00
Inter Token Latency (ms),18.00,17.00,20.00,19.90,19.50,19.00,18.50,18.00,17.50
Request Latency (ms),"3,700.00","3,500.00","4,000.00","3,990.00","3,900.00","3,850.00","3,800.00","3,700.00","3,600.00"
Output Sequence Length,200.00,199.00,201.00,201.00,200.00,200.00,200.00,200.00,200.00

Metric,Value
Output Token Throughput (per sec),200.50
Request Throughput (per sec),1.00
"""


def test_csv_of_aiperf(one: Facts) -> None:
    run = one(AIPERF_CSV, "profile_export_aiperf.csv")
    assert (run["ttft_s:mean"], run["ttft_s:p50"], run["ttft_s:std"]) == pytest.approx((2.0, 2.1, 0.9))
    assert (run["tpot_s:p99"], run["itl_s:p99"]) == pytest.approx((0.031, 0.125))
    assert (run["output_tps:value"], run["request_tps:value"], run["duration_s:value"]) == (2309.19, 9.62, 9.25)
    assert (run["requests"], run["success_rate:value"]) == (100, 0.89)
    assert (run["output_tps_per_user:mean"], run["output_tokens:mean"]) == (40, 240)
    assert run["client"] == "aiperf"


def test_csv_of_genai_perf(one: Facts) -> None:
    run = one(GENAI_PERF_CSV, "results.csv")
    assert (run["client"], run["e2e_s:mean"], run["e2e_s:p99"]) == ("genai-perf", 3.7, 3.99)
    assert (run["output_tps:value"], run["output_tokens:min"]) == (200.5, 199)


def test_a_csv_beside_its_json_is_the_same_run(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "profile_export_aiperf.json").write_text(json.dumps(EXPORT))
    (folder / "profile_export_aiperf.csv").write_text(AIPERF_CSV)
    (folder / "inputs.json").write_text(json.dumps({"data": [{"session_id": "a"}]}))
    store = Store(tmp_path / "db.duckdb")
    report = import_paths(store, [folder], ImportOptions(set={"engine": "vllm"}))
    assert (report.files, report.stored, report.quarantined) == (1, 1, 0)
    assert any("the same runs as in profile_export_aiperf.json" in reason for _, reason in report.skipped)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("run.json", json.dumps(EXPORT)[:-100], "complete JSON"),
        ("run.csv", AIPERF_CSV + 'Request Count,"89', "every quote closed"),
    ],
)
def test_cut_off_files(tmp_path: Path, file: str, content: str, words: str) -> None:
    path = tmp_path / file
    path.write_text(content)
    with pytest.raises(FileError, match=words):
        list(importer("aiperf").read(path, ReadSettings()))


def test_text_where_a_number_belongs_is_set_aside(read_as: Read) -> None:
    batch = read_as("aiperf", AIPERF_CSV.replace("2000.00,400", "slow,400"), "run.csv")
    (bad,) = batch.bad
    assert (len(batch.rows), bad.value, bad.reason) == (0, "slow", "text where a number belongs")
