"""Commands that measure with the fake worker, what it was asked, and what a database got of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perfdb.store import Store

SUPPORT = Path(__file__).resolve().parent
MISBEHAVE = Callable[..., None]
CPU = ("collect", "ops", "--device", "cpu", "--out", "o", "--threads", "1")
OPS = (*CPU, "--library", "torch", "--python", "./python")
TINY = (*OPS, "--grid", "tiny")


def asked(folder: Path) -> list[dict[str, Any]]:
    """What the worker was asked, over all of its lives."""
    return [json.loads(line) for line in (folder / "asked.jsonl").read_text().splitlines()]


def stored(folder: Path, *columns: str) -> list[list[Any]]:
    return Store(folder / "d.duckdb").sql(f"SELECT {', '.join(columns)} FROM op_measurements ORDER BY source_row").rows
