"""The `key_value` importer: text logs with lines "name: value".

Three kinds: what `vllm bench serve` and `sglang.bench_serving` print, any number of runs per log; APEX+'s logs of one
replica; and plain lists of metrics in any of the dialects of `dialect.py`, one run per file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from perfdb.batch import BadRow, Batch
from perfdb.errors import FileError
from perfdb.importers import apex_log
from perfdb.importers.bench_log import TITLE, runs
from perfdb.importers.content import whole_text
from perfdb.importers.documents import Record, table_of
from perfdb.importers.formats import sglang, vllm
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.cells import number
from perfdb.importers.table.dialect import meaning, unit_of
from perfdb.importers.table.fields import Kind

_ECHO = (b"Namespace(", b"dataset_name=", b"num_prompts=")
_LINE = re.compile(r"^\s*([A-Za-z][\w .#&/%()-]{0,80}?)\s*[:=]\s+(\S.*)$")
_QUANTITY = re.compile(r"^([-+]?[\d.,]+(?:e[-+]?\d+)?)\s*([A-Za-zµ%/]+)$", re.IGNORECASE)


def sniff(head: bytes, path: Path) -> float:
    """0.9 for a benchmark's printed block or an APEX+ log, 0.5 for lines of which one is a metric we know, else 0."""
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"{", b"[", b"<")):
        return 0.0
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    if all(word in head for word in apex_log.HEAD) or all(word in head for word in _ECHO):
        return 0.9
    if any(TITLE.match(line.strip()) for line in lines):
        return 0.9
    pairs = _pairs(lines)
    is_list = 2 * len(pairs) > sum(bool(line.strip()) for line in lines)
    return 0.5 if is_list and any(_is_metric(name, value) for name, value in pairs) else 0.0


def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
    """One batch with a record per run.

    Raises:
        FileError: the file holds no run, or a log lacks the numbers at its end.
    """
    text = whole_text(path)
    warnings: list[str] = []
    if not text.strip():
        raise FileError(f"{path}: the file is empty")
    if any(TITLE.match(line.strip()) for line in text.splitlines()):
        records: list[Record | BadRow] = [each for run in runs(text) for each in _records(run, path)]
    elif all(word.decode() in text for word in apex_log.HEAD):
        records = [apex_log.record(text, path, warnings)]
    else:
        records = [_listed(text.splitlines(), path)]
    table = table_of(records, path)
    yield assemble(replace(table, warnings=(*table.warnings, *warnings)), settings)


def _records(run: Mapping[str, Any] | BadRow, path: Path) -> Iterator[Record | BadRow]:
    """A printed run as the importer of the tool's own JSON reads it."""
    if isinstance(run, BadRow):
        yield run
        return
    document = {name: value for name, value in run.items() if name not in {"command", "model"}}
    # sglang's block alone counts tokens twice
    if "total_output_tokens_retokenized" in run:
        own = {"model": "model", "num_prompts": "requests", "warmup_requests": "warmup_requests"}
        said = {name: run[argument] for argument, name in own.items() if argument in run}
        found = sglang.records({name: _plain(value) for name, value in document.items()}, path)
    else:
        said = {}
        found = vllm.records({**document, "model_id": run.get("model")}, path)
    yield from ({**record, **said, "extra.command": run.get("command")} for record in found)


def _plain(value: Any) -> Any:
    found = number(value) if isinstance(value, str) else None
    return value if found is None else found


def _pairs(lines: list[str]) -> list[tuple[str, str]]:
    return [(found[1], found[2]) for line in lines if (found := _LINE.match(line.rstrip()))]


def _is_metric(name: str, value: str) -> bool:
    label, text = _quantity(name, value)
    found = meaning(label)
    return found is not None and found.kind is Kind.METRIC and number(text) is not None


def _quantity(name: str, value: str) -> tuple[str, str]:
    """ "Mean TTFT", "12.3 ms" -> "Mean TTFT (ms)", "12.3"."""
    found = _QUANTITY.match(value)
    return (f"{name} ({found[2]})", found[1]) if found and unit_of(found[2]) else (name, value)


def _listed(lines: list[str], path: Path) -> Record:
    """The record of a plain list."""
    record: dict[str, str] = {}
    for name, value in _pairs(lines):
        label, text = _quantity(name, value)
        if label in record and _is_metric(name, value):
            raise FileError(f"{path}: {label!r} stands twice; expected one run per file")
        record.setdefault(label, text)
    if not any(_is_metric(name, value) for name, value in record.items()):
        raise FileError(
            f'{path}: no line "name: value" names a metric that we know; expected one such as "Mean TTFT (ms): 12"'
        )
    return record


IMPORTER = Importer("key_value", 1, sniff, read, 'logs with lines "name: value", such as a printed benchmark result')
