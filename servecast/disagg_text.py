"""How the answers about two pools, and about both ways of serving, are told to a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from servecast.output import config_text, note, print_table
from servecast.whatif import interval_text, say_kernels

_SHOWN = ("ttft_s", "tpot_s", "output_tps")


def say_disagg(answer: Mapping[str, Any]) -> None:
    """A table of the deployments, best throughput per device first, and what was taken for granted."""
    rows = sorted(answer["rows"], key=lambda row: (not row["feasible"], -row["output_tps_per_gpu"]["mean"]))
    columns = [*(f"{name} [90 %]" for name in _SHOWN), "per GPU", "GPUs", "limit", "fits", "units of"]
    print_table(columns, [_cells(row) for row in rows])
    if len(rows) < answer["configs"]:
        note(f"{answer['configs'] - len(rows)} more; --top shows others, --json prints all")
    say_terms(answer, rows)
    if "explain" in answer:
        _say_explained(answer["explain"])


def _cells(row: Mapping[str, Any]) -> list[object]:
    limit = f"{row['limits']} {row['utilisation'][row['limits']]:.0%}"
    return [*_numbers(row), limit, row["reason"] or True, unit_text(row)]


def _numbers(row: Mapping[str, Any]) -> list[object]:
    gpus = f"{row['gpus']}" + (f" + {row['left_over']} left" if row["left_over"] else "")
    return [*(interval_text(row[name]) for name in _SHOWN), row["output_tps_per_gpu"]["mean"], gpus]


def unit_text(row: Mapping[str, Any]) -> str:
    """A deployment on one line: "2 x (4 h100_sxm tp=1 > 1 h200_sxm tp=4)"."""
    sides = [
        f"{row[pool]['workers']} {row[pool]['platform']} {config_text(row[pool]['config'])}".strip()
        for pool in ("prefill", "decode")
    ]
    return f"{row['replicas']} x ({' > '.join(sides)})"


def say_terms(answer: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """What stands behind the numbers: the link, the efficiency, and how sure they are."""
    note(f"KV caches move at {answer['link_bytes_s'] / 1e9:g} GB/s from device to device (--link)")
    if any(row["replicas"] > 1 for row in rows):
        note(f"each of several units serves {answer['efficiency']:.0%} of what it serves alone (--efficiency)")
    note("intervals of two pools are wide priors: none of the runs learned from had any (validated: false)")
    for warning in answer["warnings"]:
        note(warning)


def _say_explained(found: Mapping[str, Any]) -> None:
    stages = found["stages"]
    total = sum(stages.values())
    table = [
        [stage, f"{seconds * 1e3:.1f} ms", f"{seconds / total:.1%}", found["utilisation"].get(stage)]
        for stage, seconds in stages.items()
    ]
    title = f"\n{unit_text(found)}: limited by {found['limits']}"
    print_table(["a request in", "time", "share", "utilisation"], table, title)
    for step, shares in found["steps"].items():
        say_kernels(step, shares, found["active"])


def say_both(answer: Mapping[str, Any]) -> None:
    """Both ways on the same devices under the same load, those that keep the bounds first, most throughput first."""
    rows = answer["rows"]
    columns = ["mode", *(f"{name} [90 %]" for name in _SHOWN), "per GPU", "GPUs"]
    columns += [*(["SLO"] if answer["slo"] else []), "fits", "units of"]
    print_table(columns, [_both_cells(row) for row in rows])
    if len(rows) < answer["configs"]:
        note(f"{answer['configs'] - len(rows)} more; --top shows others, --json prints all")
    note(_compared(answer))
    say_terms(answer, rows)


def _compared(answer: Mapping[str, Any]) -> str:
    best, bounds = answer["best"], f" that keeps {', '.join(answer['slo'])}" if answer["slo"] else ""
    none = [name for name in ("agg", "disagg") if best[name] is None]
    if none:
        return f"no deployment of {' or '.join(none)}{bounds or ' fits'}"
    said = f"the best disagg deployment{bounds} has {best['ratio']:.2f} x the throughput per GPU of the best agg one"
    return f"{said} at this load, by central values"


def _both_cells(row: Mapping[str, Any]) -> list[object]:
    side = f"{row['platform']} {config_text(row['config'])}".strip() if row["mode"] == "agg" else ""
    unit = f"{row['replicas']} x ({side})" if side else None
    kept = [] if row["meets_slo"] is None else [row["meets_slo"]]
    return [row["mode"], *_numbers(row), *kept, row["reason"] or True, unit or unit_text(row)]
