"""CPU time of `whatif` against the number of configs that it predicts: a table, and a plot with the slope.

    python tests/bench/cost_against_configs.py [--db DB] [--rate 20] [--most 1000000] [--page cost.html]

DB holds operation tables (`servecast import aiconfigurator --systems h200_sxm --db DB`); without it steps take the
rates that ship. Grids are products of the values of four flags of vLLM; each is asked once before the clock runs.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from perfdb.store import Store
from servecast.loads.asked_load import workload_of
from servecast.predicting.whatif import WhatIf, whatif
from servecast.report.axes import BLUE, GREY, write_whole

SIZES: Mapping[int, tuple[int, int]] = {
    100: (1, 1), 1_000: (5, 2), 10_000: (10, 10), 100_000: (40, 25), 1_000_000: (100, 100),
}  # fmt: skip
"""Configs, and the numbers of values of max_num_seqs and max_num_batched_tokens that make them, with four of tp and 25
shares of the memory."""
LARGE = 10_000
"""From so many configs on the slope is fitted: below, what a question costs by itself is most of it."""
_SHOWN = 10
_ROUNDS = 3


def main() -> None:
    """Print a line for each size and the slope; write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", type=Path)
    parser.add_argument("--rate", type=float, help="requests/s, instead of 64 in flight")
    parser.add_argument("--most", type=int, default=max(SIZES))
    parser.add_argument("--page", type=Path, default=Path("cost_against_configs.html"))
    given = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        store = Store(given.db or Path(folder) / "empty.duckdb")
        for configs in (size for size in SIZES if size <= given.most):
            found[configs] = cost_s(store, configs, given.rate)
            each = found[configs] / configs * 1e6
            print(f"{configs:9,} configs  {found[configs]:8.4f} s of CPU  {each:8.2f} µs each", flush=True)
    print(f"slope of the logarithms from {LARGE:,} configs on: {slope(found):.3f}")
    write_whole(page(found), given.page)
    print(f"peak RSS {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB; plot in {given.page}")


def cost_s(store: Store, configs: int, rate: float | None = None) -> float:
    """Seconds of CPU of a question about so many configs (a key of `SIZES`) that was asked before; of a small grid the
    median of some."""
    seqs, tokens = SIZES[configs]
    sets = {
        "tensor_parallel_size": (1, 2, 4, 8),
        "gpu_memory_utilization": tuple((0.7 + 0.01 * np.arange(25)).round(2).tolist()),
        "max_num_seqs": tuple(range(8, 8 + 2 * seqs, 2)),
        "max_num_batched_tokens": tuple(range(1024, 1024 + 16 * tokens, 16)),
    }
    load = workload_of(1024, 128, concurrency=None if rate else 64, rate=rate, batch=None)
    asked = WhatIf("meta-llama/Llama-3.1-8B", "h200_sxm", "vllm:0.24.0", load, sets)
    assert whatif(asked, store, most=_SHOWN)["configs"] == configs
    spent = []
    for _ in range(_ROUNDS if configs < LARGE else 1):
        start = time.process_time()
        whatif(asked, store, most=_SHOWN)
        spent.append(time.process_time() - start)
    return float(np.median(spent))


def slope(found: Mapping[int, float]) -> float:
    """By which power of the number of configs (the keys) the seconds grow, of large grids; NaN of fewer than two."""
    large = [(configs, seconds) for configs, seconds in found.items() if configs >= LARGE]
    if len(large) < 2:
        return float("nan")
    return float(np.polyfit(*np.log(np.array(large)).T, 1)[0])


def page(found: Mapping[int, float]) -> str:
    """The plot: seconds over configs, both logarithmic, beside a line of slope one through the largest."""
    from plotly.graph_objects import Figure, Scatter

    configs, seconds = list(found), list(found.values())
    even = [seconds[-1] * size / configs[-1] for size in configs]
    figure = Figure()
    figure.add_trace(Scatter(x=configs, y=even, mode="lines", line={"color": GREY, "dash": "dash"}, name="slope 1"))
    text = f"measured; slope {slope(found):.3f} from {LARGE:,} on"
    figure.add_trace(Scatter(x=configs, y=seconds, mode="lines+markers", line={"color": BLUE}, name=text))
    figure.update_layout(template="plotly_white", title="CPU time of whatif against configs")
    figure.update_xaxes(type="log", title="configs")
    figure.update_yaxes(type="log", title="seconds of CPU")
    return str(figure.to_html(include_plotlyjs=True))


if __name__ == "__main__":
    main()
