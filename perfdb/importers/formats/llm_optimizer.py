"""The `llm_optimizer` importer: results of bentoml's llm-optimizer, one run per object or a whole tuning in one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfdb.batch import BadRow
from perfdb.importers.documents import Record, flat, has_keys, json_format
from perfdb.importers.loadgen import figure
from perfdb.importers.shape import aside, part, renamed

_KEYS = (b'"config"', b'"results"', b'"server_args"')
_CLIENT = (b'"client_args"', b'"client"')
_ENGINE = re.compile(r"\b(sglang|vllm)\b")
_MODEL = re.compile(r"(?:--model(?:-path)?[= ]|\bvllm serve )\s*([^\s-]\S*)")
_ASKED = {
    "num_prompts": "requests", "request_rate": "request_rate", "max_concurrency": "concurrency",
    "random_input_len": "isl", "random_output_len": "osl", "sharegpt_output_len": "osl", "burstiness": "burstiness",
}  # fmt: skip
_RESULTS = {
    "completed": "completed", "duration": "duration_s", "total_input_tokens": "total_input_tokens",
    "total_output_tokens": "total_output_tokens", "request_throughput": "request_tps",
    "input_throughput": "input_tps", "output_throughput": "output_tps", "total_throughput": "total_tps",
    "total_token_throughput": "total_tps", "max_concurrency": "concurrency",
}  # fmt: skip
_TIME = re.compile(r"(mean|median|std|p\d+|min|max)_(ttft|tpot|itl|e2e_latency|e2el)_ms")


def sniff(head: bytes, path: Path) -> float:
    """0.95 for JSON with a config of client and server beside its results (which look like SGLang's), else 0."""
    return 0.95 if has_keys(head, _KEYS) and any(key in head for key in _CLIENT) else 0.0


def records(document: Mapping[str, Any], path: Path) -> Iterator[Record | BadRow]:
    """One record per run: of `test_results` where the object is a whole tuning, else the object itself."""
    runs = document.get("test_results")
    for run in runs if isinstance(runs, list) else (document,):
        results = part(run, "results")
        if results:
            yield _record(run, results, {**part(document, "metadata"), **part(run, "metadata")})
        else:
            yield BadRow(0, "results", str(run)[:200], "no results: not a run of llm-optimizer")


def _record(run: Mapping[str, Any], results: Mapping[str, Any], about: Mapping[str, Any]) -> Record:
    config, command = part(run, "config"), str(run.get("cmd", ""))
    client = part(config, "client_args") or part(config, "client")
    server = part(config, "server_args") or part(config, "server")
    times = {name: name for name in results if _TIME.fullmatch(name)}
    return {
        "client": "llm-optimizer",
        "engine": _found(_ENGINE, command),
        "model": about.get("model_tag") or _found(_MODEL, command),
        "platform": about.get("gpu_type") if about.get("gpu_type") != "unknown" else None,
        **_lengths(about),
        **renamed(client, _ASKED),
        **renamed(results, _RESULTS | times),
        **_rate(client, results),
        **{f"config.{_parameter(name)}": value for name, value in flat(server).items()},
        # of the machine, of which a run may use a part
        "extra.gpu_count": about.get("gpu_count"),
        # the mean of what was in flight, not a cap
        "extra.measured_concurrency": results.get("concurrency"),
        **aside(client, _ASKED, "client"),
        **aside(results, {*_RESULTS, *times, "concurrency", "request_rate"}, "results"),
        "extra.cmd": command or None,
    }


def _found(pattern: re.Pattern[str], command: str) -> str | None:
    found = pattern.search(command)
    return found.group(1) if found else None


def _parameter(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _lengths(about: Mapping[str, Any]) -> dict[str, float]:
    """0 and -1 mean that the data set decides."""
    asked = {
        "isl": figure(about.get("input_tokens", about.get("input_len"))),
        "osl": figure(about.get("output_tokens", about.get("output_len"))),
    }
    return {name: length for name, length in asked.items() if length is not None and length > 0}


def _rate(client: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """The rate that was asked for; the file's encoder writes an infinite one as null."""
    for told in (results, client):
        if "request_rate" in told:
            return {"request_rate": "inf" if told["request_rate"] is None else str(told["request_rate"])}
    return {}


IMPORTER = json_format("llm_optimizer", 1, "JSON of bentoml's llm-optimizer", sniff, records)
