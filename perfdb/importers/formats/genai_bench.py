"""The `genai_bench` importer: a folder of genai-bench, one JSON per scenario and load, its settings beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfdb.batch import BadRow
from perfdb.errors import FileError
from perfdb.importers.documents import Record, at, documents, has_keys, json_format
from perfdb.importers.loadgen import figure, rate, spread
from perfdb.importers.table.lengths import parse_lengths

SETTINGS = "experiment_metadata.json"
_RUN = (b'"aggregated_metrics"', b'"num_concurrency"')
_TIMES = {"ttft": "ttft", "tpot": "tpot", "e2e_latency": "e2e"}
# per request: 1 / tpot, so what one user sees
_COUNTS = {
    "output_inference_speed": "output_tps_per_user",
    "num_input_tokens": "input_tokens",
    "num_output_tokens": "output_tokens",
}
_RATES = {
    "output_tps": ("mean_output_throughput_tokens_per_s", "num_output_tokens"),
    "input_tps": ("mean_input_throughput_tokens_per_s", "num_input_tokens"),
    "total_tps": ("mean_total_tokens_throughput_tokens_per_s", "total_tokens"),
}
_PREFIX = re.compile(r"P\((\d{1,9}),(\d{1,9})\)/(\d{1,9})")
_STARTED = re.compile(r"(\d{8})_(\d{6})/?$")


def sniff(head: bytes, path: Path) -> float:
    """0.9 for a run of genai-bench and for the settings beside the runs, else 0."""
    if has_keys(head, _RUN):
        return 0.9
    return 0.9 if has_keys(head, (b'"experiment_folder_name"', b'"traffic_scenario"')) else 0.0


def companions(path: Path) -> tuple[Path, ...]:
    """The settings of a run, where they lie beside it."""
    beside = path.with_name(SETTINGS)
    return (beside,) if beside.is_file() and path.name != SETTINGS else ()


def records(document: Mapping[str, Any], path: Path) -> Iterator[Record | BadRow]:
    """One record per run file; its list of requests is left out.

    Raises:
        FileError: it is the file of settings, or the settings beside it cannot be read.
    """
    run = document.get("aggregated_metrics")
    if not isinstance(run, Mapping):
        if "traffic_scenario" in document:
            raise FileError(f"{path}: settings of the runs beside it; they are read with those")
        yield BadRow(0, "aggregated_metrics", str(run)[:200], "no aggregated metrics: not a run of genai-bench")
        return
    settings: Any = next((found for beside in companions(path) for found in documents(beside)), {})
    unit = at(document, "_time_unit") or "s"
    yield {
        **_server(settings),
        **_load(run, settings),
        **_lengths(at(run, "scenario")),
        "requests": at(run, "num_requests"),
        "completed": at(run, "num_completed_requests"),
        "failed": at(run, "num_error_requests"),
        **_rates(run),
        **{name: value for key, column in _TIMES.items() for name, value in _spread(run, key, column, unit)},
        **{name: value for key, column in _COUNTS.items() for name, value in _spread(run, key, column, "")},
    }


def _spread(run: Mapping[str, Any], key: str, column: str, unit: str) -> Iterator[tuple[str, Any]]:
    yield from spread(column, unit, at(run, f"stats.{key}")).items()


def _server(settings: Any) -> dict[str, Any]:
    started = _STARTED.search(str(at(settings, "experiment_folder_name")))
    version = at(settings, "benchmark_version")
    return {
        "client": f"genai-bench {version}" if version else "genai-bench",
        "model": at(settings, "model", "api_model_name"),
        "platform": at(settings, "server_gpu_type"),
        "devices": at(settings, "server_gpu_count"),
        "engine": at(settings, "server_engine"),
        "engine_version": at(settings, "server_version"),
        "measured_at": "-".join(started.groups()) if started else None,
        **{f"extra.{name}": at(settings, name) for name in ("task", "api_backend", "warmup_ratio", "cooldown_ratio")},
    }


def _load(run: Mapping[str, Any], settings: Any) -> dict[str, Any]:
    """Closed loop, unless the runs were iterated over rates: a rate then stands where the concurrency stood."""
    users, kind = at(run, "num_concurrency"), at(run, "iteration_type")
    command = str(at(settings, "cmd"))
    if "--qps-level" in command:
        constant = "--distribution constant" in command
        return {"request_rate": users, "arrival": "constant" if constant else "poisson"}
    if kind == "request_rate":
        return {
            "request_rate": at(run, "request_rate"),
            "arrival": "constant",
            "concurrency": at(settings, "max_concurrency"),
        }
    load = {"concurrency": users, "arrival": "closed"}
    return load | {"extra.documents_per_request": at(run, "batch_size")} if kind == "batch_size" else load


def _lengths(scenario: Any) -> dict[str, Any]:
    text = str(scenario)
    if parse_lengths(text) is not None:
        return {"lengths": text}
    shared = _PREFIX.fullmatch(text)
    nominal = {"isl": int(shared[1]) + int(shared[2]), "osl": int(shared[3])} if shared else {}
    return {"extra.scenario": scenario, **nominal}


def _rates(run: Mapping[str, Any]) -> dict[str, Any]:
    """Rates over the whole run: early versions took the time of the prefills out of that of the output."""
    seconds, completed = figure(at(run, "run_duration")), figure(at(run, "num_completed_requests"))
    per_minute = figure(at(run, "requests_per_minute"))
    window = seconds or (completed * 60 / per_minute if completed and per_minute else None)
    told = {"duration_s": at(run, "run_duration"), "requests_per_minute": per_minute}
    if per_minute is None:
        told = {"duration_s": at(run, "run_duration"), "request_tps": at(run, "requests_per_second")}
    for metric, (name, tokens) in _RATES.items():
        told |= rate(metric, name, at(run, name), figure(at(run, f"stats.{tokens}.sum")), window)
    return told


IMPORTER = json_format("genai_bench", 1, "folder of genai-bench, a JSON per run", sniff, records, companions)
