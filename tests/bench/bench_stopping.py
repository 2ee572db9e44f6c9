"""How often is the active search right when it says that enough was run?

    SERVECAST_ARGONNE=All_results.csv python tests/bench/bench_stopping.py [SEEDS]    # see test_bench_search_quality

Runs the search on grids measured in full until its verdict is to stop, with no prior and with priors of several
qualities, and prints how often at least 90 % of the hypervolume was measured by then: 90 % is what it promises.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from test_bench_search_quality import SLICES, argonne, serving

from model.learning.features import encode
from model.prediction import Floats
from search.frontier import reference_point
from search.hypervolume import hypervolume
from search.objective import complete, to_loss
from search.plan import Prior, State
from search.strategies import strategy

# slope, tilt over the features and noise of the prior's log losses; the sd it claims; whether it counts as checked
PRIORS = {
    "none": None,
    "rough": (0.8, 0.6, 0.15, 0.7, False),
    "checked": (1.0, 0.1, 0.10, 0.15, True),
    "checked but misleading": (1.0, 0.6, 0.30, 0.2, True),
}
MOST = 60


def prior_of(kind: str, losses: Floats, features: Floats, rng: np.random.Generator) -> Prior | None:
    """A belief made from the truth: bent, tilted and noisy."""
    form = PRIORS[kind]
    if form is None:
        return None
    slope, tilt, noise, sd, validated = form
    full = np.where(np.isfinite(losses), losses, np.nanmedian(losses, axis=0))
    d = features.shape[1]
    bent = slope * full + tilt * features @ rng.normal(size=(d, full.shape[1])) / np.sqrt(d)
    return Prior(bent + noise * rng.normal(size=full.shape), np.full(full.shape, sd), validated)


def stop(job: tuple[Any, str, int]) -> tuple[str, int, float] | None:
    """(kind of prior, runs until the verdict, share of the hypervolume measured by then); None: it never stopped."""
    (grid, values, objectives), kind, seed = job
    losses, features = to_loss(values, objectives), encode(grid)
    worked, rng = complete(losses), np.random.default_rng(seed)
    reference = reference_point(losses, objectives)
    prior = prior_of(kind, losses, features, np.random.default_rng([seed, 1]))
    active, rows = strategy("active"), np.zeros(0, np.int64)
    for _ in range(MOST):
        seen = np.where(worked[rows][:, None], values[rows], np.nan)
        state = State(features, tuple(objectives), rows, worked[rows], seen, prior)
        if active.verdict(state, np.random.default_rng([seed, len(rows)])).stop:
            return kind, len(rows), hypervolume(losses[rows], reference) / hypervolume(losses, reference)
        rows = np.append(rows, active.propose(state, 1, rng)[0].row)
    return None


def main() -> None:
    """Print one line per kind of prior."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
    cases = [argonne(*each) for each in SLICES] + [serving(seed) for seed in range(5)]
    jobs = [(case, kind, seed) for seed in seeds for case in cases for kind in PRIORS]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(stop, jobs))
    for kind in PRIORS:
        stops = [each for each in found if each and each[0] == kind]
        shares = np.array([share for _, _, share in stops])
        print(
            f"{kind:23} stopped {len(stops):3} of {len(seeds) * len(cases)}, median after "
            f"{np.median([n for _, n, _ in stops]):.0f} runs; right {np.mean(shares >= 0.9):.1%}; "
            f"share of the hypervolume: p10 {np.quantile(shares, 0.1):.3f}, least {shares.min():.3f}"
        )


if __name__ == "__main__":
    main()
