"""Results of bentoml's llm-optimizer: a whole tuning, one run per file or line, older spelling."""

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
from perfdb.importers.sniff import importer
from perfdb.store.store import Store

Read, Facts = Callable[..., Batch], Callable[..., dict[str, Any]]

RESULTS = {
    "backend": "vllm", "dataset_name": "random", "request_rate": None, "max_concurrency": 32, "duration": 20.0,
    "completed": 100, "total_input_tokens": 50600, "total_output_tokens": 12800, "request_throughput": 5.0,
    "input_throughput": 2530.0, "output_throughput": 640.0, "mean_e2e_latency_ms": 1100.0, "mean_ttft_ms": 55.0,
    "p99_ttft_ms": 150.0, "mean_tpot_ms": 8.25, "p95_itl_ms": 16.0, "concurrency": 5.5, "accept_length": None,
    "total_output_tokens_retokenized": 12790, "ttfts": [0.1, 0.2],
}  # fmt: skip
RUN = {
    "config": {
        "client_args": {
            "dataset_name": "random", "num_prompts": 100, "random_input_len": 1024, "random_output_len": 128,
            "max_concurrency": 32,
        },
        "server_args": {"tp_size": 2, "chunked-prefill-size": 4096, "enable_mixed_chunk": True},
        "server_cmd_args": ["--tp-size=2"],
    },
    "results": RESULTS,
    "cmd": "python -m sglang.launch_server --model-path Qwen/Qwen3-8B --host 127.0.0.1 --api-key hush-hush",
    "constraints": [{"op": "<", "value": 300.0, "name": "mean_ttft_ms"}],
    "metadata": {
        "gpu_type": "H100", "gpu_count": 8, "model_tag": "Qwen/Qwen3-8B", "input_tokens": 1024, "output_tokens": 128,
    },
}  # fmt: skip
OLD = {
    "config": {
        "client": {"dataset_name": "sharegpt", "sharegpt_output_len": 256, "request_rate": 4.0},
        "server": {"tensor_parallel_size": 4},
        "server_args": ["--tensor-parallel-size=4"],
    },
    "results": {**RESULTS, "request_rate": 4.0, "max_concurrency": None},
    "cmd": "vllm serve meta-llama/Llama-3.1-8B --port 8000 --tensor-parallel-size 4",
}


def tuning(*runs: Any) -> dict[str, Any]:
    best = {"best_output_throughput": {"throughput": 640.0, "config": {}, "cmd": ""}}
    about = {"gpu_type": "H200", "gpu_count": 1, "model_tag": "Qwen/Qwen3-4B", "input_len": 2048, "output_len": -1}
    return {"metadata": about, "best_configurations": best, "test_results": list(runs)}


def test_the_metrics_of_a_run(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("llm_optimizer", RUN))
    assert (found["output_tps:value"], found["input_tps:value"], found["request_tps:value"]) == (640, 2530, 5)
    assert (found["ttft_s:mean"], found["ttft_s:p99"], found["tpot_s:mean"]) == pytest.approx((0.055, 0.15, 0.00825))
    assert (found["e2e_s:mean"], found["itl_s:p95"]) == pytest.approx((1.1, 0.016))
    assert (found["input_tokens:mean"], found["output_tokens:mean"]) == (506, 128)


def test_what_was_run(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("llm_optimizer", RUN))
    assert (found["engine"], found["model"], found["client"]) == ("sglang", "Qwen/Qwen3-8B", "llm-optimizer")
    assert (found["concurrency"], found["arrival"], found["requests"]) == (32, "closed", 100)
    assert (found["isl"], found["osl"]) == (1024, 128)
    assert found["config"] == {"tp_size": 2, "chunked_prefill_size": 4096, "enable_mixed_chunk": True}
    # eight are in the machine, two serve
    assert (found["platform"], found["devices"], found["extra"]["gpu_count"]) == ("h100_sxm", 2, 8)
    assert found["extra"]["measured_concurrency"] == 5.5


def test_the_key_in_the_command_is_not_kept(read_as: Read, facts: Facts) -> None:
    """T22."""
    assert facts(read_as("llm_optimizer", RUN))["extra"]["cmd"].endswith("--api-key [redacted]")


def test_the_older_spelling_and_a_rate(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("llm_optimizer", OLD))
    assert (found["engine"], found["model"]) == ("vllm", "meta-llama/Llama-3.1-8B")
    assert (found["arrival"], found["request_rate"]) == ("poisson", 4)
    assert (found["config"], found["devices"], found["osl"]) == ({"tensor_parallel_size": 4}, 4, 256)
    assert not {"platform", "isl", "concurrency"} & set(found)


def test_a_whole_tuning_is_its_runs_and_its_best_are_not_counted_twice(read_as: Read, facts: Facts) -> None:
    bare = {name: value for name, value in RUN.items() if name != "metadata"}
    batch = read_as("llm_optimizer", tuning(RUN, bare, {"config": {}, "cmd": ""}))
    assert batch.rows.tolist() == [1, 2]
    assert facts(batch, 0)["model"] == "Qwen/Qwen3-8B"
    # what a run does not say stands over all of them; -1 says nothing
    assert (facts(batch, 1)["model"], facts(batch, 1)["platform"]) == ("Qwen/Qwen3-4B", "h200_sxm")
    assert (facts(batch, 1)["isl"], facts(batch, 1)["osl"]) == (1024, 128)
    assert [row.reason for row in batch.bad] == ["no results: not a run of llm-optimizer"]


def test_lengths_of_the_data_set_are_not_known(read_as: Read, facts: Facts) -> None:
    shared = {**RUN, "config": {**RUN["config"], "client_args": {"dataset_name": "sharegpt", "num_prompts": 100}}}
    about = {"model_tag": "Qwen/Qwen3-8B", "input_tokens": -1, "output_tokens": 0}
    batch = read_as("llm_optimizer", {**shared, "metadata": about})
    assert not batch.bad
    assert not {"isl", "osl"} & set(facts(batch))


def test_lines_of_runs(read_as: Read) -> None:
    assert read_as("llm_optimizer", f"{json.dumps(RUN)}\n{json.dumps(OLD)}\n", file="all.jsonl").rows.tolist() == [1, 2]


def test_a_run_of_which_nothing_completed_holds_no_values(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("llm_optimizer", {**RUN, "results": {**RESULTS, "completed": 0}}))
    assert (found["outcome"], found["success_rate:value"]) == ("invalid", 0)
    assert "ttft_s:mean" not in found


def test_an_unknown_gpu_is_no_platform(read_as: Read, facts: Facts) -> None:
    assert "platform" not in facts(read_as("llm_optimizer", {**RUN, "metadata": {"gpu_type": "unknown"}}))


def test_a_cut_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text(json.dumps(tuning(RUN))[:-2])
    with pytest.raises(FileError, match="expected complete JSON"):
        list(importer("llm_optimizer").read(path, ReadSettings()))


def test_it_is_stored(tmp_path: Path) -> None:
    path, store = tmp_path / "all.json", Store(tmp_path / "db.duckdb")
    path.write_text(json.dumps(tuning(RUN, OLD)))
    assert import_paths(store, [path]).stored == 2
    assert "hush-hush" not in repr(store.sql("SELECT * FROM operating_points").rows)
