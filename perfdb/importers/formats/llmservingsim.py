"""The `llmservingsim` importer: measured runs of a real vLLM as LLMServingSim's `bench run` records them.

A run is `requests.jsonl` (one request per line, moments on the engine's own clock) with `meta.json` (engine settings),
`timeseries.csv` (KV-cache use per second) and, there or one folder up, `config.json` (hardware). It is one operating
point; the requests stay in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perfdb.batch import Batch
from perfdb.errors import FileError
from perfdb.importers.documents import at, documents, has_keys, table_of
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.requests import Requests, summary
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.cells import to_numbers
from perfdb.importers.table.textfile import read_table

_REQUESTS = (b'"request_id"', b'"queued_ts"', b'"first_token_ts"', b'"last_token_ts"')
_META = (b'"vllm_version"', b'"engine_kwargs"', b'"dataset_path"')
_CLUSTER = (b'"num_nodes"', b'"instances"', b'"npu_mem"')
_SERIES = b"t,prompt_throughput,gen_throughput,running,waiting,kv_cache_pct"
_COLUMNS = ("queued_ts", "first_token_ts", "last_token_ts", "input_toks", "output_toks")
_DATASET = re.compile(r"-\d+-sps(?P<rate>\d+(?:\.\d+)?)")
_KV_SETTINGS = ("block_size", "gpu_memory_utilization", "enable_prefix_caching")
_KV_FACTS = ("num_gpu_blocks", "num_kv_tokens")
_BESIDE = ("meta.json", "timeseries.csv", "config.json")


def sniff(head: bytes, path: Path) -> float:
    """0.95 for a file of such a run, also for those that are only read with its requests; else 0."""
    if path.name in _BESIDE:
        is_known = has_keys(head, _META) or has_keys(head, _CLUSTER) or head.startswith(_SERIES)
        return 0.95 if is_known else 0.0
    return 0.95 if has_keys(head, _REQUESTS) else 0.0


def companions(path: Path) -> tuple[Path, ...]:
    """The files of the run beside its requests; `config.json` may lie one folder up."""
    if path.name in _BESIDE:
        return ()
    beside = [path.with_name(name) for name in _BESIDE]
    if not beside[-1].is_file():
        beside[-1] = path.parent.parent / "config.json"
    return tuple(file for file in beside if file.is_file())


def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
    """One batch with one record.

    Raises:
        FileError: the file is one of those beside the requests, a line is damaged, or lacks a number.
    """
    if path.name in _BESIDE:
        raise FileError(f"{path}: belongs to the run in requests.jsonl, and is read with it; expected that file")
    runs = list(documents(path))
    if not runs:
        raise FileError(f"{path}: the file is empty")
    files = {file.name: file for file in companions(path)}
    meta, cluster = (_document(files.get(name)) for name in ("meta.json", "config.json"))
    record = {**_server(meta, cluster), **_load(meta), **_series(files.get("timeseries.csv")), **_timings(runs, path)}
    asked = at(meta, "num_requests")
    if asked is not None:
        record |= {"requests": asked, "success_rate": len(runs) / asked}
    yield assemble(table_of([record], path), settings)


def _document(path: Path | None) -> Any:
    return next(documents(path), None) if path else None


def _timings(runs: list[Mapping[str, Any]], path: Path) -> dict[str, float]:
    """The summary of the requests. `queued_ts` is when the engine got one: `arrival_time` is another clock's."""
    rows = []
    for number, run in enumerate(runs, 1):
        if not isinstance(run, Mapping):
            raise FileError(f"{path}: row {number} is no JSON object; expected one request per line")
        wrong = next((name for name in _COLUMNS if type(run.get(name)) not in (int, float)), None)
        if wrong:
            raise FileError(f"{path}: row {number}, {wrong!r}: {run.get(wrong)!r}; expected a number")
        rows.append([run[name] for name in _COLUMNS])
    queued, first, last, inputs, outputs = np.array(rows, dtype=np.float64).T
    return summary(Requests(np.ones(len(rows), dtype=bool), queued, first - queued, last - queued, inputs, outputs))


def _server(meta: Any, cluster: Any) -> dict[str, Any]:
    """What served: vLLM with the arguments it was given, and the KV cache that it made of them."""
    given = at(meta, "engine_kwargs") or {}
    kv_cache = {name: at(meta, f"kv_cache.{name}") for name in (*_KV_SETTINGS, *_KV_FACTS)}
    arguments = {name: value for name, value in given.items() if name not in {"model", "seed"}}
    return {
        "model": at(meta, "model"),
        "platform": at(cluster, "nodes.0.instances.0.hardware") or at(meta, "hardware.device_name"),
        "engine": "vllm",
        "engine_version": at(meta, "vllm_version"),
        "client": "LLMServingSim bench",
        "measured_at": at(meta, "started_at"),
        **{f"config.{name}": kv_cache[name] for name in _KV_SETTINGS},
        **{f"config.{name}": value for name, value in arguments.items() if not isinstance(value, Mapping | list)},
        **{f"extra.{name}": kv_cache[name] for name in _KV_FACTS},
        "extra.seed": given.get("seed"),
    }


def _load(meta: Any) -> dict[str, Any]:
    """Poisson arrivals at the rate that the dataset's name says: its generator's `--sps`."""
    dataset = Path(str(at(meta, "dataset_path") or "")).stem
    rate = _DATASET.search(dataset)
    load = {"request_rate": rate["rate"], "arrival": "poisson", "extra.rate_said_by": "dataset"} if rate else {}
    return {**load, "extra.dataset": dataset, "extra.dataset_hash": at(meta, "dataset_hash")}


def _series(path: Path | None) -> dict[str, float]:
    """The peaks of the time series."""
    if path is None:
        return {}
    table = read_table(path, ",")
    columns = dict(zip(table.header, table.columns, strict=True))
    peaks = {}
    for name in ("kv_cache_pct", "running", "waiting"):
        values = to_numbers(columns[name])[0] if name in columns else np.empty(0)
        # zero in every second: it was not measured
        if np.nansum(values) > 0:
            peaks[f"extra.peak_{name}"] = float(np.nanmax(values))
    return peaks


IMPORTER = Importer(
    "llmservingsim", 1, sniff, read, "measured vLLM run of LLMServingSim (requests.jsonl)", companions=companions
)
