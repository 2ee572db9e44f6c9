"""Where the time of a config's steps goes, kernel by kernel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from model.knobs import Points
from model.prediction import Floats
from model.steps.config import step_model
from model.steps.tabulate import Part
from model.tables.answer import PROVENANCE
from model.tables.library import Tables


@dataclass(frozen=True)
class Share:
    """One kind of kernel in one step: seconds of all its calls, their share of the step, sd of the logarithm, where it
    comes from (a name of `model.tables.answer.PROVENANCE`, or "engine" for what the engine adds)."""

    name: str
    seconds: float
    share: float
    rel_sd: float
    provenance: str


def explain(points: Points, row: int, active: float, tables: Tables) -> dict[str, list[Share]]:
    """The step that prefills a prompt (its first chunk) and the one that decodes `active` sequences, longest first."""
    steps, load = step_model(points, row, tables), points.load
    isl, osl = float(load.isl[row]), float(load.osl[row])
    chunk = _one(min(isl, float(points.max_num_batched_tokens[row])))
    group = _one(max(active / float(points.pp[row]), 1.0))
    one, none, cached = _one(1.0), _one(0.0), _one(isl + osl / 2.0)
    prefill = [*steps.by_tokens(chunk), *steps.by_sequences(one), *steps.prompts(one, chunk, none)]
    decode = [*steps.by_tokens(group), *steps.by_sequences(group), *steps.decoding(group, cached)]
    added = steps.overheads.step_s + steps.overheads.layer_s * steps.model.layers
    sequence = steps.overheads.sequence_s
    return {
        "prefill": _shares(prefill, added + sequence),
        "decode": _shares(decode, added + sequence * group.item()),
    }


def _one(value: float) -> Floats:
    return np.array([value])


def _shares(parts: Iterable[Part], engine_s: float) -> list[Share]:
    found = [(part.name, part.seconds.item(), part.rel_sd.item(), PROVENANCE[part.code.item()]) for part in parts]
    found.append(("engine", engine_s, 0.5, "engine"))
    total = sum(seconds for _, seconds, _, _ in found)
    shares = [Share(name, seconds, seconds / total, sd, source) for name, seconds, sd, source in found]
    return sorted(shares, key=lambda share: -share.seconds)
