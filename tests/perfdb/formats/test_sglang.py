"""Results of `sglang.bench_serving`, old schema and new."""

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
INF = float("inf")

OLD = {
    "backend": "sglang", "dataset_name": "random", "request_rate": INF, "max_concurrency": None,
    "total_input_tokens": 1524000, "total_output_tokens": 1545000, "total_output_tokens_retokenized": 1541000,
    "mean_e2e_latency_ms": 200000.0, "median_e2e_latency_ms": 220000.5, "median_ttft_ms": 80000.25,
    "median_itl_ms": 159.5, "output_throughput": 4500.5, "sharegpt_output_len": None, "random_input_len": 1024,
    "random_output_len": 128, "random_range_ratio": 0.0, "duration": 340.5, "completed": 3000,
}  # fmt: skip
SERVER = {
    "model_path": "Qwen/Qwen3-8B", "tokenizer_path": "/models/qwen", "api_key": "hush-hush", "host": "10.0.0.7",
    "tp_size": 4, "dp_size": 2, "pp_size": 1, "mem_fraction_static": 0.85, "chunked_prefill_size": 4096,
    "max_running_requests": 128, "kv_cache_dtype": "fp8_e5m2", "version": "0.5.4", "enable_dp_attention": False,
    "internal_states": [{"avg_spec_accept_length": 2.4}],
}  # fmt: skip
NEW = {
    "tag": "night", "backend": "sglang-oai", "dataset_name": "random", "request_rate": INF, "max_concurrency": 16,
    "sharegpt_output_len": None, "random_input_len": 1000, "random_output_len": 100, "random_range_ratio": 0.5,
    "server_info": SERVER, "duration": 40.0, "completed": 160, "total_input_tokens": 120000,
    "total_input_text_tokens": 120000, "total_output_tokens": 12000, "total_output_tokens_retokenized": 11990,
    "request_throughput": 4.0, "input_throughput": 3000.0, "output_throughput": 300.0, "total_throughput": 3300.0,
    "mean_e2e_latency_ms": 3000.0, "median_e2e_latency_ms": 2900.0, "std_e2e_latency_ms": 500.0,
    "p90_e2e_latency_ms": 3500.0, "p99_e2e_latency_ms": 3900.0, "mean_ttft_ms": 150.0, "median_ttft_ms": 140.0,
    "p99_ttft_ms": 420.0, "mean_tpot_ms": 38.0, "p99_tpot_ms": 44.0, "mean_itl_ms": 38.5, "p95_itl_ms": 60.0,
    "p99_itl_ms": 80.0, "max_itl_ms": 200.0, "concurrency": 12.0, "accept_length": 2.4,
    "max_output_tokens_per_s": 512.0, "max_concurrent_requests": 17,
}  # fmt: skip


def lines(*runs: dict[str, Any]) -> str:
    return "".join(json.dumps(run) + "\n" for run in runs)


@pytest.fixture
def one(read_as: Read, facts: Facts) -> Callable[..., dict[str, Any]]:
    return lambda run, **given: facts(read_as("sglang", lines(run), "run.jsonl", **given))


def test_old_schema(one: Facts) -> None:
    run = one(OLD, model="llama-3.3-70b", platform="h200_sxm", tp="8")
    assert (run["client"], run["engine"], run["devices"]) == ("sglang.bench_serving", "sglang", 8)
    assert (run["ttft_s:p50"], run["itl_s:p50"]) == pytest.approx((80.00025, 0.1595))
    assert (run["e2e_s:mean"], run["e2e_s:p50"]) == pytest.approx((200.0, 220.0005))
    assert (run["output_tps:value"], run["duration_s:value"]) == (4500.5, 340.5)
    assert run["extra"]["total_output_tokens_retokenized"] == 1541000


def test_t13_nominal_and_real_lengths_stand_side_by_side(one: Facts) -> None:
    """A range ratio of 0 draws from 1 to the length that was asked for: half of it on average."""
    run = one(OLD)
    assert (run["lengths"], run["isl"], run["osl"]) == ("U(1,1024)/(1,128)", 512.5, 64.5)
    assert (run["extra"]["random_input_len"], run["extra"]["random_output_len"]) == (1024, 128)
    assert run["input_tokens:mean"] == pytest.approx(1524000 / 3000)
    assert run["output_tokens:mean"] == 515


def test_fixed_lengths(one: Facts) -> None:
    run = one(OLD | {"random_range_ratio": 1.0})
    assert (run["lengths"], run["isl"], run["osl"]) == ("D(1024,128)", 1024, 128)


def test_lengths_that_the_dataset_did_not_use_are_not_nominal(one: Facts) -> None:
    for dataset in ("sharegpt", "generated-shared-prefix"):
        run = one(OLD | {"dataset_name": dataset})
        assert not {"isl", "osl", "lengths"} & set(run)
        assert "random_input_len" not in run["extra"]
    assert one(OLD | {"dataset_name": "sharegpt", "sharegpt_output_len": 256})["osl"] == 256


@pytest.mark.parametrize("rate", [INF, 1e9, "inf"])
def test_t8_everything_at_once_has_all_that_completed_in_flight(one: Facts, rate: Any) -> None:
    run = one(OLD | {"request_rate": rate})
    assert (run["arrival"], run["concurrency"]) == ("closed", 3000)
    assert not {"request_rate", "requests", "success_rate:value"} & set(run)


def test_poisson_arrivals(one: Facts) -> None:
    run = one(OLD | {"request_rate": 4.0})
    assert (run["arrival"], run["request_rate"]) == ("poisson", 4)
    assert "concurrency" not in run


def test_replayed_arrivals_are_no_rate(one: Facts) -> None:
    for changes in ({"request_rate": "trace"}, {"dataset_name": "mooncake", "request_rate": 4.0}):
        run = one(OLD | changes)
        assert not {"arrival", "request_rate", "concurrency"} & set(run)
        assert run["extra"]["arrival"] == "trace"


def test_new_schema(one: Facts) -> None:
    run = one(NEW)
    assert (run["model"], run["engine"], run["engine_version"]) == ("Qwen/Qwen3-8B", "sglang", "0.5.4")
    assert (run["arrival"], run["concurrency"], run["lengths"]) == ("closed", 16, "U(500,1000)/(50,100)")
    assert (run["ttft_s:mean"], run["ttft_s:p50"], run["ttft_s:p99"]) == (0.15, 0.14, 0.42)
    assert (run["tpot_s:mean"], run["tpot_s:p99"]) == (0.038, 0.044)
    assert (run["itl_s:mean"], run["itl_s:p95"], run["itl_s:max"]) == (0.0385, 0.06, 0.2)
    assert (run["e2e_s:mean"], run["e2e_s:p90"], run["e2e_s:std"]) == (3.0, 3.5, 0.5)
    assert (run["request_tps:value"], run["input_tps:value"]) == (4, 3000)
    assert (run["output_tps:value"], run["total_tps:value"]) == (300, 3300)
    assert (run["input_tokens:mean"], run["output_tokens:mean"]) == (750, 75)


def test_measured_concurrency_is_no_cap(one: Facts) -> None:
    run = one(NEW)
    assert (run["concurrency"], run["extra"]["measured_concurrency"]) == (16, 12)
    assert (run["extra"]["accept_length"], run["extra"]["tag"], run["extra"]["backend"]) == (2.4, "night", "sglang-oai")


def test_the_servers_arguments_are_the_config(one: Facts) -> None:
    run = one(NEW)
    assert run["config"]["mem_fraction_static"] == 0.85
    assert run["config"]["chunked_prefill_size"] == 4096
    assert run["config"]["kv_cache_dtype"] == "fp8_e5m2"
    assert not {"api_key", "host", "model_path", "internal_states"} & set(run["config"])
    assert run["devices"] == 8


def test_replicas_of_dp_attention_share_their_devices(one: Facts) -> None:
    assert one(NEW | {"server_info": SERVER | {"enable_dp_attention": True}})["devices"] == 4


def test_a_disaggregated_server_tells_its_decoder_only(one: Facts) -> None:
    run = one(NEW | {"server_info": {"prefill": [SERVER], "decode": [SERVER]}})
    assert (run["model"], run["engine_version"]) == ("Qwen/Qwen3-8B", "0.5.4")
    assert "devices" not in run
    assert run["config"] == {}


@pytest.mark.parametrize(
    ("backend", "engine"),
    [("sglang-native", "sglang"), ("vllm", "vllm"), ("vllm-chat", "vllm"), ("trt", "trtllm"), ("truss", None)],
)
def test_the_backend_tells_what_served(one: Facts, backend: str, engine: str | None) -> None:
    assert one(OLD | {"backend": backend}).get("engine") == engine


def test_failures_are_counted_where_the_requests_are_listed(one: Facts) -> None:
    """T10."""
    run = one(NEW | {"completed": 120, "errors": [""] * 120 + ["refused"] * 40, "ttfts": [0.1] * 160})
    assert (run["requests"], run["success_rate:value"], run["outcome"]) == (160, 0.75, "partial")
    assert "ttfts" not in run["extra"]


def test_t9_a_run_without_one_completed_request_has_no_values(one: Facts) -> None:
    nan = float("nan")
    run = one(NEW | {"completed": 0, "mean_e2e_latency_ms": nan, "mean_ttft_ms": 0.0, "output_throughput": 0.0})
    assert (run["outcome"], run["success_rate:value"]) == ("invalid", 0)
    assert not [name for name in run if name.startswith(("ttft", "e2e", "output_tps"))]


def test_a_line_cut_off_is_set_aside_by_itself(read_as: Read) -> None:
    text = lines(NEW) + json.dumps(NEW)[:300] + "\n\n" + lines(OLD)
    batch = read_as("sglang", text, "run.jsonl")
    assert batch.rows.tolist() == [1, 3]
    (bad,) = batch.bad
    assert (bad.row, bad.column, bad.reason) == (2, "line 2", "the line is not complete JSON")
    assert bad.value.startswith('{"tag": "night"')


def test_the_end_of_a_killed_run(read_as: Read) -> None:
    batch = read_as("sglang", (lines(OLD) + json.dumps(NEW))[:-40], "run.jsonl")
    assert (batch.rows.tolist(), len(batch.bad)) == ([1], 1)


def test_a_file_without_one_whole_line_is_no_result(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(json.dumps(NEW)[:-1])
    with pytest.raises(FileError, match="no JSON object"):
        list(importer("sglang").read(path, ReadSettings()))


def test_secrets_of_the_server_are_not_kept(read_as: Read) -> None:
    """T22: nor those of a line whose end or beginning is lost."""
    whole = json.dumps({"api_key": "hush-hush", **NEW})
    text = lines(NEW | {"api_key": "hush-hush"}) + whole[:90] + "\n" + whole[6:90] + "\n"
    batch = read_as("sglang", text, "run.jsonl")
    assert len(batch.bad) == 2
    assert "hush-hush" not in repr(batch)
    assert "10.0.0.7" not in repr(batch)


def test_a_folder_into_a_store(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "online.jsonl").write_text(lines(*(OLD | {"request_rate": rate} for rate in (1.0, 2.0))))
    (folder / "new.jsonl").write_text(lines(NEW) + json.dumps(NEW)[:200])
    store = Store(tmp_path / "db.duckdb")
    report = import_paths(store, [folder], ImportOptions(set={"platform": "h200_sxm"}))
    assert (report.files, report.rows_read, report.stored, report.quarantined) == (2, 4, 3, 1)
    assert not report.skipped
    table = store.sql('SELECT "row", "column", reason FROM quarantine')
    assert [list(row) for row in table.rows] == [[2, "line 2", "the line is not complete JSON"]]
