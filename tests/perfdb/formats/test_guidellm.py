"""Reports of GuideLLM as JSON, in each of its schemas."""

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
NONE = {"mean": 0.0, "median": 0.0, "std_dev": 0.0, "min": 0.0, "max": 0.0, "count": 0, "percentiles": {}}


def spread(mean: float) -> dict[str, Any]:
    parts = {"p001": 0.5, "p01": 0.5, "p05": 0.6, "p10": 0.7, "p25": 0.75, "p50": 1.0, "p75": 1.25, "p90": 1.5}
    shares = parts | {"p95": 1.75, "p99": 2.0, "p999": 2.0}
    successful = {
        "mean": mean, "median": mean, "mode": mean, "variance": 0.0, "std_dev": mean / 4, "min": mean / 2,
        "max": mean * 2, "count": 10, "total_sum": mean * 10,
        "percentiles": {name: mean * share for name, share in shares.items()},
    }  # fmt: skip
    return {"successful": successful, "errored": NONE, "incomplete": NONE, "total": successful}


# 10 requests of 256 + 100 tokens in 20 s, each of 4 s with a TTFT of 200 ms: 40 ms per token, 38.4 ms between tokens
METRICS: dict[str, Any] = {
    "request_totals": {"successful": 10, "errored": 0, "incomplete": 0, "total": 10},
    "requests_per_second": spread(0.5), "request_concurrency": spread(2.0), "request_latency": spread(4.0),
    "prompt_token_count": spread(256.0), "output_token_count": spread(100.0), "time_to_first_token_ms": spread(200.0),
    "time_per_output_token_ms": spread(40.0), "inter_token_latency_ms": spread(38.4),
    "prompt_tokens_per_second": spread(128.0), "output_tokens_per_second": spread(50.0),
    "tokens_per_second": spread(178.0),
}  # fmt: skip
BACKEND = {
    "target": "http://localhost:8000",
    "model": "Qwen/Qwen3-8B",
    "api_key": "hush-hush",
    "headers": {"Authorization": "Bearer hush-hush-hush"},
}
STREAMS = {"type_": "concurrent", "worker_count": 2, "max_concurrency": 2, "streams": 2}
NO_WARMUP = {"percent": None, "value": None, "mode": "prefer_duration"}
WINDOW = {"start_time": 1772470700.0, "end_time": 1772470720.0, "duration": 20.0}
SYNTHETIC = {"kind": "synthetic_text", "prompt_tokens": 256, "prompt_tokens_stdev": None, "output_tokens": 100}


def benchmark(strategy: dict[str, Any] = STREAMS, metrics: dict[str, Any] | None = None, **config: Any) -> Any:
    told = {"strategy": strategy, "warmup": NO_WARMUP, "profile": {"kind": "sweep"}, "backend": BACKEND, **config}
    requests = {"successful": [{"output": "the answer", "request_args": "api_key=hush-hush"}]}
    measured = METRICS | (metrics or {})
    return {"type_": "generative_benchmark", "config": told, "metrics": measured, "requests": requests, **WINDOW}


def report(*benchmarks: Any, data: Any = SYNTHETIC) -> dict[str, Any]:
    """Version 2."""
    metadata = {"version": 2, "guidellm_version": "0.7.1", "platform": "Linux"}
    spec = {"backend": BACKEND, "data": [data]}
    return {"metadata": metadata, "config": {"spec": spec}, "benchmarks": list(benchmarks or [benchmark()])}


@pytest.fixture
def one(read_as: Read, facts: Facts) -> Callable[..., dict[str, Any]]:
    return lambda document, row=0, file="benchmarks.json": facts(read_as("guidellm", document, file), row)


def test_what_was_run(one: Facts) -> None:
    run = one(report())
    assert (run["client"], run["model"]) == ("guidellm 0.7.1", "Qwen/Qwen3-8B")
    assert (run["arrival"], run["concurrency"], run["requests"], run["warmup_requests"]) == ("closed", 2, 10, 0)
    assert (run["isl"], run["osl"], run["lengths"]) == (256, 100, "D(256,100)")
    assert run["measured_at"] == "2026-03-02T16:58:20"
    assert "engine" not in run


def test_times(one: Facts) -> None:
    run = one(report())
    assert (run["ttft_s:mean"], run["ttft_s:p50"], run["ttft_s:p99"]) == pytest.approx((0.2, 0.2, 0.4))
    assert (run["e2e_s:mean"], run["e2e_s:p75"], run["e2e_s:min"], run["e2e_s:std"]) == (4, 5, 2, 1)
    assert (run["input_tokens:mean"], run["output_tokens:max"]) == (256, 200)


def test_its_tpot_is_the_whole_latency_per_token(one: Facts) -> None:
    run = one(report())
    assert (run["e2e_per_token_s:mean"], run["e2e_per_token_s:p99"]) == pytest.approx((0.04, 0.08))
    assert "tpot_s:mean" not in run


def test_its_itl_is_an_average_over_each_request(one: Facts) -> None:
    """Weighted by tokens: the mean is that of all gaps, the percentiles are those of (e2e - ttft) / (n - 1)."""
    run = one(report())
    assert (run["itl_s:mean"], run["tpot_s:p50"], run["tpot_s:p99"]) == pytest.approx((0.0384, 0.0384, 0.0768))
    assert "itl_s:p99" not in run


def test_early_versions_divided_the_decoding_time_by_all_tokens(one: Facts) -> None:
    """(e2e - ttft) / n is neither TPOT nor e2e / n: it stands aside."""
    run = one(report(benchmark(metrics={"time_per_output_token_ms": spread(38.0)})))
    assert not [name for name in run if name.startswith("e2e_per_token")]
    assert run["extra"]["time_per_output_token_ms"] == 38


def test_rates(one: Facts) -> None:
    run = one(report())
    rates = [run[f"{name}:value"] for name in ("request_tps", "output_tps", "input_tps", "total_tps", "duration_s")]
    assert rates == [0.5, 50, 128, 178, 20]


def test_a_rate_that_is_no_count_over_the_window_stands_aside(one: Facts) -> None:
    """Some versions average over instants, and tell a million prompt tokens per second."""
    run = one(report(benchmark(metrics={"prompt_tokens_per_second": spread(1.4e6)})))
    assert (run["input_tps:value"], run["extra"]["prompt_tokens_per_second"]) == (128, 1.4e6)
    close = one(report(benchmark(metrics={"output_tokens_per_second": spread(50.5)})))
    assert close["output_tps:value"] == 50.5


@pytest.mark.parametrize(
    ("strategy", "arrival", "rate", "concurrency"),
    [
        ({"type_": "synchronous"}, "closed", None, 1),
        ({"type_": "concurrent", "streams": 16}, "closed", None, 16),
        ({"type_": "throughput", "max_concurrency": 4}, "closed", None, 4),
        ({"type_": "throughput", "max_concurrency": 512}, "closed", None, 10),
        ({"type_": "throughput", "max_concurrency": None}, "closed", None, None),
        ({"type_": "constant", "rate": 2.5, "max_concurrency": 10240}, "constant", 2.5, None),
        ({"type_": "poisson", "rate": 4.0}, "poisson", 4, None),
        ({"type_": "replay"}, None, None, None),
    ],
)
def test_strategies(
    one: Facts, strategy: dict[str, Any], arrival: str | None, rate: float | None, concurrency: float | None
) -> None:
    run = one(report(benchmark(strategy)))
    assert (run.get("arrival"), run.get("request_rate"), run.get("concurrency")) == (arrival, rate, concurrency)


def test_a_cap_that_was_asked_for_is_part_of_the_load(one: Facts) -> None:
    run = one(report(benchmark({"type_": "poisson", "rate": 4.0}, profile={"kind": "poisson", "max_concurrency": 64})))
    assert (run["arrival"], run["request_rate"], run["concurrency"]) == ("poisson", 4, 64)


@pytest.mark.parametrize(
    ("data", "isl", "lengths"),
    [
        ({"prompt_tokens": 256, "prompt_tokens_stdev": 16, "output_tokens": 100}, 256, "N(256,16)/(100,0)"),
        ({"prompt_tokens": 256, "prompt_tokens_stdev": 16, "prompt_tokens_min": 8, "output_tokens": 100}, 256,
         "N(256,16)/(100,0)"),
        ({"prompt_tokens": 256, "prompt_tokens_stdev": 16, "prompt_tokens_min": 250, "output_tokens": 9}, 256, None),
        ({"prompt_tokens": 256, "output_tokens": 100, "output_tokens_max": 150}, 256, None),
        ("prompt_tokens=512,output_tokens=128,turns=3", 512, "D(512,128)"),
        ('{"prompt_tokens": 512, "output_tokens": 128}', 512, "D(512,128)"),
        ("/data/prompts.jsonl", None, None),
    ],
)  # fmt: skip
def test_lengths(one: Facts, data: Any, isl: float | None, lengths: str | None) -> None:
    run = one(report(data=data))
    assert (run.get("isl"), run.get("lengths")) == (isl, lengths)


def test_version_1(one: Facts) -> None:
    args = {"target": "http://localhost", "data": ["prompt_tokens=256,output_tokens=100,turns=2"], "rate": [2.0],
            "profile": "concurrent", "backend": "openai_http", "warmup": None}  # fmt: skip
    document = {"metadata": {"version": 1, "guidellm_version": "0.5.0"}, "args": args, "benchmarks": [benchmark()]}
    run = one(document)
    assert (run["client"], run["model"], run["concurrency"]) == ("guidellm 0.5.0", "Qwen/Qwen3-8B", 2)
    assert (run["lengths"], run["extra"]["data.turns"]) == ("D(256,100)", 2)


OLDEST = {
    "type_": "generative_benchmark", "run_id": "r",
    "args": {"profile": {"type_": "sweep"}, "strategy": {"type_": "constant", "rate": 2.0}, "warmup_number": 5},
    "worker": {"backend_type": "openai_http", "backend_model": "Qwen/Qwen3-8B"},
    "request_loader": {"data": "prompt_tokens=256,output_tokens=100"},
    "request_totals": METRICS["request_totals"],
    "metrics": {name: METRICS[name] for name in METRICS if name != "request_totals"}, **WINDOW,
}  # fmt: skip


def test_before_versions(one: Facts) -> None:
    run = one({"benchmarks": [OLDEST]})
    assert (run["client"], run["model"], run["lengths"]) == ("guidellm", "Qwen/Qwen3-8B", "D(256,100)")
    assert (run["arrival"], run["request_rate"], run["warmup_requests"]) == ("constant", 2, 5)
    assert (run["ttft_s:mean"], run["output_tps:value"]) == (0.2, 50)


def test_one_record_per_benchmark(read_as: Read, facts: Facts) -> None:
    batch = read_as("guidellm", report(*(benchmark(STREAMS | {"streams": streams}) for streams in (1, 2, 4))))
    assert [facts(batch, row)["concurrency"] for row in range(3)] == [1, 2, 4]


def test_requests_that_failed(one: Facts) -> None:
    """T10. A request that the end of the window cut off did not fail."""
    totals = {"successful": 10, "errored": 2, "incomplete": 8, "total": 20}
    run = one(report(benchmark(metrics={"request_totals": totals})))
    assert (run["requests"], run["outcome"]) == (20, "partial")
    assert run["success_rate:value"] == pytest.approx(10 / 12)
    assert run["extra"]["incomplete_requests"] == 8
    cut = one(report(benchmark(metrics={"request_totals": totals | {"errored": 0, "total": 18}})))
    assert (cut["success_rate:value"], cut["outcome"]) == (1, "ok")


def test_a_benchmark_that_failed_is_kept_without_values(read_as: Read, facts: Facts) -> None:
    """T9."""
    totals = {"successful": 0, "errored": 10, "incomplete": 0, "total": 10}
    nothing = {name: {"successful": NONE} for name in METRICS} | {"request_totals": totals}
    batch = read_as("guidellm", report(benchmark(), benchmark(metrics=nothing)))
    assert batch.context["outcome"].tolist() == ["ok", "invalid"]
    assert not [name for name in facts(batch, 1) if name.startswith(("ttft", "e2e", "output_tps"))]


def test_benchmarks_of_another_kind_are_set_aside(read_as: Read) -> None:
    batch = read_as("guidellm", report(benchmark(), {"type_": "embeddings_benchmark", "metrics": {}}))
    (bad,) = batch.bad
    assert (batch.rows.tolist(), bad.row, bad.value) == ([1], 2, "embeddings_benchmark")


def test_secrets(read_as: Read) -> None:
    """T22."""
    assert "hush-hush" not in repr(read_as("guidellm", report()))


def test_a_report_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.json"
    path.write_text(json.dumps(report())[:-500])
    with pytest.raises(FileError, match="complete JSON"):
        list(importer("guidellm").read(path, ReadSettings()))


def test_a_folder_into_a_store(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "benchmarks.json").write_text(json.dumps(report(benchmark(), benchmark(STREAMS | {"streams": 4}))))
    (folder / "benchmarks.html").write_text("<html></html>")
    store = Store(tmp_path / "db.duckdb")
    options = ImportOptions(set={"engine": "vllm", "platform": "l4"})
    first, second = import_paths(store, [folder], options), import_paths(store, [folder], options)
    assert (first.files, first.stored, first.quarantined, len(first.skipped)) == (1, 2, 0, 1)
    assert (second.stored, second.duplicates) == (0, 2)
