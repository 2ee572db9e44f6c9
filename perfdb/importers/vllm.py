"""The `vllm` importer: results of `vllm bench serve`, one JSON object per run, several in a row, or a list of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perfdb.batch import BadRow, Batch
from perfdb.errors import FileError
from perfdb.importers.content import whole_text
from perfdb.importers.importer import Importer, ReadSettings
from perfdb.importers.table.assemble import assemble
from perfdb.importers.table.cells import Texts
from perfdb.importers.table.frame import Table

_KEYS = (b'"num_prompts"', b'"request_rate"', b'"completed"', b'"model_id"')
_CLIENT = "vllm bench serve"


def sniff(head: bytes, path: Path) -> float:
    """0.9 for JSON with the keys that only `vllm bench serve` writes together, else 0."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith((b"{", b"[")):
        return 0.0
    return 0.9 if all(key in head for key in _KEYS) else 0.0


def read(path: Path, settings: ReadSettings) -> Iterator[Batch]:
    """One batch with all runs of the file.

    Raises:
        FileError: the file is no JSON, or holds no object.
        UnknownNameError: the settings name a field that does not exist.
    """
    documents = list(_documents(path))
    good: list[tuple[int, Mapping[str, Any]]] = []
    bad: list[BadRow] = []
    for number, document in enumerate(documents, 1):
        if isinstance(document, dict):
            good.append((number, _flat(document)))
        else:
            bad.append(BadRow(number, "", json.dumps(document)[:200], "not a JSON object"))
    if not good:
        raise FileError(f"{path}: no JSON object in it; expected one per run")
    yield assemble(_table(good, bad), settings)


def _documents(path: Path) -> Iterator[Any]:
    """Every run of the file: an object, the elements of a list, or one object after the other."""
    text = whole_text(path)
    if not text.strip():
        raise FileError(f"{path}: the file is empty; expected JSON")
    decoder = json.JSONDecoder()
    place = 0
    while place < len(text):
        while place < len(text) and text[place].isspace():
            place += 1
        if place == len(text):
            return
        try:
            document, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise FileError(f"{path}: line {error.lineno}: {error.msg}; expected complete JSON") from error
        except RecursionError as error:
            raise FileError(f"{path}: nested too deeply; expected one flat object per run") from error
        yield from document if isinstance(document, list) else (document,)


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Scalars by name; the per-request lists of --save-detailed are left out, objects become "outer.inner"."""
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": item for inner, item in value.items() if _is_scalar(item)}
        elif _is_scalar(value):
            flat[name] = value
    backend = flat.pop("backend", None)
    if backend is not None:
        # the backend names the client's protocol; only "vllm" says what served
        flat["engine" if backend == "vllm" else "client_backend"] = backend
    flat.setdefault("client", _CLIENT)
    return flat


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _table(documents: list[tuple[int, Mapping[str, Any]]], bad: list[BadRow]) -> Table:
    names = list(dict.fromkeys(name for _, document in documents for name in document))
    columns = tuple(_column([document.get(name) for _, document in documents]) for name in names)
    rows = np.array([number for number, _ in documents], dtype=np.int64)
    return Table(tuple(names), columns, rows, tuple(bad))


def _column(values: list[Any]) -> Texts:
    column = np.empty(len(values), dtype=object)
    column[:] = ["" if value is None else value if isinstance(value, str) else repr(value) for value in values]
    return column


IMPORTER = Importer("vllm", 1, sniff, read, "JSON of `vllm bench serve`")
