"""`capacity` for a person: a table, best first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servecast.output import config_text, note, print_table
from servecast.predicting.disagg_text import unit_texts
from servecast.predicting.whatif_notes import link_text


def say_capacity(answer: Mapping[str, Any], most: int = 50) -> None:
    """One line per config, or unit of two pools; at most `most` of them, and what stands in for what."""
    rows = answer["rows"]
    shown = rows[:most]
    unit = "requests/s" if answer["by"] == "rate" else "in flight"
    has_total = any(row.get("total") for row in rows)
    columns = [f"capacity ({unit})", "req/s", "req/s per device", "$/Mtok", "binds"]
    columns += [*(["limit"] if any("limits" in row for row in rows) else []), "devices"]
    columns += ["replicas", "devices in all", "$/h in all"] if has_total else []
    is_pools = answer["mode"] == "disagg"
    names = (
        unit_texts([{**row, "replicas": 1} for row in shown])
        if is_pools
        else [config_text(row["config"]) for row in shown]
    )
    table = [[*_cells(row, has_total), name] for row, name in zip(shown, names, strict=True)]
    print_table([*columns, "one unit" if is_pools else "config"], table)
    if len(rows) > most:
        note(f"{len(rows) - most} more; --json prints all")
    if is_pools:
        note(link_text(answer))
    for text in answer["warnings"]:
        note(text)


def _cells(row: Mapping[str, Any], has_total: bool) -> list[object]:
    binds = row["binds"] or "nothing up to here"
    cells = [row["capacity"], row["request_tps"], row["request_tps_per_device"], row["cost_per_mtok"],
             row["reason"] or binds, *([row["limits"]] if "limits" in row else []), row["devices"]]  # fmt: skip
    if has_total:
        total = row.get("total") or {}
        fits = total.get("fits", True)
        cells += [
            total.get("replicas"),
            total.get("devices"),
            total.get("usd_per_hour") if fits else "too many devices",
        ]
    return cells
