"""What no estimate may say, however its parts were corrected: more served than comes or than steps hold, a first token
after the last, more requests than there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from model.prediction import Bools, Estimate, Floats

if TYPE_CHECKING:
    from model.question import Analysis

_MIXING = frozenset({"vllm", "trtllm"})
"""Engines whose steps hold prompts beside sequences that decode."""


def as_offered(found: Analysis, basis: Mapping[str, Estimate], rows: Bools | bool = True) -> dict[str, Estimate]:
    """In the given rows no more is served than comes, nor may it be: overload that was corrected may not answer
    requests that nobody sent."""
    load, rate = found.points.load, basis["output_tps"]
    most = np.where(load.is_open & rows, np.log(load.amount * load.osl), np.inf)
    return {**basis, "output_tps": Estimate(np.minimum(rate.log_mean, most), rate.log_sd, most)}


def in_flight(found: Analysis, basis: Mapping[str, Estimate], rows: Bools) -> dict[str, Estimate]:
    """In the given rows a closed loop or batch serves no more than its requests are done with, one after the other
    (Little's law): throughput and latencies are each found by themselves, and of short answers they may part."""
    load, rate = found.points.load, basis["output_tps"]
    most = np.log(load.amount * load.osl) - basis["e2e_s"].log_mean
    mean = np.where(rows & ~load.is_open, np.minimum(rate.log_mean, most), rate.log_mean)
    return {**basis, "output_tps": Estimate(mean, rate.log_sd, rate.log_most)}


def within_budget(found: Analysis, basis: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """No more tokens than the budget of a step, in as many steps as a sequence takes that decodes: latencies of a
    closed loop that are each corrected by itself may say otherwise where the budget is what limits.

    Only where steps hold prompts and decoding sequences alike, without drafts: a token is a step then.
    """
    points, load = found.points, found.points.load
    mixing = (points.chunked_prefill > 0) & (points.draft_tokens <= 0) & ~(load.is_open | load.is_batch)
    mixing &= points.engine.name in _MIXING
    steps = points.dp * points.pp * points.max_num_batched_tokens
    most = np.log(steps / (points.computed + load.osl)) - basis["tpot_s"].log_mean
    over = np.where(mixing, np.maximum(basis["output_tps"].log_mean - np.log(load.osl) - most, 0.0), 0.0)
    if not over.any():
        return dict(basis)
    sd = {name: np.hypot(estimate.log_sd, over / 2.0) for name, estimate in basis.items()}
    longer = {name: Estimate(basis[name].log_mean + over, sd[name]) for name in ("e2e_s", "e2e_s_p90")}
    decoding = np.exp(basis["tpot_s"].log_mean) * (load.osl - 1.0)
    first = np.log(np.maximum(np.exp(longer["e2e_s"].log_mean) - decoding, np.exp(basis["ttft_s"].log_mean)))
    rate = basis["output_tps"]
    return {
        **basis,
        **longer,
        "ttft_s": Estimate(np.where(over > 0, first, basis["ttft_s"].log_mean), sd["ttft_s"]),
        "output_tps": Estimate(rate.log_mean - over, sd["output_tps"]),
    }


def consistent(found: Analysis, basis: Mapping[str, Estimate], is_measured: Bools) -> dict[str, Estimate]:
    """No first token after the last one, nor sooner than the devices can multiply its prompt: each metric is corrected
    by itself, and a waiting time that is extrapolated from short waits can run away. It is moved between the two, which
    widens it; what was measured stands."""
    ttft, e2e = basis["ttft_s"], basis["e2e_s"]
    inside = np.minimum(np.maximum(ttft.log_mean, np.log(_soonest_s(found))), e2e.log_mean)
    moved = np.where(is_measured, 0.0, inside - ttft.log_mean)
    return {**basis, "ttft_s": Estimate(ttft.log_mean + moved, np.hypot(ttft.log_sd, moved / 2))}


def _soonest_s(found: Analysis) -> Floats:
    """Seconds in which the devices of one server, at their peak, compute the prompt of a request, `n`."""
    points, model = found.points, found.points.architecture
    layers = max(model.active_params - model.vocab * model.hidden, 1.0)
    return np.asarray(2.0 * layers * points.computed / (points.gemm_flops * points.group * points.pp))
