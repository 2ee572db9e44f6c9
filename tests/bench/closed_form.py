"""The closed form against the event simulator on one step model: how far its means stray, by kind of load.

    python tests/bench/closed_form.py DB [--seeds 40] [--tight] [--platform h200_sxm] [--engine vllm:0.24.0]

DB holds operation tables (`servecast import aiconfigurator --systems h200_sxm --db DB`); without them both stand on the
roofline that ships. Configs, lengths and loads are drawn afresh for each seed; with `--tight` a step's budget is one to
four tokens for each of max_num_seqs sequences.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from model.checkpoint.architecture import resolve_model
from model.question import Question, analyse
from model.simulate.engine import engine_settings
from model.simulate.run import simulate, summary
from model.simulate.traffic import sampled
from model.steps.config import step_costs
from model.steps.overheads import overheads
from perfdb.errors import InputError
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Target, Workload
from perfdb.store import Store
from servecast.kernels.kernel_tables import shelf_of, tables_named

METRICS = ("ttft_s", "tpot_s", "e2e_s", "output_tps")
TIGHT = (1.0, 1.25, 1.5, 2.0, 4.0)
MODELS = (("llama-3.1-8b", (1, 2)), ("Qwen/Qwen3-32B", (2, 4)), ("llama-3.1-70b", (4, 8)))


def main() -> None:
    """Print median and p90 of |log(closed form / simulated)| for each metric and kind of load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("db", type=Path)
    parser.add_argument("--platform", default="h200_sxm")
    parser.add_argument("--engine", default="vllm:0.24.0")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--tight", action="store_true", help="budgets near max_num_seqs")
    parser.add_argument("--drafts", action="store_true", help="draft 1 to 5 tokens a step")
    parser.add_argument("--each", action="store_true", help="print every case")
    given = parser.parse_args()
    errors = defaultdict(list)
    for seed in range(given.first, given.first + given.seeds):
        for kind, ratios in compared(given, np.random.default_rng(seed), seed):
            errors[kind].append(ratios)
    for kind, rows in sorted(errors.items()):
        logs = np.log(np.array(rows))
        parts = [f"{name} {scored(column)}" for name, column in zip(METRICS, logs.T, strict=True)]
        print(f"{kind:28} n {len(rows):3}  " + "  ".join(parts))


def scored(logs: np.ndarray) -> str:
    """Median and p90 of the absolute values, and the median with its sign."""
    sizes = np.abs(logs)
    return f"{np.median(sizes):.1%} / {np.quantile(sizes, 0.9):.1%} ({np.median(logs):+.1%})"


def compared(given, rng: np.random.Generator, seed: int):
    """(kind of load, closed form / simulated of each metric) of one drawn config under several loads."""
    store = Store(given.db)
    name, sizes = MODELS[rng.integers(len(MODELS))]
    isl, osl = int(rng.choice([128, 512, 1024, 2048, 4000, 8000])), int(rng.choice([64, 128, 256, 512, 1024]))
    config = {
        "tensor_parallel_size": int(rng.choice(sizes)),
        "max_num_batched_tokens": int(rng.choice([2048, 4096, 8192, 16384])),
        "max_num_seqs": int(rng.choice([32, 64, 128, 256])),
    }
    if given.tight:
        config["max_num_batched_tokens"] = int(config["max_num_seqs"] * rng.choice(TIGHT))
    config |= drafts(rng) if given.drafts else {}
    hardware, model, facts = platform(given.platform), resolve_model(name), given.engine.partition(":")[0]
    target = Target(model.name, hardware.name, facts, config["tensor_parallel_size"], given.engine.partition(":")[2])
    grid = Grid.of([config])
    capacity = None
    for text in (f"D({isl},{osl})", f"N({isl},{isl // 2})/({osl},{osl // 2})"):
        for b in (4, 16, 64, 256):
            load = Workload(isl, osl, Arrival.CLOSED, b, requests=max(20 * b, 200), lengths=text)
            ratios = one(target, model, hardware, grid, load, store, given, config, seed)
            if ratios is not None:
                yield f"{text[0]} closed, {b} in flight", ratios[0]
                capacity = max(capacity or 0.0, ratios[1] / osl)
        for share in (0.3, 0.6, 0.8):
            if capacity is None:
                continue
            load = Workload(isl, osl, Arrival.POISSON, None, capacity * share, requests=2000, lengths=text)
            ratios = one(target, model, hardware, grid, load, store, given, config, seed)
            if ratios is not None:
                yield f"{text[0]} poisson, load {share}", ratios[0]


def drafts(rng: np.random.Generator):
    """Parameters of speculative decoding, drawn."""
    tokens, layers = int(rng.integers(1, 6)), int(rng.integers(0, 3))
    return {"num_speculative_tokens": tokens, "acceptance_rate": float(rng.uniform(0.3, 0.95)), "draft_layers": layers}


def one(target, model, hardware, grid, load, store, given, config, seed):
    """The ratios of one case and the simulated throughput, None where the config does not fit."""
    question = Question(target, model, hardware, load, grid, shelf_of(store))
    found = analyse(question)
    trace = sampled(load, int(load.requests), seed)
    try:
        settings = engine_settings(found.points, config, trace)
        costs = step_costs(found.points, tables_named(given.platform, given.engine, store))
        added = overheads(target.engine)
        truth = summary(simulate(trace, settings, costs), added.request_s, added.token_s)
    except InputError:
        return None
    simulated = [truth["ttft_s"]["mean"], truth["tpot_s"]["mean"], truth["e2e_s"]["mean"], truth["output_tps"]]
    closed = [found.serving.metrics[name].item() for name in METRICS]
    if given.each:
        print(config, load.lengths, load.concurrency, load.request_rate, np.round(closed, 4), np.round(simulated, 4))
    return np.array(closed) / np.array(simulated), simulated[3]


if __name__ == "__main__":
    main()
