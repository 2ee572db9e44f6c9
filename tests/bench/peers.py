"""How good is `active` beside what people use otherwise? Optuna's TPE, NSGA-II and GPSampler, BoTorch's qLogNEHVI.

    uv run --group peers python tests/bench/peers.py [--seeds 30] [--only active,gp]

Every contender searches the same recorded grids, from the same first rows per seed, and no row twice. One that suggests
points instead of choosing among the open configs (Optuna) is moved to the nearest open one, and told what that measured.
Printed per grid and contender: the share of the grid's hypervolume after 10, 15 and 20 runs (mean/10th percentile over
the seeds), `active` minus the contender at 15 (mean over the same seeds ± standard error), and the median CPU seconds of
one proposal, on one thread. All see log losses; none gets a prior.

Synthetic grids need nothing. For the measured ones set SERVECAST_ARGONNE to a copy of Plots/All_results.csv from
https://github.com/argonne-lcf/LLM-Inference-Bench. A contender whose library cannot be imported is skipped, with the
reason.

torch on Linux: the CUDA build of PyPI links `libnccl.so.2`, which this project's lock leaves out, so there `import torch`
fails and both GP contenders are skipped. The CPU build needs no NCCL (nor some gigabytes of CUDA libraries):

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
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from test_bench_search_quality import BUDGET, INITIAL, argonne, serving

from model.prediction import Floats
from perfdb.records import Grid
from search.design import initial_choices, initial_rows
from search.objective import Objective, complete, to_loss
from search.plan import Choice, State, Strategy, Verdict
from search.replay import replay
from search.strategies import STRATEGIES, strategy
from search.strategies.random_search import exhausted
from search.strategies.tpe import OptunaSpace

if TYPE_CHECKING:
    import torch
    from botorch.acquisition import AcquisitionFunction
    from botorch.models import ModelListGP

Case = tuple[Grid, Floats, tuple[Objective, ...]]
Make = Callable[[], Strategy]

POPULATION = 10
"""NSGA-II's default of 50 would make all 20 runs random."""
SAMPLES = 128
"""Quasi-random draws of BoTorch's acquisition function: its default."""
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


@dataclass
class OptunaPeer:
    """One of Optuna's samplers over a study that is rebuilt from the state; `make` builds the sampler from a seed.

    A trial holds the config that was run, not the one that was suggested. A failed run violates a constraint and has
    the worst losses seen. What a sampler noted on its trials (NSGA-II: the generation) is kept, so one object serves
    one seed.
    """

    name: str
    make: Callable[[int], optuna.samplers.BaseSampler]
    notes: dict[int, dict[str, Any]] = field(default_factory=dict)

    def propose(self, state: State, count: int, rng: np.random.Generator) -> Sequence[Choice]:
        """One open row: the nearest to what the sampler suggests."""
        space = OptunaSpace.of(state.features)
        sampler, k = self.make(int(rng.integers(2**31))), len(state.objectives)
        empty = _study(self.make(0), k)
        empty.ask(space.distributions())
        study, failures = _study(sampler, k), not state.ok.all()
        for row, ok, loss in zip(state.rows, state.ok, _finite_losses(state), strict=True):
            study.add_trial(
                optuna.trial.create_trial(
                    params=space.params(int(row)),
                    distributions=space.distributions(),
                    values=loss.tolist(),
                    system_attrs=self.notes.get(int(row), empty.trials[0].system_attrs),
                    constraints={"works": -1.0 if ok else 1.0} if failures else None,
                )
            )
        row = space.nearest(study.ask(space.distributions()).params, state.open_rows, rng)
        self.notes[row] = study.trials[-1].system_attrs
        return [Choice(row, self.name)]

    def verdict(self, state: State, rng: np.random.Generator) -> Verdict:
        """Stop when nothing is open."""
        return exhausted(state)


def _study(sampler: optuna.samplers.BaseSampler, k: int) -> optuna.Study:
    return optuna.create_study(directions=["minimize"] * k, sampler=sampler)


def _finite_losses(state: State) -> Floats:
    """Log losses, `t x k`; a failure gets the worst of the successes, 0 where there is none."""
    losses = to_loss(state.values, state.objectives)
    worked = complete(losses)
    worst = losses[worked].max(axis=0) if worked.any() else np.zeros(losses.shape[1])
    finite: Floats = np.where(worked[:, None], losses, worst)
    return finite


@dataclass(frozen=True)
class BotorchPeer:
    """qLogNEHVI (Ament 2023, Daulton 2021) of every open row; one GP per objective, one for what works if some failed.

    All as BoTorch's defaults have it: kernel and priors, standardised outcomes, the inferred reference point.
    """

    name: str = "botorch"

    def propose(self, state: State, count: int, rng: np.random.Generator) -> Sequence[Choice]:
        """The open row of the greatest value, of equals a random one; far from the others while nothing has worked."""
        import torch

        open_rows, losses = state.open_rows, to_loss(state.values, state.objectives)
        if not complete(losses).any():
            return [Choice(int(initial_rows(state, 1, rng)[0]), self.name)]
        function = _acquisition(state, -losses, int(rng.integers(2**31)))
        with torch.no_grad():
            blocks = torch.from_numpy(state.features[open_rows])[:, None, :].split(256)
            value = torch.cat([function(block) for block in blocks]).numpy()
        return [Choice(int(rng.choice(open_rows[value >= value.max() - 1e-9])), self.name)]

    def verdict(self, state: State, rng: np.random.Generator) -> Verdict:
        """Stop when nothing is open."""
        return exhausted(state)


def _acquisition(state: State, gains: Floats, seed: int) -> AcquisitionFunction:
    """qLogNEHVI for gains (greater is better, `t x k`) with NaN where a run failed."""
    import torch
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
    from botorch.sampling import SobolQMCNormalSampler
    from botorch.utils.multi_objective import infer_reference_point, is_non_dominated

    k, worked = gains.shape[1], complete(gains)
    tried, y = torch.from_numpy(state.features[state.rows]), torch.from_numpy(gains[worked])
    torch.manual_seed(seed)
    return qLogNoisyExpectedHypervolumeImprovement(
        model=_fitted(tried, y, torch.from_numpy(worked)),
        ref_point=infer_reference_point(y[is_non_dominated(y)]),
        X_baseline=tried[torch.from_numpy(worked)],
        sampler=SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=seed),
        objective=IdentityMCMultiOutputObjective(outcomes=list(range(k))),
        constraints=None if worked.all() else [lambda drawn: -drawn[..., k]],
        prune_baseline=True,
    )


def _fitted(tried: torch.Tensor, y: torch.Tensor, worked: torch.Tensor) -> ModelListGP:
    """A GP for each column of `y` on the runs that worked; if not all did, one more of +1 (worked) and -1 on all."""
    from botorch import fit_gpytorch_mll
    from botorch.models import ModelListGP, SingleTaskGP
    from gpytorch.mlls import SumMarginalLogLikelihood

    models = [SingleTaskGP(tried[worked], column[:, None]) for column in y.T]
    if not worked.all():
        models.append(SingleTaskGP(tried, 2.0 * worked[:, None].to(y) - 1.0))
    model = ModelListGP(*models)
    fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
    return model


def _nsga2() -> Strategy:
    return OptunaPeer("nsga2", lambda seed: optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed))


def _gp() -> Strategy:
    return OptunaPeer("gp", lambda seed: optuna.samplers.GPSampler(n_startup_trials=INITIAL, seed=seed))


CONTENDERS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "active": (lambda: strategy("active"), ()),
    "random": (lambda: strategy("random"), ()),
    "tpe": (lambda: strategy("tpe"), ()),
    "nsga2": (_nsga2, ()),
    "gp": (_gp, ("torch",)),
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
        except ImportError as error:
            print(f"SKIPPED {name}: {error}; see the top of {sys.argv[0]}", flush=True)
        else:
            found.append(name)
    return found


def shares(name: str, case: Case, seeds: range) -> tuple[Floats, float]:
    """Share of the hypervolume after each run, `seeds x runs`, and the median CPU seconds of a proposal."""
    grid, values, objectives = case
    rows, seconds = [], []
    for seed in seeds:
        contender = Timed(CONTENDERS[name][0](), f"peer {name}")
        STRATEGIES[contender.name] = lambda it=contender: it  # type: ignore[misc]
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
    for seed in SYNTHETIC:
        yield f"synthetic serving model {seed}, three objectives", serving(seed)
    if not os.environ.get("SERVECAST_ARGONNE"):
        print("SKIPPED the measured grids: SERVECAST_ARGONNE names no All_results.csv")
        return
    for model, length in MEASURED:
        yield f"{model} {length} without llama.cpp, throughput per device and latency", argonne(model, length)


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
    for title, case in cases():
        size, failed = len(case[1]), int((~complete(to_loss(case[1], case[2]))).sum())
        print(f"\n{title}: {size} records, {failed} failed, {asked.seeds} seeds")
        print(f"  {'':8}{'HV@10':>14}{'HV@15':>14}{'HV@20':>14}{'active - it @15':>18}{'CPU s':>10}", flush=True)
        ours = None
        for name in names:
            table, seconds = shares(name, case, range(asked.seeds))
            print(line(name, table, ours, seconds), flush=True)
            ours = table if name == "active" else ours


if __name__ == "__main__":
    # One thread, also for libraries that count the cores when they are imported: the peers pay for their own CPU only.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    main()
