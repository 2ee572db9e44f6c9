"""The `inferencemax` importer: the aggregated records of InferenceMAX (InferenceX), one object per point, or lists.

Its latencies are in seconds without saying so, its throughputs per GPU; "interactivity" is tokens/s of one user. The
raw results of its client are those of `vllm bench serve`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfdb.batch import BadRow
from perfdb.importers.documents import Record, has_keys, json_format
from perfdb.importers.loadgen import figure
from perfdb.importers.shape import aside, part, renamed

_KEYS = (b'"framework"', b'"conc"', b'"precision"')
_MEASURES = (b'tput_per_gpu"', b'_tput_tps"', b'_intvty"')
_ENGINES = {"trt": "trtllm", "trt-llm": "trtllm"}
_CONTEXT = {
    "hw": "platform", "hardware": "platform", "conc": "concurrency", "isl": "isl", "osl": "osl",
    "date": "measured_at", "num_requests_total": "requests", "num_requests_successful": "completed",
    "precision": "config.weight_dtype", "dp_attention": "config.dp_attention", "ep": "config.ep",
    "spec_decoding": "config.spec_decoding", "spec_method": "config.spec_decoding", "mtp": "config.mtp",
}  # fmt: skip
_METRICS = {
    "tput_per_gpu": "total_tps_per_gpu", "output_tput_per_gpu": "output_tps_per_gpu",
    "input_tput_per_gpu": "input_tps_per_gpu", "total_tput_tps": "total_tps", "output_tput_tps": "output_tps",
    "input_tput_tps": "input_tps", "duration_seconds": "duration_s", "avg_total_gpu_power_w": "power_w:mean",
    "mean_intvty": "output_tps_per_user:mean", "median_intvty": "output_tps_per_user:p50",
    "mean_input_tokens": "input_tokens:mean", "mean_output_tokens_actual": "output_tokens:mean",
}  # fmt: skip
_TIME = re.compile(r"(mean|median|std|p50|p75|p90|p95|p99)_(ttft|tpot|itl|e2el)")
_ROLES = {
    "output_tput_per_gpu": ("output_tps", "num_decode_gpu"),
    "input_tput_per_gpu": ("input_tps", "num_prefill_gpu"),
}


def sniff(head: bytes, path: Path) -> float:
    """0.9 for JSON with the labels of an InferenceMAX point beside one of its metrics, else 0."""
    return 0.9 if has_keys(head, _KEYS) and any(key in head for key in _MEASURES) else 0.0


def records(document: Mapping[str, Any], path: Path) -> Iterator[Record | BadRow]:
    """One record per point. Its p90 and p99 of interactivity are of the slowest users, so they stay in extra."""
    point = {**document, **part(document, "metrics")}
    point.pop("metrics", None)
    if "framework" not in point or "conc" not in point:
        yield BadRow(0, "framework", str(document)[:200], "no framework and concurrency: not a point of InferenceMAX")
        return
    times = {name: f"{name}_s" for name in point if _TIME.fullmatch(name)}
    framework = str(point["framework"])
    roles = _by_role(point)
    names = {own: name for own, name in {**_CONTEXT, **_METRICS, **times}.items() if own not in roles}
    yield {
        "client": "inferencemax",
        "engine": _ENGINES.get(framework, framework),
        "model": point.get("model") or point.get("infmax_model_prefix"),
        **renamed(point, names),
        **_devices(point),
        **{name: value for own in roles for name, value in roles[own].items()},
        **aside(point, {*names, "framework", "model", "tp", "num_gpus"}),
    }


def _by_role(point: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Where prefill and decode have devices of their own, each throughput was divided by those of its role."""
    if not point.get("is_multinode") or not figure(point.get("num_decode_gpu")):
        return {}
    found: dict[str, dict[str, float]] = {}
    for own, (name, devices) in _ROLES.items():
        each, count = figure(point.get(own)), figure(point.get(devices))
        found[own] = {name: each * count} if each is not None and count is not None else {}
    return found


def _devices(point: Mapping[str, Any]) -> dict[str, Any]:
    """All devices of the deployment; on one node tensor parallelism is over all of them."""
    shared = {"config.tp": point.get("tp", None if point.get("disagg") else point.get("prefill_tp"))}
    if point.get("is_multinode"):
        counts = [figure(point.get(name)) for name in ("num_prefill_gpu", "num_decode_gpu")]
        return {"devices": sum(count for count in counts if count is not None) or None}
    return {**shared, "devices": point.get("num_gpus", shared["config.tp"])}


IMPORTER = json_format("inferencemax", 1, "aggregated JSON of InferenceMAX (InferenceX)", sniff, records)
