"""The `trtllm_bench` importer: what `trtllm-bench throughput` and `latency` write with --report_json, a run a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfdb.batch import BadRow
from perfdb.importers.documents import Record, has_keys, json_format
from perfdb.importers.loadgen import figure, spread
from perfdb.importers.shape import aside, known_device, part, renamed

_KEYS = (b'"world_info"', b'"request_info"', b'"performance"')
_ENGINE = {
    "model": "model", "version": "engine_version", "backend": "config.backend", "dtype": "config.dtype",
    "kv_cache_dtype": "config.kv_cache_dtype", "quantization": "config.quantization",
    "max_input_length": "config.max_input_len", "max_sequence_length": "config.max_seq_len",
}  # fmt: skip
_WORLD = {
    "world_size": "devices", "tp_size": "config.tp_size", "pp_size": "config.pp_size", "ep_size": "config.ep_size",
    "max_batch_size": "config.max_batch_size", "max_num_tokens": "config.max_num_tokens",
    "scheduling_policy": "config.scheduler_policy",
}  # fmt: skip
_REQUESTS = {
    "num_requests": "requests",
    "avg_input_length": "input_tokens:mean",
    "avg_output_length": "output_tokens:mean",
}
_RATES = {
    "total_latency_ms": "duration_ms",
    "request_throughput_req_s": "request_tps",
    "system_output_throughput_tok_s": "output_tps",
    "system_total_throughput_tok_s": "total_tps",
    "output_throughput_per_gpu_tok_s": "output_tps_per_gpu",
}
_SPREADS = {"average": "mean", "minimum": "min", "maximum": "max"}
_FRACTION = "kv_cache_percentage"


def sniff(head: bytes, path: Path) -> float:
    """0.9 for JSON with the sections that only a trtllm-bench report has together, else 0."""
    return 0.9 if has_keys(head, _KEYS) else 0.0


def records(document: Mapping[str, Any], path: Path) -> Iterator[Record | BadRow]:
    """One record per report. Its number of concurrent requests is a measured mean, not the cap, which is not told."""
    engine, world, performance = (part(document, name) for name in ("engine", "world_info", "performance"))
    if not performance:
        yield BadRow(0, "performance", "", "no performance section: not a complete report of trtllm-bench")
        return
    requests = part(document, "request_info")
    yield {
        "client": "trtllm-bench",
        "engine": "trtllm",
        "platform": known_device(part(document, "machine").get("name")),
        **renamed(engine, _ENGINE),
        **renamed(world, _WORLD),
        "config.kv_cache_free_gpu_memory_fraction": _fraction(world.get(_FRACTION)),
        **renamed(requests, _REQUESTS),
        **_asked(part(document, "dataset")),
        **_measured(performance, part(document, "streaming_metrics")),
        **aside(engine, _ENGINE, "engine"),
        **aside(world, {*_WORLD, _FRACTION}, "world_info"),
        **aside(requests, _REQUESTS),
        **aside(part(document, "machine"), under="machine"),
        **aside(part(document, "energy"), under="energy"),
        **aside(part(document, "decoding_stats"), under="decoding"),
    }


def _fraction(told: Any) -> float | None:
    """Older versions wrote percent, newer ones the fraction, under one name."""
    value = figure(told)
    return value / 100.0 if value is not None and value > 1.0 else value


def _asked(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Lengths of the data set, so the nominal ones: fixed where the shortest is the longest."""
    stats = {"isl": part(dataset, "isl_stats"), "osl": part(dataset, "osl_stats")}
    means = {name: figure(each.get("average")) or figure(dataset.get(f"avg_{name}")) for name, each in stats.items()}
    is_fixed = all(
        each.get("minimum") is not None and each["minimum"] == each.get("maximum") for each in stats.values()
    )
    lengths = f"D({means['isl']:.12g},{means['osl']:.12g})" if is_fixed and means["isl"] and means["osl"] else None
    return {**means, "lengths": lengths, "extra.dataset_path": dataset.get("dataset_path")}


def _measured(performance: Mapping[str, Any], streaming: Mapping[str, Any]) -> dict[str, Any]:
    """Rates, and spreads that are checked against the mean whose name says its unit."""
    e2e, ttft, tpot = (
        performance.get("avg_request_latency_ms"),
        streaming.get("avg_ttft_ms"),
        streaming.get("avg_tpot_ms"),
    )
    speed = streaming.get("token_output_speed_tok_s")
    return {
        **renamed(performance, _RATES),
        # over the whole request, so not 1 / tpot
        "extra.output_throughput_per_user": performance.get("output_throughput_per_user_tok_s"),
        **_times("e2e", e2e, part(performance, "request_latency_percentiles_ms")),
        **_times("ttft", ttft, part(streaming, "ttft_percentiles")),
        **_times("tpot", tpot, part(streaming, "tpot_percentiles")),
        **_in_unit("output_tps_per_user", {"": 1.0}, speed, part(streaming, "gen_tps_percentiles")),
        "mean output_tps_per_user": speed,
    }


def _times(name: str, mean_ms: Any, stats: Mapping[str, Any]) -> dict[str, Any]:
    """Older versions wrote nanoseconds where newer ones write milliseconds."""
    return {**_in_unit(name, {"ms": 1.0, "ns": 1e6}, mean_ms, stats), f"mean {name} (ms)": mean_ms}


def _in_unit(name: str, units: Mapping[str, float], mean: Any, stats: Mapping[str, Any]) -> dict[str, Any]:
    """The spread in that unit in which its average is the mean; kept in extra if it is in none."""
    told, average = figure(mean), figure(stats.get("average"))
    if told is not None and average is not None:
        for unit, scale in units.items():
            if math.isclose(average, told * scale, rel_tol=1e-3):
                return spread(
                    name, unit, {_SPREADS.get(key, key): value for key, value in stats.items() if key != "average"}
                )
    return aside(stats, under=f"{name}_percentiles")


IMPORTER = json_format("trtllm_bench", 1, "JSON of `trtllm-bench --report_json`", sniff, records)
