"""Predictions of two pools against measured runs of them; nothing is learned from any run of two pools.

Run: `python tests/bench/disagg_silicon.py DB`: DB holds the tables and serving runs of the optional extra
(`servecast import aiconfigurator --db DB`). Runs that do not say how many workers their pools had are left out. Printed
for TTFT and TPOT, of the closed form alone and with what whole servers taught, overall and by engine: n, groups (model,
platform, engine, format), median and 90th percentile of |log(predicted / measured)|, median ratio, and the share of
runs within the 90 % interval.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from model.checkpoint.architecture import resolve_model
from model.disagg.answer import Asked, disaggregated
from model.disagg.units import Deployments
from model.prediction import Z90
from model.question import Question
from model.surrogate import Surrogate
from perfdb.errors import ServecastError
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Target, Workload
from perfdb.store import Store
from servecast.predicting.whatif import surrogate

SIDES = ("prefill", "decode")
METRICS = ("ttft_s", "tpot_s")
OURS = {"vllm": ("tensor_parallel_size", "pipeline_parallel_size")}
THEIRS = ("tp_size", "pp_size")
OTHERS = ("attention_dp_size", "moe_ep_size")
ONE = np.ones(1, np.int64)


def runs(store: Store) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every run of two pools: its row of the database, and what its config says."""
    history = store.results()
    for place, text in enumerate(history["config"].tolist()):
        said = json.loads(text or "{}")
        if said.get("mode") == "disagg":
            yield {name: column[place] for name, column in history.items()}, said


def asked(row: dict[str, Any], said: dict[str, Any], model: Surrogate) -> Asked:
    """The question whose answer a run measured.

    Raises:
        ServecastError: its model or platform is not known, or a parameter cannot be right.
    """
    place, architecture = platform(row["platform"]), resolve_model(row["model"])
    workload = Workload(row["isl"], row["osl"], Arrival.CLOSED, int(row["concurrency"]))
    target = Target(architecture.name, place.name, row["engine"], 1, row["engine_version"])
    pools = []
    for side in SIDES:
        names = dict(zip(OURS.get(row["engine"], THEIRS), THEIRS, strict=True)) | {name: name for name in OTHERS}
        config = {ours: said.get(f"{side}_{theirs}", 1) for ours, theirs in names.items()}
        config |= {"precision": said["precision"]} if said.get("precision") else {}
        pools.append(Question(target, architecture, place, workload, Grid.of([config]), model.shelf))
    workers = (ONE * said[f"{side}_num_workers"] for side in SIDES)
    return Asked(*pools, Deployments(0 * ONE, 0 * ONE, *workers))


def scored(store: Store) -> tuple[list[tuple[Any, ...]], Counter[str]]:
    """(group, metric, whether corrected, log ratio, standard deviation) of every run, and why others are left out."""
    model, found = surrogate(store), []
    refused: Counter[str] = Counter()
    for row, said in runs(store):
        if not (all(said.get(f"{side}_num_workers") for side in SIDES) and np.isfinite(row["concurrency"])):
            refused["number of workers or load not told"] += 1
            continue
        try:
            question = asked(row, said, model)
            answers = disaggregated(question), disaggregated(question, model.lessons(question.decode))
        except ServecastError as error:
            refused[str(error).split(";")[0]] += 1
            continue
        group = (row["model"], row["platform"], row["engine"], said.get("precision"))
        for is_corrected, answer in enumerate(answers):
            for metric in METRICS:
                estimate = answer.metrics[metric]
                off = float(estimate.log_mean[0] - np.log(row[metric]))
                found.append((group, metric, is_corrected, off, float(estimate.log_sd[0])))
    return found, refused


def main(path: str) -> None:
    """Print the scores."""
    found, refused = scored(Store(Path(path)))
    for metric in METRICS:
        for is_corrected, how in enumerate(("closed form", "corrected")):
            rows = [row for row in found if row[1] == metric and row[2] == is_corrected]
            for engine in ("", *sorted({row[0][2] for row in rows})):
                part = [row for row in rows if engine in ("", row[0][2])]
                off, sd = np.array([row[3:] for row in part]).T
                print(
                    f"{metric} {how:11} {engine or 'all':6} n {len(part)}, groups {len({row[0] for row in part})}, "
                    f"median {np.median(np.abs(off)):.3f}, p90 {np.quantile(np.abs(off), 0.9):.3f}, "
                    f"ratio {np.exp(np.median(off)):.3f}, covered {np.mean(np.abs(off) < Z90 * sd):.2f}"
                )
    print("left out:", dict(refused))


if __name__ == "__main__":
    main(sys.argv[1])
