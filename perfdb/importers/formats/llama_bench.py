"""The `llama_bench` importer: what llama.cpp's llama-bench prints with -o json, jsonl, csv or md.

A test is one request: "pp" reads a prompt, "tg" generates, "pp+tg" does both. n_batch is no load, but a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfdb.batch import BadRow, Batch
from perfdb.facts.models import canonical_model
from perfdb.importers.documents import Record, documents, has_keys, table_of
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.llama_tables import is_table_of_tests, rows_of_csv, rows_of_markdown
from perfdb.importers.shape import aside, known_device
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.cells import number
from perfdb.importers.table.markdown import markdown_tables

_FIELDS = (b"build_commit", b"n_prompt", b"n_gen", b"avg_ts")
_KEYS = tuple(b'"' + name + b'"' for name in _FIELDS)
_CONFIG = {
    "n_batch": "n_batch", "n_ubatch": "n_ubatch", "n_threads": "threads", "type_k": "cache_type_k",
    "type_v": "cache_type_v", "n_gpu_layers": "n_gpu_layers", "flash_attn": "flash_attn", "split_mode": "split_mode",
    "main_gpu": "main_gpu", "no_kv_offload": "no_kv_offload", "tensor_split": "tensor_split",
    "n_cpu_moe": "n_cpu_moe", "cpu_mask": "cpu_mask", "cpu_strict": "cpu_strict", "poll": "poll",
    "use_mmap": "use_mmap", "use_direct_io": "use_direct_io", "embeddings": "embeddings",
    "no_op_offload": "no_op_offload", "no_host": "no_host", "devices": "devices",
    "tensor_buft_overrides": "tensor_buft_overrides",
}  # fmt: skip
_SWITCHES = frozenset({
    "no_kv_offload", "cpu_strict", "use_mmap", "use_direct_io", "embeddings", "no_host", "flash_attn"
})  # fmt: skip
_TOLD = {"n_prompt", "n_gen", "n_depth", "avg_ts", "stddev_ts", "test_time", "build_number", *_CONFIG}
_WEIGHTS = re.compile(r"\b(B?F16|F32|(?:I?Q|TQ)\d\w*|MXFP4)\b(?: - (Small|Medium|Large))?")
_SHARD = re.compile(r"(-\d{5}-of-\d{5})?\.gguf$", re.IGNORECASE)
_QUANT = re.compile(r"[-_.](UD[-_.])?(I?Q\d\w*|TQ\d_\d|B?F16|F32|MXFP4\w*)$", re.IGNORECASE)


def sniff(head: bytes, path: Path) -> float:
    """0.9 for JSON, CSV or a markdown table with the fields of llama-bench, else 0."""
    if has_keys(head, _KEYS):
        return 0.9
    first = head.lstrip().split(b"\n", 1)[0]
    if first.startswith(_FIELDS[0]) and all(name in first for name in _FIELDS):
        return 0.9
    if b"t/s" not in head:
        return 0.0
    tables = markdown_tables(head.decode("utf-8-sig", errors="replace").splitlines())
    return 0.9 if any(is_table_of_tests(table.header) for table in tables) else 0.0


def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
    """One batch with a record per test.

    Raises:
        FileError: the file is neither complete JSON, nor CSV, nor has a markdown table of llama-bench.
    """
    with path.open("rb") as file:
        head = file.read(4096).lstrip()
    if head.removeprefix(b"\xef\xbb\xbf").startswith((b"{", b"[")):
        tests: Iterator[Any] = documents(path)
    else:
        tests = rows_of_csv(path) if head.startswith(_FIELDS[0]) else rows_of_markdown(path)
    yield assemble(table_of(map(_record, tests), path), settings)


def _record(test: Any) -> Record | BadRow:
    if isinstance(test, BadRow):
        return test
    if not isinstance(test, Mapping):
        return BadRow(0, "", str(test)[:200], "not an object of one test")
    prompt, generated, depth = (_count(test.get(name)) for name in ("n_prompt", "n_gen", "n_depth"))
    if not prompt and not generated:
        return BadRow(0, "n_prompt", str(test.get("n_prompt", "")), "neither a prompt nor a generation: nothing timed")
    metric = "total_tps" if prompt and generated else "input_tps" if prompt else "output_tps"
    return {
        "client": "llama-bench",
        "engine": "llamacpp",
        **_version(test),
        **_model(test),
        **_machine(test),
        "batch_size": 1,
        # what lies in the cache before the test was read, but is not timed
        "isl": prompt + depth,
        "osl": generated,
        "lengths": _lengths(prompt, generated, depth),
        metric: test.get("avg_ts"),
        f"{metric}:std": test.get("stddev_ts"),
        "measured_at": test.get("test_time"),
        **{f"config.{name}": _setting(own, test[own]) for own, name in _CONFIG.items() if own in test},
        "extra.repetitions": len(test["samples_ns"]) if isinstance(test.get("samples_ns"), list) else None,
        **aside(test, _TOLD),
    }


def _count(told: Any) -> float:
    return number(str(told)) or 0.0


def _lengths(prompt: float, generated: float, depth: float) -> str | None:
    """The tool's own notation where the cache was not empty: isl and osl alone would not tell it from a prompt."""
    if not depth:
        return f"D({prompt:g},{generated:g})" if prompt and generated else None
    parts = [f"{name}{tokens:g}" for name, tokens in (("pp", prompt), ("tg", generated)) if tokens]
    return f"{'+'.join(parts)} @ d{depth:g}"


def _version(test: Mapping[str, Any]) -> dict[str, str]:
    """ "b5329", as releases are called; of a build without its number the commit."""
    if _count(test.get("build_number")):
        return {"engine_version": f"b{_count(test['build_number']):g}"}
    commit = str(test.get("build_commit", "unknown"))
    return {} if commit == "unknown" else {"engine_version": commit}


def _model(test: Mapping[str, Any]) -> dict[str, str]:
    """The file tells the model; its type ("llama 7B") is an architecture, and many models have it."""
    kind = str(test.get("model_type", ""))
    stem = _SHARD.sub("", re.split(r"[/\\]", str(test.get("model_filename", "")))[-1])
    base = _QUANT.sub("", stem)
    name = base if canonical_model(base) else kind if base in {"", "model", "ggml-model"} else stem
    found = _WEIGHTS.search(kind)
    size = f"_{found[2][0]}" if found and found[2] else ""
    return {"model": name, **({"config.quantization": f"{found[1]}{size}"} if found else {})}


def _machine(test: Mapping[str, Any]) -> dict[str, Any]:
    """Known hardware and how many of it; the CPU where no GPU was there or none was taken."""
    taken = str(test.get("devices") or "auto")
    gpus = [name.strip() for name in str(test.get("gpu_info") or "").split(",") if name.strip()]
    if taken == "none" or not gpus:
        cpu = str(test.get("cpu_info") or "").split(",")[0]
        return {"platform": known_device(cpu), "devices": 1 if cpu else None}
    alone = test.get("split_mode") == "none"
    count = 1 if alone else len(gpus) if taken == "auto" else len(taken.split("/"))
    return {"platform": known_device(gpus[0]) if len(set(gpus)) == 1 else None, "devices": count}


def _setting(own: str, value: Any) -> Any:
    """JSON writes switches as true and false, the other forms and older versions as 1 and 0."""
    if own not in _SWITCHES:
        return value
    return {"true": 1, "false": 0}.get(str(value).lower(), value)


IMPORTER = Importer("llama_bench", 1, sniff, read, "JSON, JSONL, CSV or markdown of llama.cpp's llama-bench")
