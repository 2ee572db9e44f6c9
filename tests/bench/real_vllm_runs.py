"""Request by request against two real vLLM servers: mean, median and p90 of what their users waited.

    python tests/bench/real_vllm_runs.py FOLDER [--db FILE]

FOLDER is of github.com/casys-kaist/LLMServingSim: its profile/, and bench/examples/*/*/vllm/ as measured/*/*/ (each
with meta.json, requests.jsonl). The kernels in profile/ are imported first, unless --db already holds them.

Nothing is fitted to these runs. Kernel times are those of profile/, measured layer by layer; flags are those of
meta.json, with the measured number of KV blocks where it tells one, else our account of memory; vLLM 0.19 schedules
asynchronously unless told otherwise. Messages between devices are not in profile/: they take the rates that ship with
the product, of NCCL tables of the same device. A request's times begin at its `arrival_time`, of a clock that is moved
by the least that `queued_ts` is later: a busy engine notes `queued_ts` between two steps only. HTTP is not in them.
The last lines say what the same simulation answers when every step takes so much more or less: how far an error of the
step time goes in each metric.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.simulate.costs import StepCosts
from model.simulate.replicas import Replicas
from model.simulate.together import LockstepCosts
from model.simulate.trace import Trace, unshared
from perfdb.importers.folder import import_paths
from perfdb.store import Store
from servecast.simulation.simulating import Server, server_of

Floats = npt.NDArray[np.float64]
PLATFORMS = {"RTX4090": "rtx_4090", "RTXPRO6000": "rtx_pro_6000_server"}
FLAGS = (
    "tensor_parallel_size", "data_parallel_size", "enable_expert_parallel", "max_num_seqs", "max_num_batched_tokens",
    "max_model_len",
)  # fmt: skip
SCALES = (0.95, 0.98, 1.02, 1.05)


@dataclass(frozen=True)
class Real:
    """A measured run: its requests, what they took (seconds by metric), and its server's flags."""

    name: str
    trace: Trace
    seconds: dict[str, Floats]
    server: Server


def main() -> None:
    """Print errors per run and metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--db", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(given.db or Path(scratch) / "real.duckdb")
        if given.db is None:
            import_paths(store, [given.folder / "profile"])
        for meta in sorted((given.folder / "measured").glob("*/*/meta.json")):
            show(real_of(meta.parent, store))


def real_of(folder: Path, store: Store) -> Real:
    """The run in a folder."""
    meta = json.loads((folder / "meta.json").read_text())
    lines = (folder / "requests.jsonl").read_text().splitlines()
    rows = sorted((json.loads(line) for line in lines), key=lambda row: row["arrival_time"])
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != "request_id"}
    queued, first, last = (columns[name] for name in ("queued_ts", "first_token_ts", "last_token_ts"))
    came = columns["arrival_time"] + (queued - columns["arrival_time"]).min()
    trace = unshared(came - came[0], columns["input_toks"], columns["output_toks"])
    seconds = {
        "ttft_s": first - came,
        "tpot_s": (last - first) / (columns["output_toks"] - 1),
        "e2e_s": last - came,
    }
    sets = {name: meta["engine_kwargs"][name] for name in FLAGS if meta["engine_kwargs"][name] is not None}
    blocks = meta.get("kv_cache", {}).get("num_gpu_blocks")
    sets["async_scheduling"] = True
    sets |= {} if blocks is None else {"num_gpu_blocks_override": blocks}
    engine, platform = f"vllm:{meta['vllm_version']}", PLATFORMS[folder.parent.name]
    return Real(folder.name, trace, seconds, server_of(meta["model"], platform, engine, sets, trace, store))


def show(real: Real) -> None:
    """One line per metric, then what slower and faster steps would have done to the means."""
    run = real.server.run(real.trace)
    print(f"{real.name}: {len(real.trace)} requests, {run.served.preemptions} preemptions, "
          f"{run.settings.num_blocks} blocks, {real.server.replicas.count} replicas")  # fmt: skip
    for name, seconds in run.latencies().items():
        found, measured = of(seconds), of(real.seconds[name])
        errors = ", ".join(f"{each} {found[each] / measured[each] - 1:+.1%} of {measured[each]:.4g}" for each in found)
        print(f"  {name}: {errors}")
    for scale in SCALES:
        slower = replace(real.server, replicas=slowed(real.server.replicas, scale)).run(real.trace).latencies()
        means = ", ".join(
            f"{name} {of(s)['mean'] / of(real.seconds[name])['mean'] - 1:+.1%}" for name, s in slower.items()
        )
        medians = f"ttft_s median {of(slower['ttft_s'])['median'] / of(real.seconds['ttft_s'])['median'] - 1:+.1%}"
        print(f"  steps x {scale}: means {means}; {medians}")


def slowed(replicas: Replicas, factor: float) -> Replicas:
    """The same with steps that take so many times as long."""
    costs = replicas.costs
    if isinstance(costs, LockstepCosts):
        return replace(replicas, costs=LockstepCosts(_slowed(costs.own, factor), costs.experts * factor, costs.graph))
    return replace(replicas, costs=_slowed(costs, factor))


def _slowed(costs: StepCosts, factor: float) -> StepCosts:
    apart = costs.apart._replace(context=costs.apart.context * factor, generation=costs.apart.generation * factor)
    return costs._replace(
        tokens=costs.tokens * factor,
        sequences=costs.sequences * factor,
        attention=costs.attention * factor,
        step=costs.step * factor,
        apart=apart,
    )


def of(seconds: Floats) -> dict[str, float]:
    """Mean, median and 90th percentile."""
    return {
        "mean": float(seconds.mean()),
        "median": float(np.median(seconds)),
        "p90": float(np.quantile(seconds, 0.9)),
    }


if __name__ == "__main__":
    main()
