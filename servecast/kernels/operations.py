"""Operation times for a file of questions: one answer per row, in its order; a row that cannot be answered says why."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.tables.answer import Answer
from model.tables.library import Tables
from perfdb.errors import FileError, InputError, UnknownNameError
from perfdb.operations import canonical_dtype
from perfdb.texts import printable
from servecast.kernels.operation_kinds import (
    LOWEST,
    MOST_ARGUMENTS,
    NOT_ABOVE,
    OPERATIONS,
    SYNONYMS,
    Asked,
    Formats,
    Numbers,
)
from servecast.output import note, print_table

_MOST = 1e15
"""More of anything no machine has, and products of several such numbers are still finite."""

_COLUMNS = ("op", "dtype", "a1")
"""Those that no file goes without."""
_UNANSWERED = "-"

Group = tuple[str, Formats, *tuple[float, ...]]


@dataclass(frozen=True)
class Questions:
    """n rows of a file by (op, formats, keys): which rows, and their arguments, `MOST_ARGUMENTS x rows`; `errors` say
    what is wrong with the others, by row."""

    n: int
    groups: Mapping[Group, tuple[Numbers, Numbers]]
    errors: Mapping[int, str] = field(default_factory=dict)

    def repeated(self, times: int) -> Questions:
        """The whole file so many times over."""
        shift = self.n * np.arange(times)[:, None]
        groups = {key: ((rows + shift).ravel(), np.tile(a, times)) for key, (rows, a) in self.groups.items()}
        return Questions(self.n * times, groups)


def read_questions(path: Path) -> Questions:
    """Rows of op, dtype, a1, a2, … and kv_dtype of a CSV; other columns are not read.

    Raises:
        FileError: it cannot be read, lacks a column, or not one row holds a known operation, format and numbers.
    """
    rows = _rows(path)
    groups: dict[Group, list[int]] = {}
    arguments, errors = np.ones((len(rows), MOST_ARGUMENTS)), {}
    for number, row in enumerate(rows):
        try:
            op, formats, arguments[number] = _read(row, f"{path}, row {number + 1}")
        except FileError as error:
            errors[number] = str(error)
            continue
        groups.setdefault((op, formats, *arguments[number, OPERATIONS[op].keys].tolist()), []).append(number)
    if not groups:
        raise FileError(errors[0])
    found = {key: (np.array(at), np.ascontiguousarray(arguments[at].T)) for key, at in groups.items()}
    return Questions(len(rows), found, errors)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError.unreadable(path, error, "a CSV of op, dtype, a1, a2 …") from error
    lacking = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if rows and lacking:
        raise FileError.at(str(path), f"no column {' and none '.join(lacking)}", f"a header of {', '.join(_COLUMNS)} …")
    if not rows:
        raise FileError(f"{path}: no rows of op, dtype, a1 .. a6; expected a header and one operation a row")
    return rows


def _read(row: Mapping[str, Any], where: str) -> tuple[str, Formats, list[float]]:
    word = str(row["op"]).strip().lower()
    op = SYNONYMS.get(word, word)
    if op not in OPERATIONS:
        raise FileError(f"{where}: {UnknownNameError.of('operation', word, OPERATIONS)}")
    cache = (row.get("kv_dtype") or "").strip()
    formats = Formats(_format(row["dtype"], where), _format(cache, where) if cache else None)
    return op, formats, _numbers(row, OPERATIONS[op], f"{where}, ", op)


def _format(name: object, where: str) -> str:
    found = canonical_dtype(str(name))
    if found is None:
        raise FileError(f"{where}: unknown number format {name!r}; expected bf16, fp8, fp8_block, int8 …")
    return found


def _numbers(row: Mapping[str, Any], asked: Asked, where: str, op: str) -> list[float]:
    numbers = [1.0] * MOST_ARGUMENTS
    told = len(asked.arguments) - len(asked.defaults)
    for place, name in enumerate(asked.arguments):
        text = (row.get(f"a{place + 1}") or "").strip()
        if not text and place >= told:
            numbers[place] = asked.defaults[place - told]
        elif name:
            numbers[place] = _number(text, name, f"{where}a{place + 1}", op)
    _check_keys(dict(zip(asked.arguments, numbers, strict=False)), asked, where, op)
    return numbers


def _check_keys(said: Mapping[str, float], asked: Asked, where: str, op: str) -> None:
    """What tells kernels apart is counted, and no part of it may be more than there is of the whole."""
    for place in range(*asked.keys.indices(len(asked.arguments))):
        name = asked.arguments[place]
        number, most = said[name], said[NOT_ABOVE[name]] if name in NOT_ABOVE else _MOST
        if name != "skew" and (number % 1.0 or number > most):
            whole = f"the {name} of {op}, a whole number"
            right = f"{whole} up to the {NOT_ABOVE[name]}, {most:g}" if name in NOT_ABOVE else whole
            raise FileError.at(f"{where}a{place + 1}", repr(f"{number:g}"), right)


def _number(text: str, name: str, where: str, op: str) -> float:
    lowest = LOWEST.get(name, 1.0)
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not lowest <= number <= _MOST:
        raise FileError.at(where, repr(text), f"the {name} of {op}, a number from {lowest:g} to {_MOST:g}")
    return number


def answer_questions(tables: Tables, asked: Questions) -> Answer:
    """Every row answered, `n`; seconds are NaN where a row has an error."""
    n = asked.n
    answer = Answer(np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, dtype=np.int8))
    for (op, formats, *keys), (rows, arguments) in asked.groups.items():
        part = OPERATIONS[op].ask(tables, formats, keys, arguments)
        answer.latency_s[rows], answer.rel_sd[rows], answer.code[rows] = part.latency_s, part.rel_sd, part.code
    return answer


def operation_times(path: Path, tables: Tables, bench: int = 0) -> dict[str, Any]:
    """The document of the command; a row with an "error" has None for its numbers.

    Raises:
        FileError: see `read_questions`. InputError: `bench` is negative.
    """
    if bench < 0:
        raise InputError.at("--bench", f"{bench}", "how often to repeat the batch")
    asked = read_questions(path)
    started = time.process_time()
    answer = answer_questions(tables, asked)
    cpu_s = time.process_time() - started
    document: dict[str, Any] = {
        "rows": _described(answer, asked.errors),
        "cpu_s": cpu_s,
        "warnings": [*sorted(tables.warnings.values()), *_counted(asked)],
    }
    if bench:
        many = asked.repeated(bench)
        started = time.process_time()
        answer_questions(tables, many)
        document["lookups_per_s"] = many.n / (time.process_time() - started)
    return document


def _described(answer: Answer, errors: Mapping[int, str]) -> list[dict[str, Any]]:
    parts = zip(answer.latency_s.tolist(), answer.rel_sd.tolist(), answer.provenance, strict=True)
    rows: list[dict[str, Any]] = [
        {"latency_s": seconds, "rel_sd": sd, "provenance": name} for seconds, sd, name in parts
    ]
    for number, error in errors.items():
        rows[number] = {"latency_s": None, "rel_sd": None, "provenance": None, "error": error}
    return rows


def _counted(asked: Questions) -> list[str]:
    if not asked.errors:
        return []
    first = next(iter(asked.errors.values()))
    return [f"{len(asked.errors)} of {asked.n} rows cannot be answered, and say why; the first: {first}"]


def say_operations(document: Mapping[str, Any], path: Path) -> None:
    """A table on stdout and below it why rows have no answer; what stands in for what on stderr, and how many have
    none."""
    for warning in document["warnings"]:
        note(warning)
    rows = [_cells(number, row) for number, row in enumerate(document["rows"], 1)]
    print_table([f"row of {path.name}", "latency", "± sd", "provenance"], rows)
    for row in document["rows"]:
        if "error" in row:
            print(printable(row["error"]))


def _cells(number: int, row: Mapping[str, Any]) -> Sequence[object]:
    if "error" in row:
        return [number, _UNANSWERED, _UNANSWERED, _UNANSWERED]
    return [number, f"{row['latency_s'] * 1e6:.2f} µs", f"{row['rel_sd']:.1%}", row["provenance"]]
