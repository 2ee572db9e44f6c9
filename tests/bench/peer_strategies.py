"""What people use otherwise, as strategies that `peers.py` compares with ours: Optuna's samplers and BoTorch.

torch and BoTorch are imported only where they are used. Notation: n configs, t runs so far, k objectives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna

from model.prediction import Floats
from search.design import initial_rows
from search.objective import complete, to_loss
from search.plan import Choice, State, Verdict
from search.strategies.random_search import exhausted
from search.strategies.tpe import OptunaSpace

if TYPE_CHECKING:
    import torch
    from botorch.acquisition import AcquisitionFunction
    from botorch.models import ModelListGP

POPULATION = 10
"""NSGA-II's default of 50 would make all 20 runs random."""
SAMPLES = 128
"""Quasi-random draws of BoTorch's acquisition function: its default."""


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


def nsga2() -> OptunaPeer:
    """NSGA-II (Deb 2002) with a small population."""
    return OptunaPeer("nsga2", lambda seed: optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed))


def gp_sampler() -> OptunaPeer:
    """A Gaussian process per objective and log EHVI, from the first run after the design; needs torch."""
    return OptunaPeer("gp", lambda seed: optuna.samplers.GPSampler(n_startup_trials=1, seed=seed))
