"""Speed of the model: one what-if, a large grid, with and without what was learned. Run with `poe bench`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from model.checkpoint.architecture import resolve_model
from model.question import analyse
from model.surrogate import Question, Surrogate
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Target, Workload, canonical_json

MODELS = ("meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B", "mistralai/Mistral-7B-v0.3", "Qwen/Qwen2.5-14B")


def question(
    n: int, model: str = MODELS[0], place: str = "h100_sxm", seed: int = 0, rate: float | None = None
) -> Question:
    rng = np.random.default_rng(seed)
    grid = Grid(
        {
            "max_num_seqs": rng.integers(1, 512, n),
            "max_num_batched_tokens": rng.choice([512, 2048, 8192], n),
            "tensor_parallel_size": rng.choice([1, 2, 4, 8], n),
            "gpu_memory_utilization": rng.uniform(0.7, 0.95, n),
        }
    )
    load = Workload(isl=1024, osl=128, arrival=Arrival.CLOSED, concurrency=64)
    if rate:
        load = Workload(isl=1024, osl=128, arrival=Arrival.POISSON, request_rate=rate)
    return Question(Target(model, place, "vllm"), resolve_model(model), platform(place), load, grid)


def rows(asked: Question) -> dict[str, np.ndarray[Any, Any]]:
    n = len(asked.grid)
    metrics = analyse(asked).serving.metrics
    noise = np.exp(np.random.default_rng(1).normal(0.3, 0.2, n))
    texts = {"model": asked.target.model, "platform": asked.target.platform, "engine": "vllm", "arrival": "closed"}
    configs = [canonical_json(dict(asked.grid.config(row))) for row in range(n)]
    return {
        **{name: np.full(n, text, object) for name, text in texts.items()},
        **{name: np.full(n, value, float) for name, value in (("isl", 1024), ("osl", 128), ("concurrency", 64))},
        "config": np.array(configs, object),
        **{name: metrics[name] * noise for name in ("ttft_s", "tpot_s", "itl_s", "e2e_s", "output_tps")},
    }


def history(own: int) -> dict[str, np.ndarray[Any, Any]]:
    """1,200 rows of other models and platforms, and `own` rows of the asked scenario."""
    parts = [rows(question(200, m, p, 2)) for m in MODELS[1:] for p in ("h100_sxm", "h200_sxm")]
    parts += [rows(question(own, seed=3))] if own else []
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.parametrize(("n", "own"), [(1, None), (1, 0), (1, 30), (100_000, None), (100_000, 0), (100_000, 30)])
def test_predict(benchmark: BenchmarkFixture, n: int, own: int | None) -> None:
    """Goal: one config under 50 ms warm, 100,000 under 2 s; `own` None is without history, 30 with the process."""
    surrogate, asked = Surrogate.fit({} if own is None else history(own)), question(n)
    surrogate.predict(asked)
    found = benchmark.pedantic(surrogate.predict, (asked,), rounds=5 if n > 1 else 50)
    assert len(found.feasible) == n


def test_predict_at_a_rate(benchmark: BenchmarkFixture) -> None:
    surrogate, asked = Surrogate.fit({}), question(100_000, rate=10.0)
    benchmark.pedantic(surrogate.predict, (asked,), rounds=5)


def test_learning(benchmark: BenchmarkFixture) -> None:
    """From 1,200 rows to the first answer, libraries loaded."""
    known, asked = history(30), question(1)
    Surrogate.fit(known).predict(asked)
    benchmark.pedantic(lambda: Surrogate.fit(known).predict(asked), rounds=3)
