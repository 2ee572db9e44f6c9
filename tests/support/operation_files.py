"""Operation files as an importer describes them, and what storing them came to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from perfdb.batch import ImportCounts, Number, OperationFile, Reading, Source
from perfdb.errors import FileError
from perfdb.store import Store

Write = Callable[..., Path]
LATENCY = (Reading(Number(("ms",), per=1000)),)
MNK = {name: Number((name,)) for name in "mnk"}


def gemm(path: Path, **given: Any) -> OperationFile:
    description: dict[str, Any] = {"readings": LATENCY, "given": {"op": "gemm"}, "numbers": MNK, **given}
    return OperationFile(path, **description)


def put(store: Store, *files: OperationFile, replaces: tuple[int, ...] = ()) -> list[ImportCounts | FileError]:
    named = [
        (Source(str(file.path), f"{file.path} {file.path.read_bytes()!r}", "test"), file, replaces) for file in files
    ]
    return list(store.ingest_operations(named))


def only(store: Store, file: OperationFile) -> ImportCounts:
    (counts,) = put(store, file)
    assert isinstance(counts, ImportCounts)
    assert counts.rows_read == counts.stored + counts.duplicates + counts.quarantined
    return counts
