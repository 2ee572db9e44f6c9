"""Measured runs of vLLM as LLMServingSim records them: requests and the files beside them."""

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

Facts = Callable[..., dict[str, Any]]

REQUESTS = [
    {"request_id": "bench-0", "input_toks": 100, "output_toks": 11, "arrival_time": 1.7e9, "queued_ts": 50.0,
     "scheduled_ts": 50.1, "first_token_ts": 50.5, "last_token_ts": 52.5},
    {"request_id": "bench-1", "input_toks": 300, "output_toks": 5, "arrival_time": 1.7e9 + 1, "queued_ts": 51.0,
     "scheduled_ts": 51.1, "first_token_ts": 51.1, "last_token_ts": 53.1},
]  # fmt: skip
META = {
    "model": "Qwen/Qwen3-8B", "vllm_version": "0.19.0", "num_requests": 2, "started_at": "2026-01-02T03:04:05Z",
    "engine_kwargs": {"model": "Qwen/Qwen3-8B", "tensor_parallel_size": 2, "data_parallel_size": 2, "seed": 42,
                      "max_num_seqs": 64, "max_model_len": None, "api_key": "hush-hush"},
    "dataset_path": "workloads/sharegpt-qwen3-8b-2-sps2.5.jsonl", "dataset_hash": "abc",
    "kv_cache": {"num_gpu_blocks": 99, "num_kv_tokens": 1584, "block_size": 16, "enable_prefix_caching": True},
    "hardware": {"device_name": "NVIDIA L4"},
}  # fmt: skip
CLUSTER = {"num_nodes": 1, "nodes": [{"instances": [{"hardware": "RTX4090", "npu_mem": {"mem_size": 24}}]}]}
SERIES = "t,prompt_throughput,gen_throughput,running,waiting,kv_cache_pct\n1.0,1,1,2,0,12.5\n2.0,1,1,1,3,40.25\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "requests.jsonl").write_text("".join(json.dumps(request) + "\n" for request in REQUESTS))
    (run / "meta.json").write_text(json.dumps(META))
    (run / "timeseries.csv").write_text(SERIES)
    (run / "config.json").write_text(json.dumps(CLUSTER))
    return run


def read(folder: Path) -> Batch:
    path = folder / "requests.jsonl"
    assert recognise(path.read_bytes(), path) is importer("llmservingsim")
    (batch,) = importer("llmservingsim").read(path, ReadSettings())
    return batch


def test_a_run_with_all_its_files(folder: Path, facts: Facts) -> None:
    batch = read(folder)
    found = facts(batch)
    assert (found["model"], found["platform"], found["devices"]) == ("Qwen/Qwen3-8B", "rtx_4090", 4)
    assert (found["engine"], found["engine_version"], found["client"]) == ("vllm", "0.19.0", "LLMServingSim bench")
    assert (found["arrival"], found["request_rate"], found["requests"]) == ("poisson", 2.5, 2)
    assert found["measured_at"] == "2026-01-02T03:04:05"
    config = {"tensor_parallel_size": 2, "data_parallel_size": 2, "max_num_seqs": 64, "block_size": 16}
    assert found["config"] == config | {"enable_prefix_caching": True, "api_key": "[redacted]"}
    assert found["extra"]["num_gpu_blocks"] == 99
    assert (found["extra"]["peak_kv_cache_pct"], found["extra"]["peak_waiting"]) == (40.25, 3)
    assert found["extra"]["rate_said_by"] == "dataset"
    assert "hush-hush" not in repr(batch.context)


def test_times_count_from_when_the_engine_got_the_request(folder: Path, facts: Facts) -> None:
    """`arrival_time` is another clock."""
    found = facts(read(folder))
    assert found["ttft_s:mean"] == pytest.approx(0.3)
    assert found["e2e_s:mean"] == pytest.approx(2.3)
    assert found["tpot_s:mean"] == pytest.approx((2 / 10 + 2 / 4) / 2)
    assert found["duration_s:value"] == pytest.approx(3.1)
    assert found["output_tps:value"] == pytest.approx(16 / 3.1)
    assert found["total_tps:value"] == pytest.approx(416 / 3.1)
    assert (found["input_tokens:mean"], found["output_tokens:mean"]) == (200, 8)
    assert "itl_s:mean" not in found


def test_requests_alone_say_what_they_can(folder: Path, facts: Facts) -> None:
    for name in ("meta.json", "timeseries.csv", "config.json"):
        (folder / name).unlink()
    batch = read(folder)
    found = facts(batch)
    assert not {"model", "platform", "arrival", "request_rate"} & set(found)
    assert found["requests"] == 2
    assert any("model is not said" in text for text in batch.warnings)


def test_the_hardware_may_stand_one_folder_up_or_in_the_engines_settings(folder: Path, facts: Facts) -> None:
    (folder / "config.json").rename(folder.parent / "config.json")
    assert facts(read(folder))["platform"] == "rtx_4090"
    (folder.parent / "config.json").unlink()
    assert facts(read(folder))["platform"] == "l4"


def test_requests_that_are_missing_make_the_run_partial(folder: Path, facts: Facts) -> None:
    (folder / "meta.json").write_text(json.dumps(META | {"num_requests": 8}))
    found = facts(read(folder))
    assert (found["outcome"], found["requests"], found["success_rate:value"]) == ("partial", 8, 0.25)


def test_a_cache_that_was_never_in_use_was_not_measured(folder: Path, facts: Facts) -> None:
    """T11: zero in every second."""
    (folder / "timeseries.csv").write_text(SERIES.replace("12.5", "0.0").replace("40.25", "0.0"))
    assert "peak_kv_cache_pct" not in facts(read(folder))["extra"]


def test_the_files_beside_are_read_with_the_requests(folder: Path) -> None:
    store = Store(folder / "x.duckdb")
    report = import_paths(store, [folder])
    assert (report.files, report.stored, report.measurements > 30) == (1, 1, True)
    reasons = {Path(file).name: reason for file, reason in report.skipped}
    for name in ("meta.json", "timeseries.csv", "config.json"):
        assert "belongs to the run in requests.jsonl" in reasons[name]


def test_a_change_beside_is_another_run(folder: Path) -> None:
    store = Store(folder.parent / "x.duckdb")
    assert import_paths(store, [folder]).stored == 1
    assert import_paths(store, [folder]).duplicates == 1
    (folder / "meta.json").write_text(json.dumps(META | {"vllm_version": "0.20.0"}))
    assert import_paths(store, [folder]).stored == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"request_id": "x", "queued_ts": 1.0}', r"row 3, 'first_token_ts': None; expected a number"),
        (json.dumps(REQUESTS[0] | {"output_toks": "many"}), r"row 3, 'output_toks': 'many'; expected a number"),
        ('{"request_id": "x", "queued', "line 3.*expected complete JSON"),
        ("[7]", "row 3 is no JSON object"),
    ],
)
def test_a_damaged_line_is_an_error_that_names_it(folder: Path, line: str, message: str) -> None:
    path = folder / "requests.jsonl"
    path.write_text(path.read_text() + line)
    with pytest.raises(FileError, match=message):
        read(folder)


def test_other_files_of_these_names_are_not_taken(tmp_path: Path) -> None:
    for name, text in (("meta.json", '{"a": 1}'), ("config.json", '{"nodes": []}'), ("timeseries.csv", "t,x\n1,2\n")):
        assert importer("llmservingsim").sniff(text.encode(), tmp_path / name) == 0
