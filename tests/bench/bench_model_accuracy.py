"""How far off are the raw and the learned model, on groups (model × platform × engine) that the fit has not seen?

    servecast import All_results.csv --db history.duckdb     # Plots/ of github.com/argonne-lcf/LLM-Inference-Bench
    python tests/bench/bench_model_accuracy.py history.duckdb

Prints one line per metric and method: median and 90th percentile of |log(measured / predicted)|, MAPE, bias, and the
share of measurements inside the 90 % interval. "grouped" folds never split a group.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from model.history import FAMILIES, training
from model.lessons import Lessons
from model.prediction import Z90, Floats
from model.residual import PRIOR_SD, familiarity, fit_offsets
from perfdb.facts.platforms import platform
from perfdb.store import Store


def line(metric: str, method: str, errors: Floats, sd: Floats | float) -> str:
    """One line of the table from log(measured / predicted), `n`."""
    size = np.abs(errors)
    return (
        f"{metric:8} {method:18} n={len(errors):5}  median {np.median(size):.3f}  p90 {np.quantile(size, 0.9):.3f}  "
        f"MAPE {np.mean(np.abs(np.expm1(-errors))):7.1%}  bias {errors.mean():+.3f}  "
        f"coverage90 {np.mean(size <= Z90 * sd):.1%} (sd {np.mean(sd):.2f})"
    )


def main() -> None:
    """Score the database that is named on the command line."""
    parser = argparse.ArgumentParser(description="Accuracy of the model on a database's own measurements.")
    parser.add_argument("db", type=Path)
    data = training(Store(parser.parse_args().db).results())
    print(f"{len(data.rows)} rows of {len(data.groups)} groups")
    for reason, count in data.skipped.items():
        print(f"  left out {count}: {reason}")
    residuals = Lessons(data).residuals
    for family in FAMILIES:
        found = residuals[family]
        if not found.learned:
            continue
        wider = np.array([familiarity(platform(place)) for _, place, _ in data.groups])[found.group]
        print(line(family, "raw roofline", found.residual, PRIOR_SD[family] * wider))
        if len(np.unique(found.group)) > 1:
            trees, offsets = found.grouped
            constant = fit_offsets(found.residual, found.group, PRIOR_SD[family])
            print(line(family, "offset, grouped", offsets, constant.of(None)[1]))
            if found.uses_trees:
                print(line(family, "trees, grouped", trees, found.predict(found.features[:1], None)[1]))


if __name__ == "__main__":
    main()
