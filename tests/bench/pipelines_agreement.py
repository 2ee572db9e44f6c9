"""The closed form against the event simulator for pipelines: how far its means stray, by engine and load.

    python tests/bench/pipelines_agreement.py [SEEDS] [FIRST]

Models, lengths, stages and limits are drawn afresh for each seed; both stand on the rates that ship. Loads are closed
loops, and shares of the requests/s that are simulated where all come at once.
"""

from __future__ import annotations

import sys
from collections import defaultdict

import numpy as np

from model.checkpoint.architecture import resolve_model
from model.question import Question, analyse
from model.simulate.engine import engine_settings
from model.simulate.replicas import Replicas, simulate_replicas
from model.simulate.run import summary
from model.simulate.traffic import sampled
from model.steps.config import step_costs
from perfdb.errors import InputError
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Target, Workload

METRICS = ("ttft_s", "tpot_s", "request_tps")
MODELS = (("llama-3.1-8b", (1,)), ("Qwen/Qwen3-32B", (1, 2)), ("llama-3.1-70b", (2, 4)))
FLAGS = {
    "vllm": ("tensor_parallel_size", "pipeline_parallel_size", "max_num_seqs", "max_num_batched_tokens"),
    "sglang": ("tp_size", "pp_size", "max_running_requests", "chunked_prefill_size"),
}
REQUESTS, BURST = 1000, 1e5


def main(seeds: int = 24, first: int = 0) -> None:
    """Print median and p90 of |log(closed form / simulated)|, and the median with its sign."""
    for engine in FLAGS:
        errors = defaultdict(list)
        for seed in range(first, first + seeds):
            for load, ratios in compared(engine, np.random.default_rng(seed)):
                errors[load].append(np.log(ratios))
        for load, rows in errors.items():
            logs = np.array(rows)
            parts = (f"{name} {scored(column)}" for name, column in zip(METRICS, logs.T, strict=True))
            print(f"{engine:7} {load:10} n {len(rows)}  " + "  ".join(parts))


def scored(logs: np.ndarray) -> str:
    """Median and p90 of the absolute values, and the median with its sign."""
    return f"{np.median(np.abs(logs)):.3f} / {np.quantile(np.abs(logs), 0.9):.3f} ({np.median(logs):+.3f})"


def compared(engine: str, rng: np.random.Generator):
    """(load, closed form / simulated of each metric) of one drawn config under several loads."""
    name, sizes = MODELS[rng.integers(3)]
    stages, tp = int(rng.choice([2, 4])), int(rng.choice(sizes))
    isl, osl = int(rng.choice([128, 512, 1024, 2048, 4000, 8000])), int(rng.choice([64, 128, 256, 512, 1024]))
    place, varied = str(rng.choice(["h100_sxm", "h200_sxm"])), bool(rng.integers(2))
    limits = tp, stages, int(rng.choice([64, 256, 1024])), int(rng.choice([2048, 8192]))
    config = dict(zip(FLAGS[engine], limits, strict=True))
    lengths = f"N({isl},{round(isl * 0.3)})/({osl},{round(osl * 0.3)})" if varied else f"D({isl},{osl})"
    target = Target(name, place, engine, tp * stages)
    try:
        most = one(target, config, at_rate(isl, osl, lengths, BURST))[1][-1]
    except InputError:
        return
    for share in (0.15, 0.3, 0.45, 0.6, 0.75, 0.9):
        yield f"rate {share}", np.divide(*one(target, config, at_rate(isl, osl, lengths, share * most)))
    for count in (8, 64, 256):
        loop = Workload(isl, osl, Arrival.CLOSED, count, requests=max(12 * count, 200), lengths=lengths)
        yield f"loop {count}", np.divide(*one(target, config, loop))


def at_rate(isl: int, osl: int, lengths: str, rate: float) -> Workload:
    """So many requests per second."""
    return Workload(isl, osl, Arrival.POISSON, request_rate=rate, requests=REQUESTS, lengths=lengths)


def one(target: Target, config, load: Workload):
    """The metrics of one case, in closed form and simulated."""
    asked = Question(target, resolve_model(target.model), platform(target.platform), load, Grid.of([config]))
    found = analyse(asked)
    points, trace = found.points, sampled(load, int(load.requests), 1)
    server = Replicas(1, step_costs(points, points.tables), stages=int(points.pp.item()))
    run = simulate_replicas(trace, engine_settings(points, config, trace), server)
    said = summary(run, points.overheads.request_s, points.overheads.token_s)
    means = [said[name] if isinstance(said[name], float) else said[name]["mean"] for name in METRICS]
    return [found.serving.metrics[name].item() for name in METRICS], means


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
