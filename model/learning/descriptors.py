"""What a residual is learned from: facts of a row that mean the same on every model, platform and engine.

Analytic times and what bounds them, lengths and load, parallelism, formats, and the platform's rates: so a correction
learned on one platform carries over to another. All but shares, flags and the version are logarithms.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from model.closed_form.serving import Serving
from model.points import Points
from model.prediction import Floats
from model.steps.ops import StepLoad
from model.steps.step import Step, steps_s

LENGTHS = np.array([2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 2.0, 2.0, 0.5, 0.5])
"""The first columns of the descriptors say where a row lies within its group (see `_place`); at these distances, one
for each, two rows of a group have little to do with each other."""
PLACE_ROLES = frozenset({"tp", "pp", "dp", "weight_dtype", "max_num_seqs", "max_num_batched_tokens"})
"""The parameters that a place follows."""
ROOM_ROLES = frozenset({"memory_fraction", "kv_dtype"})
"""Parameters that act by the room for sequences alone, which the analytic answer accounts for."""
PROMPT = 0
"""Column of log(tokens of a prompt)."""
IS_OPEN = 9
"""Column that is 1 where requests arrive at a rate of their own."""
WAITING, ROOF_WAITING, ROOF_DECODING = range(len(LENGTHS), len(LENGTHS) + 3)
"""Columns that hold log(analytic time to the first token / time of the prompt alone), the same with that time on the
roofline (both 0 for requests that arrive at a rate of their own), and log(analytic time per output token / decode step
on the roofline)."""
_ENGINES = ("vllm", "sglang", "trtllm", "llamacpp")
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")


def version_number(version: object) -> float:
    """A release as a number that grows with it (0.19.1 -> 19.01, 1.2.0rc3 -> 102), 0 where it is not known."""
    found = _VERSION.match(version) if isinstance(version, str) else None
    if found is None:
        return 0.0
    major, minor, patch = (int(part or 0) for part in found.groups())
    return 100.0 * major + minor + patch / 100.0


def describe(points: Points, answer: Serving, version: float = 0.0) -> Floats:
    """Descriptors of n rows served by one version (see `version_number`), `n x d`; d is the same for every context."""
    one, several = np.ones(len(points)), np.maximum(points.max_num_batched_tokens / points.computed, 1.0)
    prompt, crowd = _prompts(points, one), _prompts(points, several)
    alone, crowd_s = steps_s(points, (prompt, crowd))
    roof_alone, roof_decode = steps_s(replace(points, tables=None), (prompt, _decoding(points, answer.active)))
    waits = np.where(points.load.is_open, 0.0, np.log(answer.metrics["ttft_s"] / np.stack([alone, roof_alone])))
    columns = [
        *_place(points),
        *waits,
        np.log(answer.metrics["tpot_s"] / roof_decode),
        np.log(roof_alone),
        np.log(roof_decode),
        *_times(points, answer, alone, crowd_s / several),
        *_shares(answer.decode),
        *_shares(answer.mixed),
        *_config(points, answer),
        *_context(points),
        version,
    ]
    # column by column in memory, too: of a large grid rows would be written all over it
    found = np.empty((len(columns), len(points)))
    for place, column in enumerate(columns):
        found[place] = column
    return found.T


def _prompts(points: Points, prompts: Floats) -> StepLoad:
    """Steps of so many whole prompts, `n`, and nothing else."""
    nothing, isl = np.zeros(len(points)), points.computed
    return StepLoad(isl * prompts, isl / 2.0, prompts, nothing, nothing, isl)


def _decoding(points: Points, sequences: Floats) -> StepLoad:
    nothing, kv = np.zeros(len(points)), points.load.isl + points.load.osl / 2.0
    return StepLoad(nothing, nothing, nothing, nothing, sequences / points.pp, kv)


def _place(points: Points) -> list[Floats]:
    load = points.load
    sizes = (load.isl, load.osl, load.amount, points.tp, points.pp, points.dp, points.layer_bytes)
    # more slots than requests are as good as one for each
    taken = np.where(load.is_open, points.max_num_seqs, np.minimum(points.max_num_seqs, load.amount / points.dp))
    limits = (np.maximum(taken, 1.0), points.max_num_batched_tokens)
    return [
        *map(np.log, sizes),
        *map(np.log, limits),
        load.is_open.astype(np.float64),
        load.is_batch.astype(np.float64),
    ]


def _times(points: Points, answer: Serving, alone: Floats, together: Floats) -> list[Floats]:
    """Analytic answers; the prompts that may wait for each other, in seconds and in steps; decoding per such wait."""
    load = points.load
    times = [np.log(answer.metrics[name]) for name in ("ttft_s", "tpot_s", "e2e_s", "output_tps")]
    queue = np.log(load.amount * together)
    steps = np.log(load.amount * load.isl / points.max_num_batched_tokens)
    decoding = np.log(load.osl * answer.decode.seconds)
    return [*times, np.log(alone), np.log(together), queue, steps, decoding - queue]


def _shares(step: Step) -> list[Floats]:
    parts = (step.compute_s, step.memory_s, step.message_s, step.overhead_s)
    return [np.log(step.seconds), *(part / step.seconds for part in parts)]


def _config(points: Points, answer: Serving) -> list[Floats]:
    flags = (points.chunked_prefill, points.continuous_batching, points.load.alike, answer.mixed_share)
    active, used = np.log(answer.active), np.log(np.maximum(answer.utilisation, 1e-6))
    return [*flags, active, used, np.log(points.kv_bytes), np.log(points.ep), np.log(points.attention_dp)]


def _context(points: Points) -> list[float | Floats]:
    model, platform = points.architecture, points.platform
    kv = model.kv_elements(np.ones(1)).item()
    sizes = (model.params, model.active_params, model.active_params / model.params, model.layers, model.hidden)
    rates = [points.gemm_flops, points.bandwidth, points.gemm_flops / points.bandwidth]
    link = np.log(platform.link_bytes_s) if platform.link_bytes_s else 0.0
    kinds = [float(platform.kind == "cpu"), float(model.experts), float(model.is_mla)]
    engines = [float(points.engine.name == name) for name in _ENGINES]
    rest = (model.vocab, kv, platform.memory_bytes)
    return [*map(np.log, sizes), *map(np.log, rest), *map(np.log, rates), link, *kinds, *engines]
