"""The `vidur` importer: CSV tables of the profilers of Vidur and Frontier, a record per shape, milliseconds.

A record holds several operations, each as time_stats.<operation>.{min,max,mean,median,std}; the median is taken. What
was profiled stands in the path: …/<device>/<model>/mlp.csv, …/<device>/all_reduce.csv. Prefill and decode stand in one
table of attention, and hold a time (0, or noise) of the other's kernel, too. `size` of collectives is bytes: taken as
elements, two devices of an H100 would send faster than their link.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from perfdb.batch import Number, OperationFile, Reading
from perfdb.errors import FileError
from perfdb.facts.models import canonical_model
from perfdb.facts.platforms import canonical_platform
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.optable import csv_header, with_settings
from perfdb.importers.table.textfile import header_of

_PREFIX, _MEDIAN = "time_stats.", ".median"
_DEPTH = 4
_NAMES: Mapping[str, str] = {
    "emb": "embedding",
    "input_layernorm": "input_norm",
    "post_attention_layernorm": "post_attention_norm",
    "attn_pre_proj": "qkv_proj",
    "attn_post_proj": "o_proj",
    "attn_rope": "rope",
    "mlp_up_proj": "gate_up_proj",
    "mlp_act": "activation",
    "mlp_down_proj": "down_proj",
    "add": "residual_add",
    "lm_head_linear": "lm_head",
    "moe_gating_linear": "router",
    "moe_gating_routing_topk": "router_topk",
    "moe_shuffling": "moe_shuffle",
    "attn_kv_cache_save": "kv_cache_write",
    "attn_input_reshape": "attention_input_reshape",
    "attn_output_reshape": "attention_output_reshape",
    "send_recv": "p2p",
}


def _columns(*names: str) -> Number:
    return Number(names)


_NUMBERS = {
    "batch_size": _columns("batch_size"),
    "prefix": _columns("kv_cache_size"),
    "tokens": _columns("num_tokens"),
    "hidden": _columns("n_embd", "hidden_dim"),
    "inter": _columns("n_expanded_embd", "expert_hidden_dim"),
    "topk": _columns("router_topk"),
    "experts": _columns("num_experts"),
    "moe_ep": _columns("expert_parallel_size"),
    "devices": _columns("num_workers"),
    "bytes": _columns("size"),
}
_TEXTS = {
    "dtype": ("profiling_precision",),
    "kernel": ("attention_backend", "moe_grouped_gemm_backend"),
    "distribution": ("load_distribution",),
}
_TP = "num_tensor_parallel_workers"
_CHUNK = "prefill_chunk_size"


def sniff(head: bytes, path: Path) -> float:
    """0.9 for a CSV with columns of these names, else 0."""
    return 0.9 if any(_operation(name) for name in header_of(head, ",")) else 0.0


def facts(path: Path) -> Mapping[str, str]:
    """Platform and model as the path says them: the nearest folder that is a platform, and what is below it."""
    parents = path.absolute().parts[:-1]
    for depth in range(1, min(_DEPTH, len(parents)) + 1):
        platform = canonical_platform(parents[-depth])[0]
        if platform:
            model = "/".join(parents[len(parents) - depth + 1 :])
            return {"platform": platform} | ({"model": canonical_model(model) or model} if model else {})
    return {}


def read(path: Path, settings: ReadSettings) -> OperationFile:
    """How the store reads the file.

    Raises:
        FileError: it has no column of a median.
    """
    header = csv_header(path)
    readings = tuple(reading for name in header if (op := _operation(name)) for reading in _readings(op, header))
    if not readings:
        raise FileError(f"{path}: no column of a median; expected {_PREFIX}OPERATION{_MEDIAN}")
    named = {_PREFIX + op + f".{end}": None for op in map(_operation, header) if op for end in ("min", "max")}
    # where there are experts, they are what is divided
    split = "moe_tp" if "num_experts" in header else "tp"
    file = OperationFile(
        path,
        readings,
        given={"origin": "measured", "statistic": "median"},
        absent=facts(path),
        numbers={**_NUMBERS, split: _columns(_TP)},
        texts=_TEXTS,
        ignored={**named, "": None, "collective": None, "rank": "0"},
    )
    return with_settings(file, settings)


def _operation(column: str) -> str:
    """What a column of medians measures, "" for any other."""
    is_median = column.startswith(_PREFIX) and column.endswith(_MEDIAN)
    return column[len(_PREFIX) : -len(_MEDIAN)] if is_median else ""


def _readings(op: str, header: list[str]) -> Iterator[Reading]:
    latency = Number((f"{_PREFIX}{op}{_MEDIAN}",), per=1e3)
    spread = (f"{_PREFIX}{op}.std", f"{_PREFIX}{op}.mean")
    if "is_prefill" not in header:
        yield Reading(latency, spread, {"op": _NAMES.get(op, op)})
        return
    ours, is_prefill = _NAMES.get(op, op), {"is_prefill": "True"}
    if op != "attn_decode":
        name = {"op": "context_attention" if op == "attn_prefill" else ours}
        yield Reading(latency, spread, name, {"isl": _columns(_CHUNK)}, when=is_prefill, unless={_CHUNK: "0"})
        # sequences of unlike lengths: no single one is true, and their list goes to `more`
        unsaid = {"isl": _columns(), "prefix": _columns(), "batch_size": _columns()}
        yield Reading(latency, spread, name, unsaid, when={**is_prefill, _CHUNK: "0"})
    if op != "attn_prefill":
        name = {"op": "generation_attention" if op == "attn_decode" else ours, "isl": "1"}
        yield Reading(latency, spread, name, when={"is_prefill": "False"})


IMPORTER = Importer("vidur", 1, sniff, read, "operation tables of Vidur and Frontier, CSV", True, facts=facts)
