"""The `aiconfigurator` importer: measured operations of aiconfigurator-core, Parquet, a folder per device and version.

A file is …/<system>/<family>/<backend>/<version>/<table>_perf.parquet. Its rows name device, framework and version
themselves, and win over the path: some files are copies that stand in for another version. Latencies are milliseconds,
those of DeepEP and of moe_a2a microseconds; a latency of 0 was not measured. `message_size` counts elements: NCCL takes
as long for a number of halves as for twice that number of int8, and for bf16 the links are just saturated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perfdb.batch import Number, OperationFile, Reading
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.optable import is_parquet_with, parquet_footer, platform_name, with_settings

META = "collection_meta.yaml"
_BACKENDS = ("trtllm", "sglang", "vllm", "nccl", "oneccl")


def _columns(*names: str) -> Number:
    return Number(names)


_NUMBERS = {
    "m": _columns("m"),
    "n": _columns("n"),
    "k": _columns("k"),
    "batch_size": _columns("batch_size"),
    "isl": _columns("isl", "seq_len"),
    "prefix": _columns("step"),
    "heads": _columns("num_heads", "nheads"),
    "kv_heads": _columns("num_key_value_heads"),
    "head_dim": _columns("head_dim"),
    "window_size": _columns("window_size"),
    "tokens": _columns("num_tokens", "num_token"),
    "hidden": _columns("hidden_size", "d_model"),
    "inter": _columns("inter_size", "intermediate_size"),
    "topk": _columns("topk", "num_topk"),
    "experts": _columns("num_experts"),
    "tp": _columns("tp_size"),
    "moe_tp": _columns("moe_tp_size"),
    "moe_ep": _columns("moe_ep_size", "ep_size"),
    "devices": _columns("num_gpus"),
    "nodes": _columns("node_num"),
    "elements": _columns("message_size"),
}
_DTYPES = ("gemm", "attn", "mla", "moe", "quant", "bmm", "nccl", "allreduce", "comm")
_TEXTS = {
    "platform": ("device",),
    "engine": ("framework",),
    "engine_version": ("version",),
    "op": ("op_name",),
    "phase": ("phase",),
    "dtype": (*(f"{name}_dtype" for name in _DTYPES), "quant_type"),
    "kv_dtype": ("kv_cache_dtype",),
    "gemm_dtype": ("gemm_type",),
    "kernel": ("kernel_source",),
    "distribution": ("distribution",),
    "model": ("model", "model_name"),
}
_WORDS: Mapping[str, Mapping[str, str | None]] = {
    "op": {
        "mla_context": "context_mla",
        "mla_generation": "generation_mla",
        "mla_gen_pre": "mla_bmm_pre",
        "mla_gen_post": "mla_bmm_post",
        "moe_context": "wideep_context_moe",
        "moe_generation": "wideep_generation_moe",
        "alltoall": "all_to_all",
        "alltoall_prepare": "moe_prepare",
        "alltoall_dispatch": "moe_dispatch",
        "alltoall_combine": "moe_combine",
        "alltoall_combine_low_precision": "moe_combine_low_precision",
        "dispatch": "moe_dispatch",
        "combine": "moe_combine",
        "pre": "mhc_pre",
        "post": "mhc_post",
    },
    # kernels timed apart from any release
    "engine_version": {"kernel-level": None, "unknown": None},
    "dtype": {"default": None},
}
# graph or eager also stands in kernel_source; bandwidths follow from the times
_IGNORED = {
    "beam_width": "1",
    "backend": None,
    "combine_bandwidth_gbps": None,
    "dispatch_bandwidth_gbps": None,
}
_MILLISECONDS = Number(("latency",), per=1e3)


@dataclass(frozen=True)
class _Kind:
    """What is special about a table."""

    readings: tuple[Reading, ...] = (Reading(_MILLISECONDS),)
    given: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, Number] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ignored: Mapping[str, str | None] = field(default_factory=dict)


def _deepep(kernel: str, *columns: str) -> _Kind:
    """A table whose rows hold a dispatch and a combine, each the sum of some columns, in microseconds."""
    readings = tuple(
        Reading(Number(tuple(f"{way}_{column}" for column in columns), per=1e6), given={"op": f"moe_{way}"})
        for way in ("dispatch", "combine")
    )
    return _Kind(readings, {"kernel": kernel})


_KINDS: Mapping[str, _Kind] = {
    "wideep_deepep_normal_perf": _deepep("deepep_ht", "transmit_us", "notify_us"),
    "wideep_deepep_ll_perf": _deepep("deepep_ll", "avg_t_us"),
    "moe_a2a_perf": _Kind(
        (Reading(Number(("latency",), per=1e6)),),
        texts={"op": ("phase",), "phase": (), "kernel": ("comm_backend",)},
        ignored=dict.fromkeys(("op_name", "kernel_source", "transmit_us", "notify_us")),
    ),
    "nccl_perf": _Kind(given={"engine": "nccl"}),
    "oneccl_perf": _Kind(given={"engine": "oneccl"}),
    "computescale_perf": _Kind(given={"origin": "derived"}),
    "wideep_context_mla_perf": _Kind(given={"op": "wideep_context_mla"}),
    # isl is the length of the KV cache here
    "wideep_generation_mla_perf": _Kind(
        given={"op": "wideep_generation_mla", "isl": "1"}, numbers={"prefix": Number(("isl", "step"), plus=-1)}
    ),
    "wideep_context_mlp_perf": _Kind((Reading(Number(("avg_ms",), per=1e3)),), {"op": "wideep_context_mlp"}),
    "wideep_generation_mlp_perf": _Kind((Reading(Number(("avg_ms",), per=1e3)),), {"op": "wideep_generation_mlp"}),
}


def sniff(head: bytes, path: Path) -> float:
    """0.9 for Parquet that names its operation and kernel as these tables do, else 0."""
    return 0.9 if is_parquet_with(head, path, "op_name", "kernel_source") else 0.0


def facts(path: Path) -> Mapping[str, str]:
    """System, backend, version and table, as the path says them; less outside of such folders."""
    parts = path.absolute().parts[-5:]
    if len(parts) < 5 or parts[2] not in _BACKENDS:
        return {"table": path.stem}
    return {"system": parts[0], "backend": parts[2], "version": parts[3], "table": path.stem}


def companions(path: Path) -> tuple[Path, ...]:
    """The notes on how the tables of this folder were collected."""
    meta = path.with_name(META)
    return (meta,) if meta.is_file() else ()


def read(path: Path, settings: ReadSettings) -> OperationFile:
    """How the store reads the file.

    Raises:
        FileError: it is no whole Parquet file.
    """
    parquet_footer(path)
    kind, said = _KINDS.get(path.stem, _Kind()), facts(path)
    absent = {"engine": said.get("backend"), "engine_version": said.get("version")}
    absent["platform"] = platform_name(said["system"]) if "system" in said else None
    file = OperationFile(
        path,
        kind.readings,
        {"origin": "measured", **_date(path), **kind.given},
        {name: text for name, text in absent.items() if text is not None},
        {**_NUMBERS, **kind.numbers},
        {**_TEXTS, **kind.texts},
        _WORDS,
        {**_IGNORED, **kind.ignored},
    )
    return with_settings(file, settings)


def _date(path: Path) -> dict[str, str]:
    """When the table was measured, where the notes beside it say so."""
    entry = re.compile(rf"^  {re.escape(path.stem)}:\n(?:    .*\n)*?    collected_at: *['\"]?([^'\"\n]+)", re.MULTILINE)
    for meta in companions(path):
        found = entry.search(meta.read_text(encoding="utf-8", errors="replace"))
        if found:
            return {"measured_at": found[1].strip()}
    return {}


IMPORTER = Importer(
    "aiconfigurator", 1, sniff, read, "operation tables of aiconfigurator-core, Parquet", True, companions, facts
)
