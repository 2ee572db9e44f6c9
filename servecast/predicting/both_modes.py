"""Prefill and decode together or apart: both ways on the same devices under the same load."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from math import ceil, isnan
from typing import Any

import numpy as np

from model.disagg.rate_match import FILLED
from model.disagg.units import POOLS
from model.load import load_of
from perfdb.errors import InputError
from perfdb.records import Workload
from perfdb.store import Store
from servecast.predicting.disagg import DisaggAsked, ask, kept_by_pools, rows_of, terms_of
from servecast.predicting.goodput import judged_row
from servecast.predicting.replicated import of_all, share_of_one
from servecast.predicting.whatif import surrogate
from servecast.predicting.whatif_rows import rows_of_grid, shown_of
from servecast.slo import Slo, met
from servecast.tuning.space import devices_of

WAYS = ("agg", "disagg")
_ALL = 0.99
"""Share of a rate from which on all of it is served."""


def both_modes(asked: DisaggAsked, slos: tuple[Slo, ...], store: Store, most: int | None = None) -> dict[str, Any]:
    """Predict aggregated replicas and disaggregated units that share `devices`; returns the document of the command.

    Parameters of one pool count for that pool alone, all others for both ways. Aggregated replicas are of the prefill
    pool's platform.

    Args:
        asked: the question. slos: bounds that central values must keep. store: what is known. most: "rows" holds only
            so many configs, first those that fit and keep the bounds, of these those of the best throughput.

    Raises:
        InputError: it is not said how many devices there are, or a metric cannot be bounded; else as
            `servecast.predicting.disagg.ask` and `servecast.predicting.whatif.whatif`.
    """
    if asked.sharing.devices is None:
        raise InputError.at("--mode both", "no number of devices", "--devices, which both ways share out")
    if np.isfinite(asked.sharing.router_limit):
        raise InputError.at("--router-limit", "--mode both", "--mode disagg")
    started = time.process_time()
    pair = ask(asked, store)
    kept_by_pools(pair, slos)
    rows = _aggregated(asked, store, asked.sharing.devices, slos)
    is_open = bool(load_of(asked.asked.workload, 1).is_open[0])
    for row in rows_of(asked, pair, np.arange(len(pair.answer.feasible)), slos):
        count, busy = row["replicas"], max(row["utilisation"].values())
        needed = _needed(count, busy, row["gpus"] // count) if is_open else None
        rows.append({"mode": "disagg", "gpus_needed": needed, **row})
    kept = met(slos, {slo.name: np.array([row[slo.name]["mean"] for row in rows]) for slo in slos}) if slos else None
    for place, row in enumerate(rows):
        row.update(
            {"meets_slo": None} if kept is None else judged_row(row, slos, bool(kept[place]), asked.asked.workload)
        )
    rows.sort(key=lambda row: (not row["feasible"], row["meets_slo"] is False, -row["output_tps"]["mean"]))
    document = {
        "mode": "both",
        "rows": rows if most is None else rows[:most],
        "configs": len(rows),
        "slo": [str(slo) for slo in slos],
        "best": _best(rows, asked.asked.workload),
        **terms_of(pair),
    }
    return {**document, "cpu_s": time.process_time() - started}


def _best(rows: list[dict[str, Any]], workload: Workload) -> dict[str, Any]:
    """The most output tokens/s per device there is (also of those left over) of either way that fits and keeps the
    bounds, and their ratio; where both carry a given rate that says nothing, and "carried" holds of either way the
    fewest devices that do and the least of their e2e_s."""
    good = {mode: [row for row in rows if row["mode"] == mode and _is_good(row)] for mode in WAYS}
    found: dict[str, Any] = {
        mode: max((row["output_tps"]["mean"] / (row["gpus"] + row["left_over"]) for row in good[mode]), default=None)
        for mode in WAYS
    }
    carry = {mode: [row for row in good[mode] if _carries(row, workload)] for mode in WAYS}
    if all(carry.values()):
        return {**found, "ratio": None, "carried": {mode: _cheapest(carry[mode]) for mode in WAYS}}
    agg, disagg = (found[mode] for mode in WAYS)
    return {**found, "ratio": None if agg is None or disagg is None else disagg / agg}


def _is_good(row: Mapping[str, Any]) -> bool:
    return bool(row["feasible"]) and row["meets_slo"] is not False


def _carries(row: Mapping[str, Any], workload: Workload) -> bool:
    """Whether requests come at a rate of their own, and all of them are served."""
    wanted = (workload.request_rate or 0.0) * (workload.osl or 0.0)
    return row["gpus_needed"] is not None and row["output_tps"]["mean"] >= _ALL * wanted


def _cheapest(rows: list[dict[str, Any]]) -> dict[str, float]:
    least: int = min(row["gpus_needed"] for row in rows)
    return {
        "gpus_needed": least,
        "e2e_s": min(row["e2e_s"]["mean"] for row in rows if row["gpus_needed"] == least),
        "shortest_e2e_s": min(row["e2e_s"]["mean"] for row in rows),
    }


def _needed(count: int, busy: float, size: int) -> int:
    """Devices of the fewest of `count` replicas of `size` devices that carry what keeps all of them so `busy`."""
    return min(max(ceil(count * busy / FILLED), 1), max(count, 1)) * size


def _aggregated(asked: DisaggAsked, store: Store, there: int, slos: tuple[Slo, ...]) -> list[dict[str, Any]]:
    """Rows of as many replicas of each config as there are devices for, with what `slos` bound."""
    plain = {name: values for name, values in asked.asked.sets.items() if name.partition(".")[0] not in POOLS}
    question = replace(asked.asked, sets=plain, devices=None)
    model, grid = surrogate(store), question.grid()
    found: dict[int, dict[str, Any]] = {}
    for places, part in question.questions(grid, model.scenarios):
        size = devices_of(part.grid, question.facts)
        replicas = there // size
        load, worth = share_of_one(load_of(part.workload, len(size)), replicas, asked.sharing.efficiency)
        names = tuple(dict.fromkeys([*shown_of(part.platform), *(slo.name for slo in slos)]))
        answer = of_all(model.predict(part, names, load), worth, replicas)
        busy = answer.utilisation.tolist()
        rows = rows_of_grid(answer, part.grid, np.arange(len(size)))
        columns = places.tolist(), rows, size.tolist(), replicas.tolist()
        for at, (place, row, taken, count) in enumerate(zip(*columns, strict=True)):
            lacks = None if count else f"takes {taken} devices, there are {there}"
            fits = {"feasible": row["feasible"] and count > 0, "reason": lacks or row["reason"]}
            used = count * taken
            own = {"mode": "agg", "platform": part.platform.name, "replicas": count, "gpus": used}
            least = None if isnan(busy[at]) else _needed(count, busy[at], taken)
            found[place] = {**own, "left_over": there - used, "gpus_needed": least, **row, **fits}
    return [found[place] for place in range(len(grid))]
