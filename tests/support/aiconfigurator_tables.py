"""What tables of aiconfigurator say of themselves, and the rows that they became."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from perfdb.store import Store

WHO = "'VLLM' AS framework, '0.24.0' AS version, 'NVIDIA H200' AS device"
SAID = "platform, engine, engine_version, op, dtype, kernel"


Table = Callable[..., Path]


def rows(store: Store, what: str) -> list[list[object]]:
    return store.sql(f"SELECT {what} FROM op_measurements ORDER BY source_id, source_row, op").rows
