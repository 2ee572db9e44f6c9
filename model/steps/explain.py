"""Where the time of a config's steps goes, kernel by kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.closed_form.cycle import decode_load
from model.points import Points
from model.simulate.costs import attention_s
from model.steps.bundle import Bundle
from model.steps.config import step_model
from model.steps.ops import StepLoad, operations
from model.steps.step import drafting_s, operation_s
from model.steps.tabulate import StepModel
from model.tables.answer import INTERPOLATED, PROVENANCE, ROOFLINE
from model.tables.efficiency import ROOFLINE_SD

_ENGINE = "engine"
_ENGINE_SD = 0.5
_LAYER_SD = 0.05


@dataclass(frozen=True)
class Share:
    """One kind of kernel in one step: seconds of all its calls, their share of the step, sd of the logarithm, where it
    comes from (a name of `model.tables.answer.PROVENANCE`, or "engine" for what the engine adds)."""

    name: str
    seconds: float
    share: float
    rel_sd: float
    provenance: str


_Part = tuple[str, float, float, str]
"""Name, seconds, sd and origin."""


def explain(points: Points, row: int, active: float) -> dict[str, list[Share]]:
    """The step that prefills a prompt (its first chunk) and the one that decodes `active` sequences, longest first."""
    one = points.take(np.array([row]))
    group = np.maximum(active / one.pp, 1.0)
    return {"prefill": _shares(one, _first_chunk(one)), "decode": _shares(one, decode_load(one, group))}


def _first_chunk(points: Points) -> StepLoad:
    chunk = np.minimum(points.computed, points.max_num_batched_tokens)
    alone, none = np.ones(1), np.zeros(1)
    return StepLoad(chunk, points.reused + chunk / 2.0, alone, points.reused, none, points.load.isl)


def _shares(points: Points, load: StepLoad) -> list[Share]:
    parts = [*(_on_roofline(points, load) if points.tables is None else _of_kernels(points, load))]
    drafting = drafting_s(points, load).item()
    if drafting > 0:
        parts.append(("drafting", drafting, _ENGINE_SD, _ENGINE))
    total = sum(seconds for _, seconds, _, _ in parts)
    shares = [Share(name, seconds, seconds / total, sd, source) for name, seconds, sd, source in parts]
    return sorted(shares, key=lambda share: -share.seconds)


def _on_roofline(points: Points, load: StepLoad) -> Iterator[_Part]:
    for operation in operations(points, load):
        seconds = operation_s(points, operation)[0].item()
        if seconds > 0:
            yield operation.name, seconds, ROOFLINE_SD, PROVENANCE[ROOFLINE]
    added = points.overheads
    engine_s = added.step_s + added.layer_s * points.architecture.layers + added.sequence_s * load.sequences.item()
    yield _ENGINE, engine_s, _ENGINE_SD, _ENGINE


def _of_kernels(points: Points, load: StepLoad) -> Iterator[_Part]:
    assert points.tables is not None
    steps = step_model(points, 0, points.tables)
    if steps.bundle is not None:
        yield from _of_layers(steps, steps.bundle, load)
        return
    parts = [*steps.by_tokens(load.tokens)]
    # without graphs the host is still launching when these kernels are done
    launching = steps.host_s - sum(part.seconds.item() for part in parts)
    if launching > 0:
        yield "launching", launching, _ENGINE_SD, _ENGINE
    parts += steps.by_sequences(np.asarray(load.sequences))
    if load.prefill.item() > 0:
        parts += steps.prompts(load.prompts, load.prefill, load.past)
    if load.decode.item() > 0:
        parts += steps.decoding(load.decode, load.kv)
    for part in parts:
        yield part.name, part.seconds.item(), part.rel_sd.item(), PROVENANCE[part.code.item()]
    added = steps.overheads
    engine_s = added.step_s + added.layer_s * steps.model.layers + added.sequence_s * load.sequences.item()
    yield _ENGINE, engine_s, _ENGINE_SD, _ENGINE


def _of_layers(steps: StepModel, bundle: Bundle, load: StepLoad) -> Iterator[_Part]:
    """Of a model's own measured layers; between devices they were not measured."""
    parts = bundle.by_tokens(load.tokens) | bundle.by_sequences(np.asarray(load.sequences))
    costs = steps.costs(int(np.ceil(load.tokens.item())), 1)
    chunk, count = load.prefill.item(), max(load.prompts.item(), 1.0)
    place = (chunk, chunk / np.sqrt(count), load.past.item() / count, load.decode.item(), load.kv.item())
    for name, seconds in parts.items():
        yield name, seconds.item(), _LAYER_SD, PROVENANCE[INTERPOLATED]
    yield "attention", attention_s.taking(1e-3)(costs, *place), _LAYER_SD, PROVENANCE[INTERPOLATED]
    for part in steps.by_tokens(load.tokens):
        if part.name in {"all_reduce", "dispatch", "combine"}:
            yield part.name, part.seconds.item(), part.rel_sd.item(), PROVENANCE[part.code.item()]
