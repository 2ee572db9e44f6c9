"""The `aiperf` importer: profile exports of aiperf, and of genai-perf before it, as JSON or CSV.

Both call (e2e - ttft) / (n - 1) of a request its inter-token latency, which is TPOT; times between chunks are ITL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfdb.batch import Batch
from perfdb.importers.content import HEAD_BYTES
from perfdb.importers.documents import Record, at, has_keys, read_json, table_of
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.loadgen import csv_rows, figure, normal_lengths, refuse_twin, spread
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.cells import number

_TIMES = {
    "time_to_first_token": "ttft",
    "ttft": "ttft",
    "inter_token_latency": "tpot",
    "inter_chunk_latency": "itl",
    "request_latency": "e2e",
}
_SPREADS = {
    "output_token_throughput_per_user": "output_tps_per_user",
    "input_sequence_length": "input_tokens",
    "output_sequence_length": "output_tokens",
}
_SINGLE = {
    "request_throughput": "request_tps",
    "output_token_throughput": "output_tps",
    "input_token_throughput": "input_tps",
    "total_token_throughput": "total_tps",
}
_ARRIVALS = {"concurrency_burst": "closed", "concurrency": "closed", "poisson": "poisson", "constant": "constant"}
_NAME = re.compile(r"^(?P<name>.*?)\s*(?:\((?P<unit>[^()]*)\))?$")
_LONGEST_NAME = 200
_HEADER = b"Metric,avg,"
_GENAI_PERF = ("formatted_model_name", "perf_analyzer", "subcommand")
"""What only genai-perf writes into its settings."""


def sniff(head: bytes, path: Path) -> float:
    """0.9 for metrics that say their unit and statistics, under the names of aiperf; 0 for others."""
    if head.removeprefix(b"\xef\xbb\xbf").startswith(_HEADER) and b"Request Latency" in head:
        return 0.9
    known = (b'"request_latency"', b'"request_throughput"', b'"error_request_count"')
    is_export = has_keys(head, (b'"unit"', b'"avg"')) and any(name in head for name in known)
    return 0.9 if is_export and b'"timeslices"' not in head else 0.0


def records(document: Mapping[str, Any], path: Path) -> Iterator[Record]:
    """The one record of an export; the unit that stands with a metric counts."""
    config = document.get("input_config")
    metrics = at(document, "records") or document
    version = at(document, "aiperf_version")
    is_old = at(config, *_GENAI_PERF) is not None
    tool = "genai-perf" if is_old else "aiperf"
    yield {
        "client": f"{tool} {version}" if version else tool,
        "model": at(config, "endpoint.model_names.0", "models.items.0.name", "model_names.0", "model.0"),
        "platform": _platform(document),
        "measured_at": at(document, "start_time"),
        # a run that was cut short is told by its first part
        "status": "partial" if at(document, "was_cancelled") is True else None,
        "extra.endpoint_type": at(config, "endpoint.type", "endpoint_type"),
        "extra.streaming": at(config, "endpoint.streaming", "streaming"),
        **_engine(config),
        **_load(config, is_old),
        **_lengths(config),
        **_counts(metrics, is_old),
        **_metrics(metrics),
    }


def _engine(config: Any) -> dict[str, Any]:
    """genai-perf writes a default backend down for every service; it is what served only behind Triton."""
    backend, service = at(config, "backend", "endpoint.backend"), at(config, "service_kind", "endpoint.service_kind")
    served = "trtllm" if backend == "tensorrtllm" else backend
    return {"engine": served if service == "triton" else None, "extra.service_kind": service}


def _platform(document: Any) -> str | None:
    """The devices that the telemetry saw, where they are of one kind; how many of them served is not told."""
    endpoints = at(document, "telemetry_data.endpoints")
    seen = endpoints.values() if isinstance(endpoints, Mapping) else ()
    gpus = [gpu for endpoint in seen if isinstance(at(endpoint, "gpus"), Mapping) for gpu in endpoint["gpus"].values()]
    names = {str(at(gpu, "gpu_name")) for gpu in gpus}
    return names.pop() if len(names) == 1 else None


def _load(config: Any, is_old: bool) -> dict[str, Any]:
    phases = at(config, "phases")
    phases = phases if isinstance(phases, list) else []
    warmup = [phase for phase in phases if at(phase, "exclude_from_results") is True]
    main = next((phase for phase in phases if phase not in warmup), None)
    rate = at(main, "rate") or at(config, "loadgen.request_rate", "request_rate", "perf_analyzer.stimulus.request_rate")
    pattern = at(main, "type") or at(config, "loadgen.arrival_pattern", "loadgen.request_rate_mode")
    if pattern is None and rate is not None:
        # the defaults of the two tools
        pattern = "constant" if is_old else "poisson"
    return {
        "concurrency": at(main, "concurrency")
        or at(config, "loadgen.concurrency", "concurrency", "perf_analyzer.stimulus.concurrency"),
        "request_rate": rate,
        "arrival": _ARRIVALS.get(str(pattern)),
        "burstiness": None if pattern is None or str(pattern) in _ARRIVALS else 0.0,
        "warmup_requests": at(warmup, "0.requests")
        or at(config, "loadgen.warmup_request_count", "warmup_request_count", "perf_analyzer.warmup_request_count"),
        "extra.arrival_pattern": pattern,
        "extra.request_cancellation_rate": at(config, "loadgen.request_cancellation_rate"),
    }


def _lengths(config: Any) -> dict[str, Any]:
    prompt, answer = ("input.prompt.input_tokens", "input.prompt.output_tokens"), ("isl", "osl")
    told = []
    for old, new, flat in zip(prompt, answer, ("synthetic_input_tokens", "output_tokens"), strict=True):
        nested = f"datasets.0.prompts.{new}"
        tokens = "input.synthetic_tokens" if new == "isl" else "input.output_tokens"
        mean = at(config, f"{old}.mean", f"{nested}.mean", f"{tokens}.mean", f"{flat}_mean", nested)
        spread_of = at(config, f"{old}.stddev", f"{nested}.stddev", f"{tokens}.stddev", f"{flat}_stddev")
        # -1 is genai-perf's word for "as the model likes"
        told += [mean if (figure(mean) or 0) > 0 else None, spread_of]
    return {"isl": told[0], "osl": told[2], "lengths": normal_lengths(*told)}


def _counts(metrics: Any, is_old: bool) -> dict[str, Any]:
    """aiperf leaves a count out where it is zero; genai-perf counts no failures at all."""
    completed, failed = (figure(at(metrics, f"{name}.avg")) for name in ("request_count", "error_request_count"))
    if completed is None and failed is None:
        return {}
    if is_old:
        return {"requests": completed}
    return {"completed": completed or 0, "failed": failed or 0, "requests": (completed or 0) + (failed or 0)}


def _metrics(metrics: Any) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, column in _TIMES.items():
        told |= spread(column, str(at(metrics, f"{name}.unit")), at(metrics, name))
    for name, column in _SPREADS.items():
        told |= spread(column, "", at(metrics, name))
    told |= {column: at(metrics, f"{name}.avg") for name, column in _SINGLE.items()}
    unit = at(metrics, "benchmark_duration.unit")
    return told | {f"duration ({unit})": at(metrics, "benchmark_duration.avg")} if unit else told


def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
    """One batch with the run of the export.

    Raises:
        FileError: it is not complete, holds no metric, or is a CSV with the JSON of the same run beside it.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.removeprefix(b"\xef\xbb\xbf").startswith(_HEADER):
        yield from read_json(path, settings, records)
        return
    refuse_twin(path, sniff)
    yield assemble(table_of(records(_tables(path), path), path), settings)


def _tables(path: Path) -> dict[str, Any]:
    """The CSV's tables as the JSON's metrics: each begins with a line "Metric,…" that names its columns."""
    metrics: dict[str, Any] = {}
    header: list[str] = []
    for row in csv_rows(path):
        if "Metric" in row:
            header = row if row[0] == "Metric" else []
        elif header:
            found = _NAME.fullmatch(row[0].strip()[:_LONGEST_NAME])
            name = re.sub(r"\W+", "_", found["name"].lower()) if found else row[0]
            columns = ["avg" if column == "Value" else column for column in header[1:]]
            cells = {column: _value(cell) for column, cell in zip(columns, row[1:], strict=False)}
            metrics[name] = {"unit": found["unit"] if found else None, **cells}
    # the CSV holds no settings; genai-perf's has no deviations
    is_old = all("std" not in metric for metric in metrics.values())
    return metrics | {"input_config": {"subcommand": "profile"} if is_old else None}


def _value(cell: str) -> float | str | None:
    value = number(cell)
    return value if value is not None else cell.strip() or None


IMPORTER = Importer("aiperf", 1, sniff, read, "profile export of aiperf or genai-perf, JSON or CSV")
