"""Goodput that `whatif` predicts beside that which `simulate` counts, on random loads and bounds.

    python tests/bench/goodput_agreement.py [first seed] [cases]

Bounds are a random multiple of the predicted means, so that about half of the requests keep them. Needs no data. Prints
each case, and of the share of requests that keep the bounds the median and 90 % point of the difference.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from perfdb.lengths import Lengths
from perfdb.records import Arrival, Workload
from perfdb.store import Store
from servecast.predicting.whatif import WhatIf, whatif
from servecast.simulation.simulating import Simulation, simulate
from servecast.slo import Slo

MODEL, PLATFORM, ENGINE = "meta-llama/Llama-3.1-8B", "h100_sxm", "vllm"


def load_of(draw: Random) -> Workload:
    """Equal lengths or normal ones, in a closed loop or at a rate."""
    isl, osl = draw.choice((256, 1024, 3000)), draw.choice((64, 200, 500))
    text = f"D({isl},{osl})" if draw.random() < 0.5 else f"N({isl},{isl // 2})/({osl},{osl // 2})"
    lengths = Lengths.parse(text)
    if draw.random() < 0.5:
        return Workload(lengths.isl, lengths.osl, Arrival.CLOSED, draw.choice((8, 32, 96)), lengths=text)
    rate = draw.uniform(0.2, 0.7) * 60_000 / (isl + 12 * osl)
    return Workload(lengths.isl, lengths.osl, Arrival.POISSON, request_rate=rate, lengths=text)


def case(seed: int, store: Store) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What is asked, predicted and simulated."""
    draw = Random(seed)
    load = load_of(draw)
    asked = WhatIf(MODEL, PLATFORM, ENGINE, load, {})
    [plain] = whatif(asked, store)["rows"]
    names = draw.choice((("ttft_s",), ("tpot_s",), ("e2e_s",), ("ttft_s", "tpot_s")))
    slos = tuple(Slo(name, plain[name]["mean"] * draw.uniform(0.85, 1.35)) for name in names)
    [row] = whatif(asked, store, slos=slos)["rows"]
    run = simulate(Simulation(MODEL, PLATFORM, ENGINE, {}, None, load, 3000, seed, store, slos))
    return f"{load.lengths} {load.concurrency or load.request_rate:.4g} {', '.join(map(str, slos))}", row, run


def main() -> None:
    """Print the cases and their differences."""
    first, count = (int(word) for word in [*sys.argv[1:], "0", "8"][:2])
    found = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "none.duckdb")
        for seed in range(first, first + count):
            text, row, run = case(seed, store)
            shares, rates = (
                (row["slo_share"]["mean"], run["slo_share"]),
                (row["goodput_rps"]["mean"], run["goodput_rps"]),
            )
            print(f"{text}: share {shares[0]:.2f} simulated {shares[1]:.2f}, {rates[0]:.3g} and {rates[1]:.3g} /s")
            found.append(abs(shares[0] - shares[1]))
    print(f"difference of shares, n {count}: median {np.median(found):.3f}, p90 {np.quantile(found, 0.9):.3f}")


if __name__ == "__main__":
    main()
