"""Reading small benchmark files, written by the tests, through the importers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.batch import Batch
from perfdb.importers.importer import ColumnRule, ReadSettings
from perfdb.importers.sniff import importer

Read = Callable[..., Batch]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def run(text: str | bytes, columns: dict[str, ColumnRule] | None = None, bare: bool = False, **given: str) -> Batch:
        path = tmp_path / "results.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        target = {} if bare else {"model": "Qwen/Qwen3-8B", "platform": "a10", "engine": "vllm"}
        (batch,) = importer("generic").read(path, ReadSettings(target | given, {}, columns or {}))
        return batch

    return run


@pytest.fixture
def read_json(tmp_path: Path) -> Read:
    def run(document: Any, **given: str) -> Batch:
        path = tmp_path / "run.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        (batch,) = importer("vllm").read(path, ReadSettings({"platform": "h200_sxm"} | given))
        return batch

    return run
