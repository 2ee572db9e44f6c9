"""What a residual is learned from: facts of a row that mean the same on every model, platform and engine.

Analytic times and what bounds them, lengths and load, parallelism, formats, and the platform's rates: so a correction
learned on one platform carries over to another. All but shares and flags are logarithms.
"""

from __future__ import annotations

import numpy as np

from model.knobs import Points
from model.prediction import Floats
from model.serving import Serving
from model.step import Step

_ENGINES = ("vllm", "sglang", "trtllm", "llamacpp")


def describe(points: Points, answer: Serving) -> Floats:
    """Descriptors of n rows, `n x d`; d is the same for every context."""
    columns = [*_analytic(answer), *_load(points, answer), *_config(points), *_context(points)]
    n = len(points)
    return np.column_stack([np.broadcast_to(np.asarray(column, np.float64), n) for column in columns])


def _analytic(answer: Serving) -> list[Floats]:
    metrics = answer.metrics
    times = [np.log(metrics[name]) for name in ("ttft_s", "tpot_s", "e2e_s", "output_tps")]
    return [*times, answer.mixed_share, *_shares(answer.decode), *_shares(answer.mixed)]


def _shares(step: Step) -> list[Floats]:
    parts = (step.compute_s, step.memory_s, step.message_s, step.overhead_s)
    return [np.log(step.seconds), *(part / step.seconds for part in parts)]


def _load(points: Points, answer: Serving) -> list[Floats]:
    load = points.load
    closed = 1.0 - load.is_open - load.is_batch
    sizes = [np.log(load.isl), np.log(load.osl), np.log(answer.active), np.log(np.maximum(answer.utilisation, 1e-6))]
    return [*sizes, closed, load.is_open.astype(np.float64), load.alike]


def _config(points: Points) -> list[Floats]:
    numbers = (points.tp, points.pp, points.dp, points.max_num_batched_tokens, points.max_num_seqs)
    flags = (points.chunked_prefill, points.continuous_batching)
    return [*map(np.log, numbers), *flags, np.log(points.layer_bytes), np.log(points.kv_bytes)]


def _context(points: Points) -> list[float | Floats]:
    model, platform = points.architecture, points.platform
    kv = model.kv_elements(np.ones(1)).item()
    sizes = (model.params, model.active_params, model.layers, model.hidden, model.vocab, kv)
    rates = [points.gemm_flops, points.bandwidth, points.gemm_flops / points.bandwidth]
    link = np.log(platform.link_bytes_s) if platform.link_bytes_s else 0.0
    kinds = [float(platform.kind == "cpu"), float(model.experts > 0), float(model.is_mla)]
    engines = [float(points.engine.name == name) for name in _ENGINES]
    return [*map(np.log, sizes), *map(np.log, rates), link, np.log(platform.memory_bytes), *kinds, *engines]
