"""How good is `active` beside what people use otherwise? Optuna's TPE, NSGA-II and GPSampler, BoTorch's qLogNEHVI.

    uv run --group peers python tests/bench/peers.py [--seeds 30] [--only active,gp]

Every contender searches the same recorded grids, from the same first rows per seed, and no row twice. One that suggests
points instead of choosing among the open configs (Optuna) is moved to the nearest open one and told what that measured.
Printed per grid and contender: the share of the grid's hypervolume after 10, 15 and 20 runs (mean/10th percentile over
the seeds), `active` minus the contender at 15 (mean over the same seeds ± standard error), and the median CPU seconds
of one proposal, on one thread. All see log losses; none gets a prior.

Synthetic grids need nothing. For the measured ones set SERVECAST_ARGONNE to a copy of Plots/All_results.csv from
https://github.com/argonne-lcf/LLM-Inference-Bench. A contender whose library cannot be imported is skipped, with the
reason.

torch on Linux: PyPI's build for CUDA links libnccl.so.2, which this project's lock leaves out, so `import torch` fails
there and both GP contenders are skipped. The CPU build needs no NCCL (nor some gigabytes of CUDA libraries):

    uv sync && uv pip install --torch-backend cpu torch botorch
    uv run --no-sync python tests/bench/peers.py
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import optuna
from peer_strategies import BotorchPeer, gp_sampler, nsga2
from test_bench_search_quality import BUDGET, INITIAL, argonne, serving
from threadpoolctl import threadpool_limits

from model.prediction import Floats
from perfdb.records import Grid
from search.design import initial_choices
from search.objective import Objective, complete, to_loss
from search.plan import Choice, State, Strategy, Verdict
from search.replay import replay
from search.strategies import STRATEGIES, strategy

Case = tuple[Grid, Floats, tuple[Objective, ...]]
Make = Callable[[], Strategy]

MEASURED = (("meta-llama/Llama-2-7b-hf", 1024), ("meta-llama/Meta-Llama-3-8B", 1024))
SYNTHETIC = range(3)


@dataclass
class Timed:
    """A contender behind the initial design that all share; keeps the CPU seconds of each proposal after it."""

    inner: Strategy
    name: str
    seconds: list[float] = field(default_factory=list)

    def propose(self, state: State, count: int, rng: np.random.Generator) -> Sequence[Choice]:
        """The design while it lasts, then the contender."""
        chosen = initial_choices(state, count, rng)
        if chosen:
            return chosen
        start = time.process_time()
        proposed = self.inner.propose(state, count, rng)
        self.seconds.append(time.process_time() - start)
        return proposed

    def verdict(self, state: State, rng: np.random.Generator) -> Verdict:
        """Not asked by a replay."""
        return self.inner.verdict(state, rng)


CONTENDERS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "active": (lambda: strategy("active"), ()),
    "random": (lambda: strategy("random"), ()),
    "tpe": (lambda: strategy("tpe"), ()),
    "nsga2": (nsga2, ()),
    "gp": (gp_sampler, ("torch",)),
    "botorch": (BotorchPeer, ("torch", "botorch")),
}
"""Name -> how to make one, and the modules that it needs. `active` comes first: the others are compared with it."""


def importable(names: Sequence[str]) -> list[str]:
    """The contenders that can run; says of each other one why not."""
    found = []
    for name in names:
        try:
            for module in CONTENDERS[name][1]:
                importlib.import_module(module)
        except (ImportError, OSError, ValueError) as error:  # torch without its native libraries raises any of them.
            print(f"SKIPPED {name}: {error}; see the top of {sys.argv[0]}", flush=True)
        else:
            found.append(name)
    return found


def enter(contender: Timed) -> None:
    """Let `replay` find it by its name."""
    STRATEGIES[contender.name] = lambda: contender


def shares(name: str, case: Case, seeds: range) -> tuple[Floats, float]:
    """Share of the hypervolume after each run, `seeds x runs`, and the median CPU seconds of a proposal."""
    grid, values, objectives = case
    rows, seconds = [], []
    for seed in seeds:
        contender = Timed(CONTENDERS[name][0](), f"peer {name}")
        enter(contender)
        result = replay(grid, values, objectives, range(len(values)), contender.name, BUDGET, [seed], INITIAL)
        rows.append(result.runs[0].hypervolume)
        seconds += contender.seconds
    return np.array(rows), float(np.median(seconds))


def line(name: str, table: Floats, ours: Floats | None, seconds: float) -> str:
    """One line of the report; `ours` are the shares of `active` for the same seeds."""
    cells = [f"{table[:, b - 1].mean():.3f}/{np.quantile(table[:, b - 1], 0.1):.3f}" for b in (10, 15, 20)]
    lead = ""
    if ours is not None:
        difference = ours[:, 14] - table[:, 14]
        lead = f"{difference.mean():+.3f} ± {difference.std(ddof=1) / np.sqrt(len(difference)):.3f}"
    return f"  {name:8}" + "".join(f"{cell:>14}" for cell in cells) + f"{lead:>18}{seconds:10.3f}"


def cases() -> Iterator[tuple[str, Case]]:
    """The grids, each with its title."""
    if os.environ.get("SERVECAST_ARGONNE"):
        for model, length in MEASURED:
            yield f"{model} {length} without llama.cpp, throughput per device and latency", argonne(model, length)
    else:
        print("SKIPPED the measured grids: SERVECAST_ARGONNE names no All_results.csv")
    for seed in SYNTHETIC:
        yield f"synthetic serving model {seed}, three objectives", serving(seed)


def main() -> None:
    """Score all contenders on all grids; prints as it goes."""
    parser = argparse.ArgumentParser(description="Hypervolume of `active` and its peers on recorded grids.")
    parser.add_argument("--seeds", type=int, default=30, help="runs per contender and grid, at least 2")
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders, by comma")
    asked = parser.parse_args()
    names = asked.only.split(",")
    if asked.seeds < 2 or not set(names) <= set(CONTENDERS):
        parser.error(f"--seeds must be at least 2 and --only one or more of {', '.join(CONTENDERS)}")
    warnings.filterwarnings("ignore")  # Numerical advice of the peers; it would hide the table.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = importable([name for name in CONTENDERS if name in names])
    if not names:
        sys.exit("nothing is left to score")
    with threadpool_limits(1):  # As in the product: on small matrices more threads only wait for each other.
        score(names, asked.seeds)


def score(names: Sequence[str], seeds: int) -> None:
    """Print the table of every grid."""
    for title, case in cases():
        size, failed = len(case[1]), int((~complete(to_loss(case[1], case[2]))).sum())
        print(f"\n{title}: {size} records, {failed} failed, {seeds} seeds")
        print(f"  {'':8}{'HV@10':>14}{'HV@15':>14}{'HV@20':>14}{'active - it @15':>18}{'CPU s':>10}", flush=True)
        ours = None
        for name in names:
            table, seconds = shares(name, case, range(seeds))
            print(line(name, table, ours, seconds), flush=True)
            ours = table if name == "active" else ours


if __name__ == "__main__":
    main()
