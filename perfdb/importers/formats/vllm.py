"""The `vllm` importer: results of `vllm bench serve`, one JSON object per run, several in a row, or a list of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfdb.importers.documents import Record, flat, has_keys, json_format

_KEYS = (b'"num_prompts"', b'"request_rate"', b'"completed"', b'"model_id"')


def sniff(head: bytes, path: Path) -> float:
    """0.9 for JSON with the keys that only `vllm bench serve` writes together, else 0."""
    return 0.9 if has_keys(head, _KEYS) else 0.0


def records(document: Mapping[str, Any], path: Path) -> Iterator[Record]:
    """One record per run; the per-request lists of --save-detailed are left out."""
    run = flat(document)
    backend = run.pop("backend", None)
    if backend is not None:
        # the backend names the client's protocol; only "vllm" says what served
        run["engine" if backend == "vllm" else "client_backend"] = backend
    yield {"client": "vllm bench serve", **run}


IMPORTER = json_format("vllm", 1, "JSON of `vllm bench serve`", sniff, records)
