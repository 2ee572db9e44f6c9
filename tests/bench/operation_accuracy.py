"""How far operation times stray where nothing was measured: every inner value of every axis left out in turn.

    python tests/bench/operation_accuracy.py DB [--platform h200_sxm] [--engine vllm] [--version 0.24.0]

DB holds the tables (`servecast import aiconfigurator --systems h200_sxm --db DB`). A value is left out together with
its twin one above it (4096 and 4097 straddle a tile), and predicted from the rest through the public queries. Of
experts all rows of one model's layer are left out too: they are carried over from the others. Printed: median and p95
of |predicted / measured - 1|, and how often the 90 % interval held the measured value.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from model.checkpoint.architecture import resolve_model
from model.tables.answer import EXTRAPOLATED, INTERPOLATED, Answer
from model.tables.library import Tables
from model.tables.shapes import Experts, Heads, latent_of
from perfdb.facts.platforms import platform
from perfdb.operations import OperationTable
from perfdb.store import Store

LAYER = "layer"
AXES = {
    "gemm": ("m", "n", "k"),
    "context_attention": ("heads", "batch_size", "isl"),
    "generation_attention": ("heads", "batch_size", "prefix"),
    "mla_context_module": ("heads", "batch_size", "isl"),
    "mla_generation_module": ("heads", "batch_size", "prefix"),
    "moe": ("tokens", LAYER),
}


def main() -> None:
    """Print one line per table and axis."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("db", type=Path)
    parser.add_argument("--platform", default="h200_sxm")
    parser.add_argument("--engine", default="vllm")
    parser.add_argument("--version", default="0.24.0")
    parser.add_argument("--op", choices=AXES, action="append", help="only these")
    given = parser.parse_args()
    store = Store(given.db)
    sets = store.operation_sets(platform(given.platform).name)
    for op in given.op or AXES:
        axes = AXES[op]
        kinds = {
            (s.dtype, s.kv_dtype)
            for s in sets
            if (s.op, s.engine, s.engine_version) == (op, given.engine, given.version)
        }
        for dtype, kv_dtype in sorted(kinds, key=str):
            table = store.operations(platform(given.platform).name, given.engine, given.version, op, dtype)
            if kv_dtype is not None:
                table = table.where(kv_dtype=kv_dtype)
            for axis in axes:
                errors, inside = left_out(table, sets, given, op, axis)
                if not len(errors):
                    continue
                print(
                    f"{op:22} {dtype} {kv_dtype or '':5} {axis:10} n {len(errors):6} median {np.median(errors):.2%} "
                    f"p95 {np.quantile(errors, 0.95):.1%} covered {inside:.1%}",
                    flush=True,
                )


def left_out(table: OperationTable, sets, given, op: str, axis: str) -> tuple[np.ndarray, float]:
    """|relative errors| of all rows whose value of `axis` is an inner one, and the share within their intervals."""
    errors, logs, sds = [], [], []
    for gone in left_out_rows(table, axis):
        kept = OperationTable({name: column[~gone] for name, column in table.columns.items()}, int((~gone).sum()))
        known = Tables(platform(given.platform), given.engine, given.version, sets, lambda kept=kept, **_: kept)
        asked = OperationTable({name: column[gone] for name, column in table.columns.items()}, int(gone.sum()))
        latency, sd = ask(known, op, asked, EXTRAPOLATED if axis == LAYER else INTERPOLATED)
        used = np.isfinite(latency)
        ratio = latency[used] / asked["latency_s"][used]
        errors.append(np.abs(ratio - 1))
        logs.append(np.abs(np.log(ratio)))
        sds.append(sd[used])
    if not errors:
        return np.empty(0), 0.0
    covered = np.concatenate(logs) <= 1.645 * np.concatenate(sds)
    return np.concatenate(errors), float(np.mean(covered)) if len(covered) else 0.0


def left_out_rows(table: OperationTable, axis: str) -> Iterator[np.ndarray]:
    """Which rows to leave out, one after the other."""
    if axis == LAYER:
        layers = np.stack([table[name] for name in ("hidden", "inter", "topk", "experts")], axis=1)
        yield from ((layers == layer).all(axis=1) for layer in np.unique(layers, axis=0))
        return
    values = np.unique(table[axis])
    for value in values[1:-1]:
        if value - 1 in values and value > 16:
            continue  # left out together with the one below
        gone = np.isin(table[axis], [value, value + 1] if value > 16 else [value])
        if (table[axis][~gone] > value).any():
            yield gone


def ask(tables: Tables, op: str, rows: OperationTable, code: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers for the rows of a table; NaN where their provenance is another."""
    if op == "gemm":
        answer = tables.query_gemm(str(rows["dtype"][0]), rows["m"], rows["n"], rows["k"])
        return np.where(answer.code == code, answer.latency_s, np.nan), answer.rel_sd
    latency, sd = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    keys = np.stack([key_column(rows, name) for name in KEYS[op]], axis=1)
    known, which = np.unique(keys, axis=0, return_inverse=True)
    for number, key in enumerate(known):
        at = np.flatnonzero(which.reshape(-1) == number)
        answer = ask_one(tables, op, rows, at, key)
        latency[at] = np.where(answer.code == code, answer.latency_s, np.nan)
        sd[at] = answer.rel_sd
    return latency, sd


_HEADS = ("heads", "kv_heads", "head_dim", "window_size")
KEYS = {
    **dict.fromkeys(("context_attention", "generation_attention"), _HEADS),
    **dict.fromkeys(("mla_context_module", "mla_generation_module"), ("heads", "gemm_dtype")),
    "moe": ("hidden", "inter", "topk", "experts", "moe_tp", "moe_ep", "distribution"),
}


def key_column(rows: OperationTable, name: str) -> np.ndarray:
    """Numbers of one key."""
    if name == "distribution":
        return np.array(
            [float(str(word).removeprefix("power_law_")) if "power" in str(word) else 0.0 for word in rows[name]]
        )
    if name == "gemm_dtype":
        return np.array([FORMATS.index(str(word)) for word in rows[name]], dtype=np.float64)
    return np.nan_to_num(rows[name])


FORMATS = ("bf16", "fp8_block", "nvfp4")


def ask_one(tables: Tables, op: str, rows: OperationTable, at: np.ndarray, key: np.ndarray) -> Answer:
    """The answer for rows of equal keys."""
    if op == "moe":
        return tables.query_experts(str(rows["dtype"][0]), Experts(*key), rows["tokens"][at])
    phase = "context" if "context" in op else "generation"
    tokens = (rows["isl"] if phase == "context" else rows["prefix"] + 1)[at]
    batch, cached = rows["batch_size"][at], str(rows["kv_dtype"][0])
    if op.startswith("mla"):
        layer = latent_of(resolve_model(str(rows["model"][0])))
        formats = (FORMATS[int(key[1])], cached)
        return tables.query_latent_attention(phase, formats, layer, float(key[0]), batch, tokens)
    return tables.query_attention(phase, cached, Heads(*key), batch, tokens)


if __name__ == "__main__":
    main()
