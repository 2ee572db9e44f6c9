"""`capacity` for a person: a table, best first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servecast.output import note, print_table


def say_capacity(answer: Mapping[str, Any], most: int = 50) -> None:
    """One line per config; at most `most` of them."""
    rows = answer["rows"]
    unit = "requests/s" if answer["by"] == "rate" else "in flight"
    has_total = any(row.get("total") for row in rows)
    columns = [f"capacity ({unit})", "req/s", "req/s per device", "$/Mtok", "binds", "devices"]
    columns += ["replicas", "devices in all", "$/h in all"] if has_total else []
    print_table([*columns, "config"], [_cells(row, has_total) for row in rows[:most]])
    if len(rows) > most:
        note(f"{len(rows) - most} more; --json prints all")


def _cells(row: Mapping[str, Any], has_total: bool) -> list[object]:
    binds = row["binds"] or "nothing up to here"
    cells = [row["capacity"], row["request_tps"], row["request_tps_per_device"], row["cost_per_mtok"],
             row["reason"] or binds, row["devices"]]  # fmt: skip
    if has_total:
        total = row.get("total") or {}
        fits = total.get("fits", True)
        cells += [
            total.get("replicas"),
            total.get("devices"),
            total.get("usd_per_hour") if fits else "too many devices",
        ]
    return [*cells, row["config"]]
