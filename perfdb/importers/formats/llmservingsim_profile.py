"""The `llmservingsim_profile` importer: CSV tables of LLMServingSim's profiler, microseconds, a vLLM of one layer.

A file is …/<hardware>/<org>/<model>/<variant>/tp<k>/<table>.csv, described by a meta.yaml above it. `dense.csv` and
`per_sequence.csv` have a layer per record, `attention.csv` a prefill chunk beside decoding sequences, `moe.csv` tokens
and the experts that got one, `skew.csv` three times of each mix of lengths. `skew_fit.csv` is fitted to the latter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfdb.batch import Number, OperationFile, Reading
from perfdb.errors import FileError
from perfdb.facts.models import canonical_model
from perfdb.facts.platforms import canonical_platform
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.optable import csv_header, with_settings
from perfdb.importers.table.textfile import header_of
from perfdb.operations import canonical_dtype

META = "meta.yaml"
_TP = re.compile(r"tp(\d+)")
_LAYERS: Mapping[str, str | None] = {
    "act_fn": "activation",
    "layernorm": "norm",
    "final_layernorm": "final_norm",
    "rotary_emb": "rope",
}


@dataclass(frozen=True)
class _Table:
    """One table: its columns decide which it is."""

    columns: frozenset[str]
    readings: tuple[Reading, ...]
    numbers: Mapping[str, Number] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _time(column: str, op: str = "", **numbers: str) -> Reading:
    given = {"op": op} if op else {}
    return Reading(Number((column,), per=1e6), given=given, numbers={n: Number((c,)) for n, c in numbers.items()})


def _table(columns: str, *readings: Reading, layer: bool = False, **numbers: str) -> _Table:
    texts = {"op": ("layer",)} if layer else {}
    return _Table(frozenset(columns.split()), readings, {n: Number((c,)) for n, c in numbers.items()}, texts)


_TABLES = (
    _table("layer tokens time_us", _time("time_us"), layer=True, tokens="tokens"),
    _table("layer sequences time_us", _time("time_us"), layer=True, batch_size="sequences"),
    _table(
        "prefill_chunk kv_prefill n_decode kv_decode time_us",
        _time("time_us", "mixed_attention"),
        isl="prefill_chunk",
        prefix="kv_prefill",
        decode_batch="n_decode",
        decode_kv="kv_decode",
    ),
    _table(
        "tokens activated_experts time_us", _time("time_us", "moe"), tokens="tokens", active_experts="activated_experts"
    ),
    _table(
        "regime n nb ratio skew pc kp kvs kv_big kv_mean t_mean_us t_max_us t_skew_us",
        _time("t_mean_us", "mixed_attention", decode_kv="kv_mean"),
        _time("t_max_us", "mixed_attention", decode_kv="kv_big"),
        _time("t_skew_us", "skewed_attention", decode_kv="kv_mean"),
        isl="pc",
        prefix="kp",
        decode_batch="n",
    ),
)
_FITTED = frozenset({"pc", "n_label", "skew_rate_label", "alpha"})


def sniff(head: bytes, path: Path) -> float:
    """0.9 for a CSV with the columns of one of the tables, else 0."""
    header = set(header_of(head, ","))
    return 0.9 if header >= _FITTED or any(header >= table.columns for table in _TABLES) else 0.0


def companions(path: Path) -> tuple[Path, ...]:
    """The notes of the profiler, beside the tables or in one of the two folders above."""
    found = (folder / META for folder in (path.parent, *path.parent.parents[:2]))
    return tuple(meta for meta in found if meta.is_file())[:1]


def facts(path: Path) -> Mapping[str, str]:
    """Hardware, model, variant and tensor parallelism, as the path says them."""
    parts = path.absolute().parts[:-1]
    tp = _TP.fullmatch(parts[-1]) if parts else None
    if tp is None or len(parts) < 5:
        return {}
    return {"hardware": parts[-5], "model": "/".join(parts[-4:-2]), "variant": parts[-2], "tp": tp[1]}


def read(path: Path, settings: ReadSettings) -> OperationFile:
    """How the store reads the file.

    Raises:
        FileError: it is none of the tables, or the fitted one; or meta.yaml cannot be read.
    """
    header = set(csv_header(path))
    if header >= _FITTED:
        raise FileError(f"{path}: coefficients fitted to skew.csv, not measured; expected a table of times")
    table = next((table for table in _TABLES if header >= table.columns), None)
    if table is None:
        raise FileError(f"{path}: not the columns of a table of the profiler; expected {sorted(_TABLES[0].columns)}")
    said, notes = facts(path), _notes(path)
    file = OperationFile(
        path,
        table.readings,
        given={"origin": "measured", "engine": "vllm", **_given(said, notes)},
        numbers=table.numbers,
        texts=table.texts,
        words={"op": _LAYERS},
        ignored={"alpha": None},
    )
    return with_settings(file, settings)


def _given(said: Mapping[str, str], notes: Mapping[str, Any]) -> dict[str, str]:
    """What the notes say, else the path: the device's full name tells variants apart that share a folder's name."""
    hardware = [str(name) for name in (notes.get("gpu"), notes.get("hardware"), said.get("hardware")) if name]
    platform = next((found for name in hardware if (found := canonical_platform(name)[0])), None)
    model = str(notes.get("model") or said.get("model") or "")
    variant = str(notes.get("variant") or said.get("variant") or "")
    given = {
        "platform": platform or "".join(hardware[:1]),
        "model": canonical_model(model) or model,
        "engine_version": str(notes.get("vllm_version") or ""),
        "dtype": canonical_dtype(variant) or variant,
        "measured_at": str(notes.get("profiled_at") or ""),
        "tp": said.get("tp", ""),
    }
    return {name: text for name, text in given.items() if text}


def _notes(path: Path) -> Mapping[str, Any]:
    import yaml

    for meta in companions(path):
        try:
            notes = yaml.safe_load(meta.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise FileError(f"{meta}: cannot be read: {' '.join(str(error).split())}") from error
        return notes if isinstance(notes, dict) else {}
    return {}


IMPORTER = Importer(
    "llmservingsim_profile", 1, sniff, read, "operation tables of LLMServingSim, CSV", True, companions, facts
)
