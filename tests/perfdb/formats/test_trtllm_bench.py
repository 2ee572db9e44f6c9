"""Reports of `trtllm-bench --report_json`."""

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


def stats(median: float, mean: float) -> dict[str, float]:
    return {
        "p50": median, "p90": 2 * median, "p95": 3 * median, "p99": 4 * median,
        "minimum": median / 2, "maximum": 5 * median, "average": mean,
    }  # fmt: skip


def report(**sections: Any) -> dict[str, Any]:
    return {
        "engine": {
            "model": "meta-llama/Llama-3.1-8B", "model_path": "/models/llama", "engine_dir": None, "version": "1.0.0",
            "backend": "TRT", "dtype": "bfloat16", "kv_cache_dtype": "FP8", "quantization": "FP8",
            "max_input_length": 2048, "max_sequence_length": 4096,
        },
        "machine": {"name": "NVIDIA H100 80GB HBM3", "memory.total": 79.1},
        "world_info": {
            "tp_size": 2, "pp_size": 1, "ep_size": 2, "world_size": 2, "max_batch_size": 256, "max_num_tokens": 8192,
            "scheduling_policy": "MAX_UTILIZATION", "kv_cache_percentage": 0.9, "issue_rate": 4.5e12,
        },
        "request_info": {
            "num_requests": 1000, "avg_num_concurrent_requests": 63.5, "avg_input_length": 1020.5,
            "avg_output_length": 127.25,
        },
        "performance": {
            "total_latency_ms": 20000.0, "avg_request_latency_ms": 1100.0, "request_throughput_req_s": 50.0,
            "system_output_throughput_tok_s": 6400.5, "system_total_throughput_tok_s": 57600.25,
            "output_throughput_per_user_tok_s": 117.0, "output_throughput_per_gpu_tok_s": 3200.25,
            "request_latency_percentiles_ms": stats(1000.0, 1100.0),
        },
        "streaming_metrics": {
            "token_output_speed_tok_s": 137.5, "avg_ttft_ms": 55.0, "avg_tpot_ms": 8.0,
            "tpot_percentiles": stats(8.0, 8.0), "ttft_percentiles": stats(50.0, 55.0),
            "gen_tps_percentiles": stats(125.0, 137.5),
        },
        "dataset": {"isl_stats": stats(1000.0, 1024.0), "osl_stats": stats(120.0, 128.0), "avg_isl": 1024},
        **sections,
    }  # fmt: skip


def test_rates_and_spreads_with_their_statistics(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("trtllm_bench", report()))
    assert (found["output_tps:value"], found["total_tps:value"], found["request_tps:value"]) == (6400.5, 57600.25, 50)
    assert found["output_tps_per_gpu:value"] == 3200.25
    assert [found[f"ttft_s:{name}"] for name in ("mean", "p50", "p99", "min", "max")] == pytest.approx(
        [0.055, 0.05, 0.2, 0.025, 0.25]
    )
    assert (found["tpot_s:mean"], found["e2e_s:mean"], found["e2e_s:p95"]) == pytest.approx((0.008, 1.1, 3.0))
    assert (found["duration_s:value"], found["input_tokens:mean"], found["output_tokens:mean"]) == (20, 1020.5, 127.25)


def test_what_one_user_sees_is_the_speed_of_generation_alone(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("trtllm_bench", report()))
    assert (found["output_tps_per_user:mean"], found["output_tps_per_user:p50"]) == (137.5, 125)
    assert found["extra"]["output_throughput_per_user"] == 117


def test_what_was_run(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("trtllm_bench", report()))
    assert (found["engine"], found["engine_version"], found["client"]) == ("trtllm", "1.0.0", "trtllm-bench")
    assert (found["model"], found["platform"], found["devices"]) == ("meta-llama/Llama-3.1-8B", "h100_sxm", 2)
    assert (found["requests"], found["isl"], found["osl"]) == (1000, 1024, 128)
    assert found["config"] == {
        "backend": "TRT", "dtype": "bfloat16", "kv_cache_dtype": "FP8", "quantization": "FP8", "max_input_len": 2048,
        "max_seq_len": 4096, "tp_size": 2, "pp_size": 1, "ep_size": 2, "max_batch_size": 256, "max_num_tokens": 8192,
        "scheduler_policy": "MAX_UTILIZATION", "kv_cache_free_gpu_memory_fraction": 0.9,
    }  # fmt: skip


def test_a_measured_concurrency_is_no_cap(read_as: Read, facts: Facts) -> None:
    found = facts(read_as("trtllm_bench", report()))
    assert not {"concurrency", "arrival", "lengths"} & set(found)
    assert found["extra"]["avg_num_concurrent_requests"] == 63.5


def test_lengths_are_fixed_where_the_shortest_is_the_longest(read_as: Read, facts: Facts) -> None:
    fixed = {
        "isl_stats": {"minimum": 1024.0, "maximum": 1024.0, "average": 1024.0},
        "osl_stats": {"minimum": 128.0, "maximum": 128.0, "average": 128.0},
    }
    assert facts(read_as("trtllm_bench", report(dataset=fixed)))["lengths"] == "D(1024,128)"


def test_spreads_in_nanoseconds_are_told_by_their_mean(read_as: Read, facts: Facts) -> None:
    """T6: older versions wrote ns under the names under which newer ones write ms."""
    old = report()["streaming_metrics"] | {"ttft_percentiles": stats(50.0e6, 55.0e6)}
    assert facts(read_as("trtllm_bench", report(streaming_metrics=old)))["ttft_s:p50"] == pytest.approx(0.05)


def test_spreads_in_no_known_unit_stay_in_extra(read_as: Read, facts: Facts) -> None:
    odd = report()["streaming_metrics"] | {"ttft_percentiles": stats(50.0, 70.0), "gen_tps_percentiles": {"p50": 3.0}}
    found = facts(read_as("trtllm_bench", report(streaming_metrics=odd)))
    assert found["ttft_s:mean"] == pytest.approx(0.055)
    assert not {"ttft_s:p50", "output_tps_per_user:p50"} & set(found)
    assert found["extra"]["ttft_percentiles.p50"] == 50
    assert found["extra"]["output_tps_per_user_percentiles.p50"] == 3


@pytest.mark.parametrize(("told", "fraction"), [(90.0, 0.9), (0.85, 0.85)])
def test_the_share_of_memory_was_percent_in_older_versions(
    read_as: Read, facts: Facts, told: float, fraction: float
) -> None:
    world = report()["world_info"] | {"kv_cache_percentage": told}
    config = facts(read_as("trtllm_bench", report(world_info=world)))["config"]
    assert config["kv_cache_free_gpu_memory_fraction"] == pytest.approx(fraction)


def test_without_streaming_there_is_no_first_token(read_as: Read, facts: Facts) -> None:
    run = report()
    del run["streaming_metrics"], run["machine"]
    found = facts(read_as("trtllm_bench", run))
    assert found["output_tps:value"] == 6400.5
    assert not [name for name in found if name.startswith(("ttft", "tpot", "output_tps_per_user"))]
    assert "platform" not in found


def test_a_report_that_contradicts_itself_is_set_aside(read_as: Read) -> None:
    slow = report()["streaming_metrics"] | {"avg_ttft_ms": 5000.0, "ttft_percentiles": {}}
    (row,) = read_as("trtllm_bench", report(streaming_metrics=slow)).bad
    assert row.reason == "TTFT above end-to-end latency"


def test_sections_of_another_shape_lose_nothing(read_as: Read) -> None:
    batch = read_as("trtllm_bench", [report(performance=None), report(engine=[1], dataset="x", request_info=7)])
    assert (batch.rows.tolist(), [row.row for row in batch.bad]) == ([2], [1])


def test_a_cut_report_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report())[:-3])
    with pytest.raises(FileError, match="expected complete JSON"):
        list(importer("trtllm_bench").read(path, ReadSettings()))


def test_it_is_stored(tmp_path: Path) -> None:
    path, store = tmp_path / "report.json", Store(tmp_path / "db.duckdb")
    path.write_text(json.dumps(report()))
    assert import_paths(store, [path]).stored == 1
    query = "SELECT value FROM measurements WHERE metric = 'tpot_s' AND statistic = 'p99'"
    assert store.sql(query).rows[0][0] == pytest.approx(0.032)
