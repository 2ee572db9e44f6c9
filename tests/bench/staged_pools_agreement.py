"""Pools of pipelines, and of ranks that share experts: the closed form against `simulate --mode disagg`.

Run: `python tests/bench/staged_pools_agreement.py [SEED] [SCENARIOS]`: prints |log(closed form / simulation)| of mean
TTFT, mean TPOT and requests per second over random scenarios by kind of worker and of load: median, 90th percentile,
and the median with its sign. Rates are 0.3 to 0.8 of what the closed form serves at most; runs of 1,000 requests begin
and end idle, which costs throughput at short ones.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from model.disagg.units import Sharing
from perfdb.records import Arrival, Scalar, Workload
from perfdb.store import Store
from servecast.predicting.disagg import DisaggAsked, disagg
from servecast.predicting.modes import Mode
from servecast.predicting.whatif import WhatIf
from servecast.simulation.simulating import Simulation, served

MODELS = {"pp": "meta-llama/Llama-3.1-8B", "dp": "deepseek-ai/DeepSeek-V2-Lite"}
METRICS = ("ttft_s", "tpot_s", "request_tps")
PLACE, ENGINE = "h100_sxm", "vllm"


def predicted(which: str, sets: Mapping[str, Scalar], load: Workload, store: Store) -> dict[str, float]:
    """The closed form's means."""
    asked = WhatIf(MODELS[which], PLACE, ENGINE, load, {name: (value,) for name, value in sets.items()})
    [row] = disagg(DisaggAsked(asked, None, Sharing()), store)["rows"]
    return {name: row[name]["mean"] for name in METRICS}


def simulated(which: str, sets: Mapping[str, Scalar], load: Workload) -> dict[str, float]:
    """The simulator's means."""
    asked = Simulation(MODELS[which], PLACE, ENGINE, sets, workload=load, requests=load.requests or 0)
    found: dict[str, Any] = served(asked, Mode("disagg", Sharing()))
    return {name: found[name] if name == "request_tps" else found[name]["mean"] for name in METRICS}


def scenario(
    random: np.random.Generator, which: str, is_open: bool, store: Store
) -> tuple[dict[str, Scalar], Workload]:
    """Two pools of which at least one is not plain, and a load, drawn at random."""
    isl, osl = int(random.integers(200, 4000)), int(random.integers(30, 300))
    concurrency = int(2 ** random.uniform(1, 7))
    one, other = (int(size) for size in random.choice([1, 2, 4], 2))
    sets: dict[str, Scalar] = {f"prefill.{which}": one, f"decode.{which}": max(other, 2 if one == 1 else 1)}
    sets |= {f"{pool}.replicas": int(random.choice([1, 2])) for pool in ("prefill", "decode")}
    if which == "dp":
        sets["enable_expert_parallel"] = True
    requests, lengths = max(10 * concurrency, 300), f"D({isl},{osl})"
    load = Workload(isl, osl, Arrival.CLOSED, concurrency, requests=requests, lengths=lengths)
    if is_open:
        most = predicted(which, sets, replace(load, concurrency=5000), store)["request_tps"]
        rate = float(random.uniform(0.3, 0.8) * most)
        load = replace(load, arrival=Arrival.POISSON, concurrency=None, request_rate=rate, requests=1000)
    return sets, load


def main(seed: int = 0, scenarios: int = 16) -> None:
    """Every scenario both ways."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "none.duckdb")
        for which in MODELS:
            for kind in ("closed", "rate"):
                random = np.random.default_rng(seed)
                asked = [scenario(random, which, kind == "rate", store) for _ in range(scenarios)]
                pairs = [(predicted(which, *each, store), simulated(which, *each)) for each in asked]
                for name in METRICS:
                    off = np.array([np.log(ours[name] / theirs[name]) for ours, theirs in pairs])
                    low, high = np.quantile(np.abs(off), [0.5, 0.9])
                    print(f"{which} {kind:6} {name:11} {low:.3f} / {high:.3f} ({np.median(off):+.3f}), n {len(off)}")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))
