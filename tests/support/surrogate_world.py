"""A made-up world for the whole model: questions, what real serving would measure, and a database of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from model.checkpoint.architecture import Architecture, resolve_model
from model.question import analyse
from model.surrogate import Question
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Target, Workload, canonical_json

History = dict[str, np.ndarray[Any, Any]]
WORKLOAD = Workload(isl=512, osl=128, arrival=Arrival.CLOSED, concurrency=32, requests=320)
GRID = Grid({"max_num_seqs": np.array([4, 8, 16, 32, 64, 128]), "max_num_batched_tokens": np.array([1024, 8192] * 3)})
MODELS = ("meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B", "mistralai/Mistral-7B-v0.3", "Qwen/Qwen2.5-14B")
PLATFORMS = ("h100_sxm", "a100_sxm_80gb", "h200_sxm")


def question(
    model: str | Architecture = MODELS[0],
    place: str = "h100_sxm",
    grid: Grid = GRID,
    workload: Workload = WORKLOAD,
    devices: int = 1,
) -> Question:
    found = resolve_model(model) if isinstance(model, str) else model
    return Question(Target(found.name, place, "vllm", devices), found, platform(place), workload, grid)


def truth(asked: Question) -> dict[str, Any]:
    """A world in which real serving is slower than the roofline, more so for few slots."""
    metrics = analyse(asked).serving.metrics
    slots = np.asarray(asked.grid.columns["max_num_seqs"], float)
    slow = 1.6 + 2.0 / np.sqrt(slots)
    scales = {"ttft_s": 1.3 * slow, "tpot_s": slow, "e2e_s": slow, "output_tps": 1 / slow}
    return {name: metrics[name] * scale for name, scale in scales.items()}


def rows(asked: Question, keep: list[int] | None = None, **context: object) -> History:
    """What a database holds after the configs `keep` of a question were measured."""
    keep = list(range(len(asked.grid))) if keep is None else keep
    n, load = len(keep), asked.workload
    values = {name: column[keep] for name, column in truth(asked).items()}
    texts: dict[str, object] = {
        "model": asked.target.model, "platform": asked.target.platform, "engine": "vllm", "arrival": "closed",
        "outcome": "ok", "origin": "measured", "lengths": None,
    } | context  # fmt: skip
    history: History = {name: np.full(n, value, object) for name, value in texts.items()}
    for name, number in (("isl", load.isl), ("osl", load.osl), ("concurrency", load.concurrency),
                         ("requests", load.requests), ("request_rate", np.nan), ("devices", 1)):  # fmt: skip
        history[name] = np.full(n, number, float)
    configs = [canonical_json(dict(asked.grid.config(row))) for row in keep]
    return history | {"config": np.array(configs, object)} | values


def joined(*parts: History) -> History:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def related() -> History:
    """Rows of other models on three platforms, many enough for trees."""
    loads = [Workload(isl=isl, osl=128, arrival=Arrival.CLOSED, concurrency=c, requests=320) for isl in (256, 1024)
             for c in (8, 64)]  # fmt: skip
    return joined(*(rows(question(m, p, workload=load)) for m in MODELS[1:] for p in PLATFORMS for load in loads))
