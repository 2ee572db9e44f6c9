"""Two pools as `simulate --mode disagg` serves them, against the closed form and against `disagg_agreement.py`'s plain
simulation of both, on its random scenarios and the same step times.

Run: `python tests/bench/pools_agreement.py [SEED] [SCENARIOS]`: prints |log ratio| of mean TTFT, mean TPOT and
throughput by kind of load: median and 90th percentile, and the median of closed form / simulation with its sign. The
plain one has no queue for the link, and lets requests into the decode pool by the mean room that they take.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from model.disagg.pools import link_bytes_s, moved_bytes
from model.simulate.engine import vllm_settings
from model.simulate.pools import PoolEngines, Pools, simulate_pools
from model.simulate.trace import unshared
from model.steps.overheads import overheads
from tests.bench.disagg_agreement import ENGINE, ZERO, Scenario, scenario, simulated

PERCENTILES = (("ttft_s", 50), ("ttft_s", 90), ("ttft_s", 99), ("tpot_s", 90), ("tpot_s", 99), ("e2e_s", 90))
"""Of latencies, those that rows hold."""


def served(case: Scenario) -> Mapping[str, float]:
    """Mean latencies of all requests and their percentiles, and output tokens/s of the middle three fifths."""
    cap, n = case.workload.concurrency or 0, len(case.prompt)
    trace = unshared(np.zeros(n) if cap else case.due, case.prompt.astype(np.int64), case.output.astype(np.int64), cap)
    prefill, decode = (
        PoolEngines(count, vllm_settings(pool.points, {}, each), costs)
        for count, pool, costs, each in zip(
            case.workers,
            case.pools,
            case.costs,
            (replace(trace, output=np.ones_like(trace.output)), trace),
            strict=True,
        )
    )
    link = link_bytes_s(*(pool.points.platform for pool in case.pools)) * case.pools[1].points.load.isl[0]
    send_s, take_s = (float(moved[0] / link) for moved in moved_bytes(*case.pools, ZERO, ZERO))
    run, added = simulate_pools(trace, Pools(prefill, decode, send_s, take_s)).answers, overheads(ENGINE)
    latencies = run.latencies(2 * added.request_s, added.token_s)
    means = {name: each.mean() for name, each in latencies.items()}
    means |= {f"{name}_p{p}": float(np.quantile(latencies[name], p / 100)) for name, p in PERCENTILES}
    ends, low, high = np.sort(run.served.last_s), n // 5, n - n // 5
    return means | {"output_tps": (high - low) / (ends[high] - ends[low]) * case.output.mean()}


def main(seed: int = 0, scenarios: int = 20) -> None:
    """Every scenario all three ways."""
    random = np.random.default_rng(seed)
    for kind in ("closed", "rate"):
        cases = [scenario(random, kind == "rate") for _ in range(scenarios)]
        ours = [served(case) for case in cases]
        others = {"closed form": [case.closed_form for case in cases], "plain": [simulated(case) for case in cases]}
        for name in ("ttft_s", "tpot_s", "output_tps"):
            for which, found in others.items():
                off = np.array([np.log(each[name] / one[name]) for each, one in zip(found, ours, strict=True)])
                low, high = np.quantile(np.abs(off), [0.5, 0.9])
                print(f"{kind:6} {name:10} {which:11} {low:.3f} / {high:.3f} ({np.median(off):+.3f}), n {len(off)}")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))
