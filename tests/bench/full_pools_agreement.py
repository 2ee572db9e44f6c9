"""Two pools of which one has little KV cache: the closed form against `simulate --mode disagg`, on the same step times.

Run: `python tests/bench/full_pools_agreement.py [SEED] [SCENARIOS]`: prints |log(closed form / simulation)| of mean
TTFT, mean TPOT and throughput, and of the percentiles that rows hold, over random scenarios by kind of load:
median, 90th percentile, and the median with its sign. The decode pool's engines have room for 8 to 128 requests and
loops ask for 0.6 to 4 times as many; or those of the prefill pool have room for 1 to 8 prompts. Rates are 0.5 to 1.3 of
what the cache carries (a full prefill pool: up to 0.95).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from model.closed_form.cycle import decode_load
from model.disagg.pools import prompts
from model.steps.step import step_s
from perfdb.lengths import Lengths
from perfdb.records import Arrival, Workload
from tests.bench.disagg_agreement import Scenario, asked
from tests.bench.pools_agreement import served

PLACES = ["h100_sxm", "h200_sxm", "a100_sxm_80gb"]


def scenario(random: np.random.Generator, is_open: bool, which: str) -> Scenario:
    """A deployment whose pool `which` has little cache, and a load for it, drawn at random."""
    decodes = which == "decode"
    isl = int(random.integers(100, 4000))
    osl = int(np.clip(isl * 2 ** random.uniform(-3, 2.5), 16, 3000 if decodes else 400))
    text = f"D({isl},{osl})" if random.random() < 0.5 else f"N({isl},{isl // 3})/({osl},{osl // 3})"
    places, workers = random.choice(PLACES, 2).tolist(), random.choice([1, 2, 4], 2).tolist()
    budget, room, over = int(random.choice([2048, 8192])), 2 ** random.uniform(3, 7), 2 ** random.uniform(-0.7, 2)
    if decodes:
        blocks = [None, max(int(room * ((isl + osl / 2) / 16 + 0.5)), int(1.6 * (isl + osl) / 16) + 2)]
        concurrency = max(round(room * workers[1] * over), 1)
    else:
        workers[1], blocks = 4, [int(1.6 * 2 ** random.uniform(0.3, 3) * (isl + 1) / 16) + 2, None]
        concurrency = int(2 ** random.uniform(2, 8))
    sets: dict[str, list[Any]] = {
        "tensor_parallel_size": [1, 1], "max_num_batched_tokens": [budget] * 2, "max_num_seqs": [256] * 2,
        "num_gpu_blocks_override": blocks,
    }  # fmt: skip
    requests = int(np.clip(10 * concurrency, 400, 3000))
    workload = Workload(isl, osl, Arrival.CLOSED, concurrency, requests=requests, lengths=text)
    if is_open:
        most, held = _capacity(places, sets, workload, workers)
        rate = float(random.uniform(0.5, 1.3 if decodes else 0.95) * most)
        requests = int(np.clip(20 * held if decodes else 0.3 * rate * osl, 1500, 6000))
        workload = replace(workload, arrival=Arrival.POISSON, concurrency=None, request_rate=rate, requests=requests)
    found, pools, costs = asked(places, sets, workload, workers)
    prompt, output = np.array(Lengths.parse(text).sample(requests, int(random.integers(1 << 30)))).T
    due = np.full(requests, np.nan)
    if is_open:
        due = np.cumsum(random.exponential(1.0 / rate, requests))
    return Scenario(
        workload, pools, tuple(workers), costs, 0.0, 0.0, prompt, np.maximum(output, 2), due, found
    )  # fmt: skip


def _capacity(
    places: list[str], sets: Mapping[str, list[Any]], load: Workload, workers: list[int]
) -> tuple[float, float]:
    """Requests/s of the pools if caches were full of whole requests, and how many the decode pool would hold."""
    _, (one, other), _ = asked(places, sets, load, workers)
    slots = np.minimum(256.0, np.floor(other.memory.room))
    times, held = prompts(one), workers[1] * float(slots[0])
    answer_s = (other.points.load.osl[0] - 1.0) * step_s(other.points, decode_load(other.points, slots))[0]
    return float(min(held / answer_s, workers[0] * times.most[0] / times.full[0])), held


def main(seed: int = 0, scenarios: int = 30) -> None:
    """Every scenario both ways."""
    for which in ("decode", "prefill"):
        for kind in ("closed", "rate"):
            random = np.random.default_rng(seed + 1000 * (kind == "rate"))
            cases = [scenario(random, kind == "rate", which) for _ in range(scenarios)]
            ran = [served(case) for case in cases]
            for name in ran[0]:
                off = np.array(
                    [np.log(case.closed_form[name] / one[name]) for case, one in zip(cases, ran, strict=True)]
                )
                low, high = np.quantile(np.abs(off), [0.5, 0.9])
                print(f"{which:7} {kind:6} {name:10} {low:.3f} / {high:.3f} ({np.median(off):+.3f}), n {len(off)}")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))
