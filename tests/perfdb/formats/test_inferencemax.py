"""Aggregated records of InferenceMAX (InferenceX)."""

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

POINT = {
    "hw": "h200-nv", "conc": 64, "image": "vllm/vllm-openai:v0.11.0", "model": "deepseek-ai/DeepSeek-R1",
    "infmax_model_prefix": "dsr1", "framework": "vllm", "precision": "fp8", "spec_decoding": "mtp", "disagg": False,
    "isl": 1024, "osl": 8192, "is_multinode": False, "tp": 8, "ep": 2, "dp_attention": "true", "tput_per_gpu": 500.5,
    "output_tput_per_gpu": 450.25, "input_tput_per_gpu": 50.25, "mean_ttft": 0.25, "median_ttft": 0.2,
    "p99_ttft": 0.9, "std_ttft": 0.05, "mean_tpot": 0.03, "mean_intvty": 33.25, "median_tpot": 0.025,
    "median_intvty": 40.0, "p99_tpot": 0.05, "p99_intvty": 20.0, "std_intvty": 5270.5, "mean_itl": 0.031,
    "mean_e2el": 245.5, "p99.9_ttft": 1.5,
}  # fmt: skip
DISAGGREGATED = {name: value for name, value in POINT.items() if name not in {"tp", "ep", "dp_attention"}} | {
    "framework": "trt", "disagg": True, "is_multinode": True, "prefill_tp": 4, "prefill_num_workers": 2,
    "decode_tp": 8, "decode_num_workers": 1, "num_prefill_gpu": 8, "num_decode_gpu": 16,
}  # fmt: skip


def test_times_without_a_unit_are_seconds(read_as: Read, facts: Facts) -> None:
    """T6."""
    batch = read_as("inferencemax", POINT)
    found = facts(batch)
    assert [found[f"ttft_s:{name}"] for name in ("mean", "p50", "p99", "std")] == [0.25, 0.2, 0.9, 0.05]
    assert (found["tpot_s:mean"], found["tpot_s:p50"], found["itl_s:mean"]) == (0.03, 0.025, 0.031)
    assert found["e2e_s:mean"] == 245.5
    assert not [text for text in batch.warnings if "unit" in text]


def test_throughputs_per_gpu_stay_so(read_as: Read, facts: Facts) -> None:
    """T3."""
    found = facts(read_as("inferencemax", POINT))
    assert found["total_tps_per_gpu:value"] == 500.5
    assert (found["output_tps_per_gpu:value"], found["input_tps_per_gpu:value"]) == (450.25, 50.25)
    assert not {"total_tps:value", "output_tps:value", "input_tps:value"} & set(found)


def test_interactivity_is_what_one_user_sees_and_its_tails_are_not_percentiles_of_it(
    read_as: Read, facts: Facts
) -> None:
    found = facts(read_as("inferencemax", POINT))
    assert (found["output_tps_per_user:mean"], found["output_tps_per_user:p50"]) == (33.25, 40)
    assert not {"output_tps_per_user:p99", "output_tps_per_user:std"} & set(found)
    assert (found["extra"]["p99_intvty"], found["extra"]["p99.9_ttft"]) == (20, 1.5)


def test_what_was_run(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("inferencemax", POINT))
    assert (found["model"], found["platform"], found["devices"]) == ("deepseek-ai/DeepSeek-R1", "h200_sxm", 8)
    assert (found["engine"], found["client"], found["arrival"]) == ("vllm", "inferencemax", "closed")
    assert (found["concurrency"], found["isl"], found["osl"]) == (64, 1024, 8192)
    assert found["config"] == {
        "tensor_parallel_size": 8, "ep": 2, "dp_attention": True, "quantization": "fp8", "spec_decoding": "mtp"
    }  # fmt: skip


def test_devices_of_two_roles(read_as: Read, facts: Facts) -> None:
    """Prefill and decode throughput were divided by the devices of their role alone."""
    found = facts(read_as("inferencemax", DISAGGREGATED))
    assert (found["devices"], found["engine"]) == (24, "trtllm")
    assert found["total_tps_per_gpu:value"] == 500.5
    assert (found["output_tps:value"], found["input_tps:value"]) == (450.25 * 16, 50.25 * 8)
    assert not {"output_tps_per_gpu:value", "input_tps_per_gpu:value"} & set(found)
    assert found["extra"]["output_tput_per_gpu"] == 450.25


def test_several_nodes_without_roles_are_one_deployment(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("inferencemax", DISAGGREGATED | {"num_decode_gpu": 0, "num_prefill_gpu": 16}))
    assert (found["devices"], found["output_tps_per_gpu:value"]) == (16, 450.25)


def test_the_rows_of_its_service(read_as: Read, facts: Facts) -> None:
    """The same points with their metrics in an object of their own and other names for some labels."""
    labels = ("conc", "framework", "precision", "isl", "osl", "disagg", "is_multinode", "image")
    metrics = {name: value for name, value in POINT.items() if name.split("_")[0] in {"mean", "median", "output"}}
    row = {name: POINT[name] for name in labels} | {
        "hardware": "mi355x", "model": "dsr1", "spec_method": "none", "date": "2026-02-27", "prefill_tp": 4,
        "num_prefill_gpu": 4, "num_decode_gpu": 4, "metrics": metrics,
    }  # fmt: skip
    found = facts(read_as("inferencemax", [row]))
    assert (found["platform"], found["devices"], found["measured_at"]) == ("mi355x", 4, "2026-02-27T00:00:00")
    assert (found["ttft_s:mean"], found["output_tps_per_gpu:value"]) == (0.25, 450.25)


def test_totals_and_counts_of_its_agentic_runs(read_as: Read, facts: Facts) -> None:
    run = POINT | {
        "output_tput_tps": 3602.0, "total_tput_tps": 4004.0, "duration_seconds": 600.0, "num_requests_total": 40,
        "num_requests_successful": 39, "mean_output_tokens_actual": 800.5, "avg_total_gpu_power_w": 4800.0,
        "avg_power_w": 600.0,
    }  # fmt: skip
    found = facts(read_as("inferencemax", run))
    assert (found["output_tps:value"], found["total_tps:value"], found["duration_s:value"]) == (3602, 4004, 600)
    assert (found["requests"], found["success_rate:value"], found["output_tokens:mean"]) == (40, 0.975, 800.5)
    assert (found["power_w:mean"], found["extra"]["avg_power_w"]) == (4800, 600)


def test_what_is_no_point_is_set_aside(read_as: Read) -> None:
    batch = read_as("inferencemax", [POINT, {"hw": "h200"}, POINT | {"median_ttft": -1.0}])
    assert (batch.rows.tolist(), [row.row for row in batch.bad]) == ([1], [2, 3])


def test_raw_results_of_its_client_are_left_to_vllm(tmp_path: Path) -> None:
    raw = {
        "date": "20260213-135636", "model_id": "zai-org/GLM-5-FP8", "num_prompts": 160, "request_rate": "inf",
        "max_concurrency": 16, "duration": 214.5, "completed": 160, "output_throughput": 95.5, "median_ttft": 3.25,
        "median_e2el": 21.5, "median_tpot": 0.14, "total_input_tokens": 1638400, "total_output_tokens": 20480,
        "request_throughput": 0.745,
    }  # fmt: skip
    path = tmp_path / "glm5_fp8_vllm_tp8_isl10240_osl128_conc16.json"
    path.write_text(json.dumps(raw))
    assert recognise(path.read_bytes(), path) is importer("vllm")


def test_a_cut_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "agg.json"
    path.write_text(json.dumps(POINT)[:-2])
    with pytest.raises(FileError, match="expected complete JSON"):
        list(importer("inferencemax").read(path, ReadSettings()))


def test_it_is_stored(tmp_path: Path) -> None:
    path, store = tmp_path / "agg.json", Store(tmp_path / "db.duckdb")
    path.write_text(json.dumps([POINT, DISAGGREGATED]))
    assert import_paths(store, [path]).stored == 2
    query = "SELECT value FROM measurements WHERE metric = 'ttft_s' AND statistic = 'p50'"
    assert [row[0] for row in store.sql(query).rows] == [0.2, 0.2]
