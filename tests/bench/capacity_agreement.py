"""Capacities by the closed form against those by simulation, over configs and SLOs.

Run: `python tests/bench/capacity_agreement.py [disagg]`: prints the ratio closed form / simulation per question, of
whole servers or of units of two pools, then its median and 90th percentile. Both rest on the same step times, so this
is about queueing and batching only.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from perfdb.records import Scalar
from perfdb.store import Store
from servecast.loads.asked_load import asked_traffic
from servecast.predicting.capacity import capacity, question_of
from servecast.predicting.modes import mode_of
from servecast.predicting.whatif import WhatIf
from servecast.slo import parse_slos

SETS: Mapping[str, Mapping[str, tuple[Scalar, ...]]] = {
    "agg": {"max_num_seqs": (32, 256), "max_num_batched_tokens": (2048, 8192), "tensor_parallel_size": (1, 2)},
    "disagg": {"prefill.replicas": (1, 2), "decode.replicas": (1, 2), "decode.max_num_seqs": (32, 256)},
}
SLOS = {
    "agg": ("ttft_s<0.3,tpot_s<0.015", "ttft_s<1,tpot_s<0.03", "ttft_s_p90<0.5,tpot_s_p90<0.02"),
    "disagg": ("ttft_s<0.3,tpot_s<0.015", "ttft_s<1,tpot_s<0.03"),
}
LENGTHS = ((256, 64), (1024, 256), (4000, 100), (300, 900))


def main(mode: str = "agg") -> None:
    """Every question both ways, by rate and by concurrency."""
    ratios: dict[str, list[float]] = {"rate": [], "concurrency": []}
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name) / "none.duckdb")
        for by in ratios:
            for isl, osl in LENGTHS:
                for slo in SLOS[mode]:
                    found = [_capacities(store, (isl, osl), (by, slo), requests, mode) for requests in (None, 1000)]
                    pairs = [(found[0][key], found[1][key]) for key in found[0]]
                    ratios[by] += [a / b for a, b in pairs if a and b]
                    both = sum(bool(a) != bool(b) for a, b in pairs)
                    print(
                        by, isl, osl, slo, "ratios", [round(a / b, 2) for a, b in pairs if a and b], "one is 0:", both
                    )
    for by, values in ratios.items():
        off = np.abs(np.log(values))
        print(f"{by}: n {len(values)}, median |log ratio| {np.median(off):.3f}, p90 {np.quantile(off, 0.9):.3f}, "
              f"median ratio {np.median(values):.3f}")  # fmt: skip


def _capacities(
    store: Store, lengths: tuple[float, float], asked_for: tuple[str, str], requests: int | None, mode: str
) -> dict[str, float]:
    by, slo = asked_for
    load, traffic = asked_traffic(*lengths, None, by == "rate", requests is not None)
    asked = WhatIf("meta-llama/Llama-3.1-8B", "h100_sxm", "vllm", load.workload, SETS[mode])
    chosen = mode_of(mode, None, {}, None, None)
    rows = capacity(question_of(asked, traffic, by, parse_slos(slo), requests=requests, mode=chosen), store)["rows"]
    return {str(row.get("config") or (row["prefill"], row["decode"])): row["capacity"] for row in rows}


if __name__ == "__main__":
    main(*sys.argv[1:2])
