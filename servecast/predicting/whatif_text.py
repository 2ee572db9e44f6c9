"""`whatif` for a person: configs with their intervals, and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from servecast.output import cell_text, config_text, note, print_table
from servecast.predicting.whatif_notes import notes_of
from servecast.predicting.whatif_rows import PRICE, rank_of

_MAIN = ("ttft_s", "tpot_s", "output_tps")


def say_whatif(answer: Mapping[str, Any]) -> None:
    """A table of the answer: what keeps the bounds first, of that the best throughput."""
    rows = sorted(answer["rows"], key=rank_of)
    is_priced = all(PRICE in row for row in rows)
    is_bound = "slo" in answer
    columns = [*(f"{name} [90 %]" for name in _MAIN), *(["$/Mtok"] if is_priced else [])]
    columns += [*(["goodput [90 %]", "SLO"] if is_bound else []), "fits", "from", "config"]
    table = []
    for row, config in zip(rows, _configs(rows), strict=True):
        cells: list[object] = [interval_text(row[name]) for name in _MAIN]
        cells += [row[PRICE]["mean"]] if is_priced else []
        cells += slo_cells(row) if is_bound else []
        table.append([*cells, row["reason"] or True, row["provenance"], config])
    print_table(columns, table)
    if len(rows) < answer["configs"]:
        note(f"{answer['configs'] - len(rows)} more; --top shows others, --json prints all")
    for text in notes_of(answer):
        note(text)
    if "explain" in answer:
        _say_explained(answer["explain"])


def slo_cells(row: Mapping[str, Any]) -> list[object]:
    """Requests/s that keep all bounds, and whether central values do."""
    return [interval_text(row["goodput_rps"]), row["meets_slo"]]


def _configs(rows: Sequence[Mapping[str, Any]]) -> Sequence[object]:
    """What rows are called: their parameters, with several servers how many there are, and devices that none takes."""
    if any(row.get("replicas", 1) > 1 or row.get("left_over") for row in rows):
        return [f"{row['replicas']} x ({config_text(row['config'])}){_left_text(row['left_over'])}" for row in rows]
    return [row["config"] for row in rows]


def _left_text(devices: int) -> str:
    return f" + {devices} device{'' if devices == 1 else 's'} left" if devices else ""


def _say_explained(found: Mapping[str, Any]) -> None:
    from servecast.predicting.memory_account import say_memory

    parts = found["first_token"]
    total = sum(parts.values())
    table = [[name, f"{part * 1e3:.1f} ms", f"{part / total:.1%}"] for name, part in parts.items()]
    print_table(["a first token takes", "time", "share"], table, f"\nfirst token: {total * 1e3:.1f} ms")
    for step in ("prefill", "decode"):
        say_kernels(step, found[step], found["active"])
    say_memory(found["memory"])


def say_kernels(step: str, shares: Sequence[Mapping[str, Any]], active: float) -> None:
    """A table of the kernels of a "prefill" step, or a "decode" step of `active` sequences."""
    of = "one prompt's chunk" if step == "prefill" else f"{active:.0f} sequences"
    total = sum(share["seconds"] for share in shares)
    table = [
        [share["name"], f"{share['seconds'] * 1e3:.3f} ms", f"{share['share']:.1%}", share["provenance"]]
        for share in shares
    ]
    print_table([step, "time", "share", "from"], table, f"\n{step} step of {of}: {total * 1e3:.2f} ms")


def interval_text(interval: Mapping[str, float] | None) -> str:
    """The mean and its 90 % interval."""
    if interval is None:
        return cell_text(None)
    return f"{cell_text(interval['mean'])} [{cell_text(interval['lo'])}, {cell_text(interval['hi'])}]"
