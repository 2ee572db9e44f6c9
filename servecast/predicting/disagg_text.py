"""How the answers about two pools, and about both ways of serving, are told to a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perfdb.facts.engines import ENGINES
from servecast.output import config_text, note, print_table
from servecast.predicting.whatif_notes import notes_of
from servecast.predicting.whatif_text import interval_text, say_kernels, slo_cells

_SHOWN = ("ttft_s", "tpot_s", "output_tps")
_SHORT = {
    name: parameter.role
    for facts in ENGINES.values()
    for name, parameter in facts.parameters.items()
    if parameter.role in {"tp", "pp", "dp", "ep"}
}
"""How a parameter that says how many devices there are is called in a unit's line."""


def say_disagg(answer: Mapping[str, Any]) -> None:
    """A table of the deployments, best throughput per device first, and what was taken for granted."""
    rows = sorted(answer["rows"], key=_rank)
    bounds = ["goodput [90 %]", "SLO"] if "slo" in answer else []
    columns = [*(f"{name} [90 %]" for name in _SHOWN), "per GPU", "GPUs", *bounds, "limit", "fits", "units of"]
    table = []
    for row, unit in zip(rows, unit_texts(rows), strict=True):
        limit = f"{row['limits']} {row['utilisation'][row['limits']]:.0%}"
        table.append([*_numbers(row), *(slo_cells(row) if bounds else []), limit, row["reason"] or True, unit])
    _say(answer, columns, table)
    if "explain" in answer:
        _say_explained(answer["explain"])


def say_both(answer: Mapping[str, Any]) -> None:
    """Both ways on the same devices under the same load, those that keep the bounds first, most throughput first."""
    rows = answer["rows"]
    columns = ["mode", *(f"{name} [90 %]" for name in _SHOWN), "per GPU", "GPUs"]
    columns += [*(["goodput [90 %]", "SLO"] if answer["slo"] else []), "fits", "units of"]
    table = []
    for row, unit in zip(rows, unit_texts(rows), strict=True):
        kept = [] if row["meets_slo"] is None else slo_cells(row)
        table.append([row["mode"], *_numbers(row), *kept, row["reason"] or True, unit])
    _say(answer, columns, table)


def _rank(row: Mapping[str, Any]) -> tuple[bool, bool, float]:
    return not row["feasible"], row.get("meets_slo") is False, -row["output_tps_per_gpu"]["mean"]


def _say(answer: Mapping[str, Any], columns: Sequence[str], table: Sequence[Sequence[object]]) -> None:
    print_table(columns, table)
    if len(table) < answer["configs"]:
        note(f"{answer['configs'] - len(table)} more; --top shows others, --json prints all")
    for text in notes_of(answer):
        note(text)


def _numbers(row: Mapping[str, Any]) -> list[object]:
    gpus = f"{row['gpus']}" + (f" + {row['left_over']} left" if row["left_over"] else "")
    return [*(interval_text(row[name]) for name in _SHOWN), row["output_tps_per_gpu"]["mean"], gpus]


def unit_texts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Deployments on one line each: "2 x (4 tp=1 > 1 tp=4)" of prefill and decode workers, "8 x (tp=2)" of servers.

    Platforms are named where the workers stand on several: "2 x (4 h100_sxm tp=1 > 1 h200_sxm tp=4)".
    """
    sides = [[row[pool] for pool in ("prefill", "decode")] if "prefill" in row else [row] for row in rows]
    is_named = len({side["platform"] for row in sides for side in row}) > 1
    return [
        f"{row['replicas']} x ({' > '.join(_side_text(side, is_named) for side in both)})"
        for row, both in zip(rows, sides, strict=True)
    ]


def _side_text(side: Mapping[str, Any], is_named: bool) -> str:
    count = [str(side["workers"])] if "workers" in side else []
    place = [side["platform"]] if is_named else []
    short = {_SHORT.get(name, name): value for name, value in side["config"].items()}
    return " ".join([*count, *place, config_text(short)])


def _say_explained(found: Mapping[str, Any]) -> None:
    stages = found["stages"]
    total = sum(stages.values())
    table = [
        [stage, f"{seconds * 1e3:.1f} ms", f"{seconds / total:.1%}", found["utilisation"].get(stage)]
        for stage, seconds in stages.items()
    ]
    title = f"\n{unit_texts([found])[0]}: limited by {found['limits']}"
    print_table(["a request in", "time", "share", "utilisation"], table, title)
    for step, shares in found["steps"].items():
        say_kernels(step, shares, found["active"])
