"""What overheads fitted to other groups' runs leave of a group's measured latencies, against the published ones.

    python tests/bench/overheads_agreement.py --db FILE

FILE holds operation tables and measured runs: `servecast import aiconfigurator` (its tables, and the public runs of
github.com/ai-dynamo/aiconfigurator's silicon tests). Each group (model × platform × engine × number format) is left
out in turn. Steps are those of the closed form without anything learned; fitted overheads replace the priors in it to
first order: a step more of a time per token, a request more of a first token.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from model.kept.training import kept_training
from model.learning.fitted_overheads import fitted_overheads
from model.learning.history import Columns, Training, column
from model.prediction import Floats
from model.steps.overheads import overheads
from perfdb.store import Store
from servecast.kernels.kernel_tables import shelf_of


def main() -> None:
    """Print errors per engine and metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", type=Path, required=True)
    store = Store(parser.parse_args().db)
    history = store.results()
    taught = kept_training(history, None, shelf_of(store))
    fitted = without_own_group(history, taught)
    engines = np.array([taught.groups[group][2] for group in taught.group.tolist()])
    for engine in np.unique(engines):
        for metric in ("tpot_s", "ttft_s"):
            measured = taught.analytic[metric] * np.exp(taught.residual[metric])
            rows = (engines == engine) & np.isfinite(measured) & np.isfinite(fitted[metric])
            groups = len(np.unique(taught.group[rows]))
            said = [errors(values[rows], measured[rows]) for values in (taught.analytic[metric], fitted[metric])]
            print(f"{engine} {metric}: n {rows.sum()}, {groups} groups; priors {said[0]}; fitted {said[1]}")


def without_own_group(history: Columns, taught: Training) -> dict[str, Floats]:
    """Latencies of every row with overheads that are fitted without its group."""
    found = {metric: np.full(len(taught.rows), np.nan) for metric in ("tpot_s", "ttft_s")}
    versions = column(history, "engine_version", int(taught.rows.max()) + 1)[taught.rows]
    for number, (_, platform, engine, _) in enumerate(taught.groups):
        own, prior = taught.group == number, overheads(engine)
        others = _without(taught, own)
        for version in set(versions[own].tolist()):
            rows = own & np.array([told == version for told in versions.tolist()])
            fit = fitted_overheads(history, others, engine, version, platform)
            added = prior if fit is None else fit.overheads
            step = added.step_s - prior.step_s + (added.sequence_s - prior.sequence_s) * taught.sequences[rows]
            found["tpot_s"][rows] = taught.analytic["tpot_s"][rows] + step
            found["ttft_s"][rows] = taught.analytic["ttft_s"][rows] + added.request_s - prior.request_s
    return found


def _without(taught: Training, own: np.ndarray) -> Training:
    hidden = {metric: np.where(own, np.nan, values) for metric, values in taught.residual.items()}
    return Training(**{**vars(taught), "residual": hidden})


def errors(predicted: Floats, measured: Floats) -> str:
    """Mean error, and median, nine tenths and bias of the logarithm."""
    log = np.log(predicted / measured)
    mape = np.abs(np.expm1(log)).mean()
    median, most, bias = np.median(np.abs(log)), np.quantile(np.abs(log), 0.9), np.median(log)
    return f"MAPE {mape:.1%} |log| median {median:.3f} p90 {most:.3f} bias {bias:+.3f}"


if __name__ == "__main__":
    main()
