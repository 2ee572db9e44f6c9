"""Operation times for a file of questions: one answer per row, in its order."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.tables.answer import Answer
from model.tables.kernels import MESSAGES
from model.tables.library import Tables
from model.tables.shapes import Experts, Heads
from perfdb.errors import FileError, InputError, UnknownNameError
from perfdb.operations import DTYPE_BYTES, canonical_dtype
from servecast.output import note, print_table

_ARGUMENTS = 6
Numbers = np.ndarray


Keys = Sequence[float]


@dataclass(frozen=True)
class Asked:
    """The arguments of one operation, a1 on ("": not read; the last `optional` are 1 where empty).

    Those from `keys` on tell tables apart; of rows that have the same ones, the others are asked for together.
    """

    arguments: tuple[str, ...]
    keys: slice
    ask: Callable[[Tables, str, Keys, Numbers], Answer]
    optional: int = 0


def _gemm(tables: Tables, dtype: str, _: Keys, a: Numbers) -> Answer:
    return tables.query_gemm(dtype, a[0], a[1], a[2])


def _context(tables: Tables, dtype: str, heads: Keys, a: Numbers) -> Answer:
    return tables.query_attention("context", dtype, Heads(*heads), a[0], a[1], a[2])


def _generation(tables: Tables, dtype: str, heads: Keys, a: Numbers) -> Answer:
    return tables.query_attention("generation", dtype, Heads(*heads), a[0], a[1])


def _message(op: str) -> Callable[[Tables, str, Keys, Numbers], Answer]:
    def ask(tables: Tables, dtype: str, devices: Keys, a: Numbers) -> Answer:
        return tables.query_message(op, a[0] * a[1] * DTYPE_BYTES.get(dtype, 2.0), *devices)

    return ask


def _experts(tables: Tables, dtype: str, layer: Keys, a: Numbers) -> Answer:
    return tables.query_experts(dtype, Experts(*layer[:4])._replace(moe_ep=layer[4]), a[0])


_HEADS = ("heads", "kv_heads", "head_dim")
_LAST_THREE = slice(3, 6)
OPERATIONS: Mapping[str, Asked] = {
    "gemm": Asked(("m", "n", "k"), slice(0), _gemm),
    "context_attention": Asked(("batch", "isl", "prefix", *_HEADS), _LAST_THREE, _context),
    "generation_attention": Asked(("batch", "tokens with the new one", "", *_HEADS), _LAST_THREE, _generation),
    **{op: Asked(("tokens", "hidden", "devices"), slice(2, 3), _message(op)) for op in MESSAGES},
    "moe": Asked(("tokens", "hidden", "inter", "topk", "experts", "moe_ep"), slice(1, 6), _experts, optional=1),
}
_SYNONYMS = {"custom_allreduce": "all_reduce", "allreduce": "all_reduce"}
_FROM_ZERO = {"prefix"}
_MOST = 1e15
"""More of anything no machine has, and products of several such numbers are still finite."""

Group = tuple[str, str, *tuple[float, ...]]


@dataclass(frozen=True)
class Questions:
    """n rows of a file by (op, dtype, keys): which rows, and their arguments `6 x rows`."""

    n: int
    groups: Mapping[Group, tuple[Numbers, Numbers]]

    def repeated(self, times: int) -> Questions:
        """The whole file so many times over."""
        shift = self.n * np.arange(times)[:, None]
        groups = {key: ((rows + shift).ravel(), np.tile(a, times)) for key, (rows, a) in self.groups.items()}
        return Questions(self.n * times, groups)


def read_questions(path: Path) -> Questions:
    """Rows of op, dtype, a1 .. a6 of a CSV; other columns are not read.

    Raises:
        FileError: it cannot be read, lacks a column, or a row holds what is no operation, format or number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError.unreadable(path, error, "a CSV of op, dtype, a1 .. a6") from error
    if not rows or not {"op", "dtype", "a1"} <= set(rows[0]):
        raise FileError(f"{path}: no rows of op, dtype, a1 .. a6; expected a header and one operation a row")
    groups: dict[Group, list[int]] = {}
    arguments = np.empty((len(rows), _ARGUMENTS))
    for number, row in enumerate(rows):
        op, dtype, arguments[number] = _read(row, f"{path}, row {number + 1}")
        groups.setdefault((op, dtype, *arguments[number, OPERATIONS[op].keys].tolist()), []).append(number)
    found = {key: (np.array(at), np.ascontiguousarray(arguments[at].T)) for key, at in groups.items()}
    return Questions(len(rows), found)


def _read(row: Mapping[str, Any], where: str) -> tuple[str, str, list[float]]:
    word = str(row["op"]).strip()
    op = _SYNONYMS.get(word, word)
    if op not in OPERATIONS:
        raise FileError(f"{where}: {UnknownNameError.of('operation', word, OPERATIONS)}")
    dtype = canonical_dtype(str(row["dtype"]))
    if dtype is None:
        raise FileError(f"{where}: unknown number format {row['dtype']!r}; expected bf16, fp8, fp8_block, int8 …")
    return op, dtype, _numbers(row, op, where)


def _numbers(row: Mapping[str, Any], op: str, where: str) -> list[float]:
    asked, numbers = OPERATIONS[op], [1.0] * _ARGUMENTS
    for place, name in enumerate(asked.arguments):
        text = (row.get(f"a{place + 1}") or "").strip()
        if not name or (not text and place >= len(asked.arguments) - asked.optional):
            continue
        lowest = 0.0 if name in _FROM_ZERO else 1.0
        number = _number(text)
        if not lowest <= number <= _MOST:
            right = f"the {name} of {op}, a number from {lowest:g} to {_MOST:g}"
            raise FileError.at(f"{where}, a{place + 1}", repr(text), right)
        numbers[place] = number
    return numbers


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def answer_questions(tables: Tables, asked: Questions) -> Answer:
    """Every row answered, `n`."""
    n = asked.n
    answer = Answer(np.empty(n), np.empty(n), np.empty(n, dtype=np.int8))
    for (op, dtype, *keys), (rows, arguments) in asked.groups.items():
        part = OPERATIONS[op].ask(tables, dtype, keys, arguments)
        answer.latency_s[rows], answer.rel_sd[rows], answer.code[rows] = part.latency_s, part.rel_sd, part.code
    return answer


def operation_times(path: Path, tables: Tables, bench: int = 0) -> dict[str, Any]:
    """The document of the command.

    Raises:
        FileError: see `read_questions`. InputError: `bench` is negative.
    """
    if bench < 0:
        raise InputError.at("--bench", f"{bench}", "how often to repeat the batch")
    asked = read_questions(path)
    started = time.process_time()
    answer = answer_questions(tables, asked)
    cpu_s = time.process_time() - started
    parts = zip(answer.latency_s.tolist(), answer.rel_sd.tolist(), answer.provenance, strict=True)
    rows = [{"latency_s": seconds, "rel_sd": sd, "provenance": name} for seconds, sd, name in parts]
    document: dict[str, Any] = {"rows": rows, "cpu_s": cpu_s, "warnings": sorted(tables.warnings.values())}
    if bench:
        many = asked.repeated(bench)
        started = time.process_time()
        answer_questions(tables, many)
        document["lookups_per_s"] = many.n / (time.process_time() - started)
    return document


def say_operations(document: Mapping[str, Any], path: Path) -> None:
    """A table on stdout; what stands in for what on stderr."""
    for warning in document["warnings"]:
        note(warning)
    rows = [
        [number, f"{row['latency_s'] * 1e6:.2f} µs", f"{row['rel_sd']:.1%}", row["provenance"]]
        for number, row in enumerate(document["rows"], 1)
    ]
    print_table([f"row of {path.name}", "latency", "± sd", "provenance"], rows)
