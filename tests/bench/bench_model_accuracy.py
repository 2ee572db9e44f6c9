"""How far off is the model on groups (model × platform × engine × precision) that the fit has not seen?

    servecast import aiconfigurator --db runs.duckdb         # its silicon_sample.csv: real serving runs
    python tests/bench/bench_model_accuracy.py runs.duckdb --runs silicon_sample.csv
    servecast import All_results.csv --db batches.duckdb     # Plots/ of github.com/argonne-lcf/LLM-Inference-Bench
    python tests/bench/bench_model_accuracy.py batches.duckdb

Prints the errors of the analytic model alone, of grouped folds with 0, 10 and 20 points of the held-out group, and of
random folds (which leak the group); errors by engine version; how the groups lie around them; and what it costs to
decide by the predictions: the measured throughput of the config predicted best, and of the best of the three predicted
best, against the best measured one that keeps the limit, per scenario (model, platform, engine, devices, lengths) and
limit. A choice that breaks the limit when it runs is counted, and as no throughput at all in the strict figures. The
best is the largest throughput times the probability, by the predicted intervals, that it keeps the limit.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from model.learning.held_out import FOLD_KINDS, MeasuredPoints, Predicted, measured_points, predict_held_out
from model.learning.history import Columns, column, loads, measured, training
from model.learning.scores import score, tables
from model.prediction import Bools, Floats
from model.tables.shelf import Shelf
from perfdb.store import Store
from servecast.kernels.kernel_tables import shelf_of

LEAST = 30
LIMITS = (
    ("none", np.inf, np.inf),
    *((f"tpot {tpot * 1e3:g} ms, ttft {ttft:g} s", tpot, ttft) for tpot in (0.01, 0.02, 0.05) for ttft in (1.0, 5.0)),
)
SCENARIO = ("model", "platform", "engine", "devices", "isl", "osl")


def line(figures: Mapping[str, Any]) -> str:
    """One row of a table."""
    return (
        f"n={figures['n']:5}  MAPE {figures['mape']:7.1%}  |log| median {figures['log_median']:.3f} "
        f"p90 {figures['log_p90']:.3f}  bias {figures['bias']:+7.1%}  rank {figures['spearman']:.3f}  "
        f"coverage90 {figures['coverage90']:.1%}"
    )


def say_kind(points: MeasuredPoints, kind: str, shots: tuple[int, ...], shelf: Shelf | None) -> dict[int, Predicted]:
    """Print and return the predictions of one kind of folds."""
    started = time.process_time()
    predicted = predict_held_out(points, kind, shots, LEAST, shelf=shelf)
    print(f"\n== {kind} folds ({time.process_time() - started:.1f} s of CPU)")
    found = tables(points, predicted, LEAST)
    for row in found.overall:
        print(f"{row['metric']:11} {row['shots']:2} shots  {row['groups']:3} groups  {line(row)}")
    for row in found.compared:
        print(f"{row['metric']:11}  0 shots  {row['groups']:3} groups of {LEAST}+  {line(row)}")
    for metric in dict.fromkeys(row["metric"] for row in found.rows):
        rows = [row for row in found.rows if row["metric"] == metric and row["shots"] == 0 and row["n"] >= 10]
        spread = {name: np.quantile([row[name] for row in rows], (0.1, 0.5, 0.9)) for name in ("mape", "log_median")}
        print(f"{metric:11} over {len(rows)} groups of 10+, p10/p50/p90: ", end="")
        print(", ".join(f"{name} " + "/".join(f"{value:.3f}" for value in ends) for name, ends in spread.items()))
        for row in sorted(rows, key=lambda row: -row["mape"])[:5]:
            print(f"    {row['group']:58} {line(row)}")
    return predicted


def say_versions(points: MeasuredPoints, answer: Predicted) -> None:
    """Errors by the release of the engine, oldest first."""
    print("\n== by engine version, grouped folds, 0 shots")
    version = column(points.columns, "engine_version", len(points))
    names = [f"{engine} {text or 'unknown'}" for engine, text in zip(points.columns["engine"], version, strict=True)]
    for name, count in sorted(Counter(names).items()):
        rows = np.flatnonzero(np.array(names) == name)
        if count >= 15:
            for metric in ("ttft_s", "tpot_s"):
                parts = (measured(points.columns, metric, rows), answer.error[metric][rows], answer.sd[metric][rows])
                print(f"{name:32} {metric}  {line(asdict(score(*parts)))}")


def served_tps(ttft: Floats, tpot: Floats, points: MeasuredPoints) -> Floats:
    """Output tokens per second and device of a closed loop (Little's law), `n`."""
    load = loads(points.columns)[0]
    devices = points.columns["devices"].astype(np.float64)
    tps: Floats = load.amount * load.osl / (ttft + tpot * (load.osl - 1.0)) / devices
    return tps


def scenarios(points: MeasuredPoints) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    """The points of each scenario with at least two."""
    places: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(zip(*(points.columns[name].tolist() for name in SCENARIO), strict=True)):
        if not points.apart[row]:
            places.setdefault(key, []).append(row)
    yield from (np.array(rows) for rows in places.values() if len(rows) > 1)


def kept_chance(answer: Predicted, real: Mapping[str, Floats], limits: Mapping[str, float]) -> Floats:
    """The probability that each point keeps all limits, by its prediction, `n`."""
    chance = np.ones(len(next(iter(real.values()))))
    for name, limit in limits.items():
        if np.isfinite(limit):
            above = np.log(limit) - (np.log(real[name]) + answer.error[name])
            chance *= np.array([NormalDist().cdf(x) for x in above / answer.sd[name]])
    return chance


def say_regret(points: MeasuredPoints, answer: Predicted) -> None:
    """The share of the best measured throughput that is lost by choosing from the predictions."""
    print("\n== decision regret, grouped folds, 0 shots: median / mean / p90 of the loss; broken: the choice breaks it")
    every = np.arange(len(points))
    real = {name: measured(points.columns, name, every) for name in ("ttft_s", "tpot_s")}
    told = {name: real[name] * np.exp(answer.error[name]) for name in real}
    actual, expected = (served_tps(values["ttft_s"], values["tpot_s"], points) for values in (real, told))
    losses: dict[str, list[Floats]] = {}
    for name, tpot, ttft in LIMITS:
        kept = (real["tpot_s"] <= tpot) & (real["ttft_s"] <= ttft)
        worth = expected * kept_chance(answer, real, {"tpot_s": tpot, "ttft_s": ttft})
        for rows in scenarios(points):
            if kept[rows].any():
                losses.setdefault(name, []).append(_losses(actual[rows], kept[rows], worth[rows]))
    for name, found in {**losses, "all": [pair for pairs in losses.values() for pair in pairs]}.items():
        loss, strict, loss3, strict3, broken = np.array(found).T
        shown = (f"{np.median(x):.1%} / {np.mean(x):.1%} / {np.quantile(x, 0.9):.1%}" for x in (loss, strict))
        more = (f"{np.median(x):.1%} / {np.mean(x):.1%} / {np.quantile(x, 0.9):.1%}" for x in (loss3, strict3))
        print(f"{name:24} {len(found):4} scenarios  best {' strict '.join(shown)}  broken {broken.mean():.1%}")
        print(f"{'':40}  best of 3 {' strict '.join(more)}")


def _losses(actual: Floats, kept: Bools, worth: Floats) -> Floats:
    """Shares lost with the best and with the best of three, each plain and strict, and whether the best breaks it."""
    order, best = np.argsort(-worth, kind="stable"), (actual * kept).max()
    plain = [max(0.0, 1.0 - actual[order[:count]].max() / best) for count in (1, 3)]
    strict = [1.0 - (actual * kept)[order[:count]].max() / best for count in (1, 3)]
    return np.array([plain[0], strict[0], plain[1], strict[1], float(not kept[order[0]])])


def say_source(history: Columns, file: Path) -> None:
    """How many rows of the collection, copies of a run among them, tell of a run that is predicted."""
    rows = training(history).rows
    pairs = zip(history["ttft_s"][rows] * 1e3, history["tpot_s"][rows] * 1e3, strict=True)
    runs = {_run(*pair) for pair in pairs}
    with file.open(newline="") as lines:
        found = [
            _run(row["silicon_ttft_ms"], row["silicon_tpot_ms"]) in runs
            for row in csv.DictReader(lines)
            if row["mode"] == "agg"
        ]
    print(f"{sum(found)} of {len(found)} aggregated rows of {file.name} tell of a run that is predicted")


def _run(ttft: object, tpot: object) -> tuple[str, str]:
    return f"{float(str(ttft)):.9g}", f"{float(str(tpot)):.9g}"


def main() -> None:
    """Score the database that is named on the command line."""
    parser = argparse.ArgumentParser(description="Accuracy of the model on a database's own measurements.")
    parser.add_argument("db", type=Path)
    parser.add_argument("--runs", type=Path, help="the collection that was imported, to count its rows")
    given = parser.parse_args()
    store = Store(given.db)
    history, shelf = store.results(), shelf_of(store)
    points = measured_points(history)
    print(f"{len(points)} points of {len(set(points.group))} groups, {points.apart.sum()} with repeats apart")
    for reason, count in points.refused.items():
        print(f"  left out {count}: {reason}")
    if given.runs:
        say_source(history, given.runs)
    found = {kind: say_kind(points, kind, (0, 10, 20) if kind == "group" else (0,), shelf) for kind in FOLD_KINDS}
    if np.isfinite(points.columns["ttft_s"]).any():
        say_versions(points, found["group"][0])
        say_regret(points, found["group"][0])


if __name__ == "__main__":
    main()
