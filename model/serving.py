"""Serving metrics in steady state, in closed form, for a whole grid at once.

Notation, all per replica: b requests in flight, A of them active (no more than slots and KV cache allow), B the token
budget of a step, P = ⌈isl/B⌉ steps of one prompt, M = A·isl/p mixed steps of p prompt tokens each in one cycle, in
which every active request is replaced once; N = osl − 1 + P steps of one request. Then

    cycle  C = M·t_mixed + max(N − M, 0)·t_decode          throughput  X = A/C
    TTFT     = wait for a slot + P·t_mixed + max(M − N, 0)·t_mixed          TPOT = (C − TTFT inside)/(osl − 1)

Requests of equal length that are prefilled in one step end in one step and stay together: then a step prefills as many
prompts as fit B. Requests of varying length drift apart: then it prefills A/osl (at least one). A closed loop of
finitely many requests starts as a burst; its share is b/requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from model.knobs import Points
from model.ops import StepLoad
from model.prediction import Floats
from model.step import Step, overheads, step

_RATE_POINTS = 8
_P90_SPREAD = 0.12
_DEFAULT_WAVES = 10.0


@dataclass(frozen=True)
class Serving:
    """Metrics of n rows (`metrics[name]`, `n`, in the metric's unit) and what they come from.

    `active` sequences per replica, `utilisation` is offered load over capacity (in a closed loop: slots over requests),
    `decode` and `mixed` the two kinds of step, `mixed_share` the share of time in mixed steps.
    """

    metrics: Mapping[str, Floats]
    active: Floats
    utilisation: Floats
    decode: Step
    mixed: Step
    mixed_share: Floats


@dataclass(frozen=True)
class _Cycle:
    """One turnover of the active requests: times in seconds, all `n`."""

    active: Floats
    seconds: Floats
    prompt_s: Floats
    burst_s: Floats
    late_s: Floats
    decode: Step
    mixed: Step
    mixed_share: Floats


def serve(points: Points, kv_sequences: Floats) -> Serving:
    """Metrics of every row, with at most `kv_sequences` sequences in flight per replica (see `model.memory`)."""
    slots = np.maximum(np.minimum(points.max_num_seqs, kv_sequences), 1.0)
    in_flight = np.maximum(points.load.amount / points.dp, 1.0)
    capacity = np.full(len(points), np.inf)
    rows = np.flatnonzero(points.load.is_open)
    if len(rows):
        found, limit = _concurrency_of_rate(points, slots, rows)
        in_flight, capacity = in_flight.copy(), capacity.copy()
        in_flight[rows], capacity[rows] = found, limit
    cycle = _cycle(points, np.minimum(in_flight, slots))
    return _answer(points, cycle, in_flight, capacity)


def _cycle(points: Points, wanted: Floats) -> _Cycle:
    """One cycle with `wanted` active requests."""
    load = points.load
    isl, osl = load.isl, load.osl
    budget = np.where(points.chunked_prefill > 0, points.max_num_batched_tokens, np.inf)
    budget = np.maximum(budget, np.where(points.chunked_prefill > 0, 1.0, isl))
    fitting = np.maximum(points.max_num_batched_tokens / isl, 1.0)
    waves = points.continuous_batching <= 0
    # without continuous batching a wave is what one step can prefill
    active = np.where(waves, np.minimum(wanted, np.maximum(np.floor(fitting), 1.0)), wanted)
    # a pipeline splits the active requests into one group per stage
    group = np.maximum(active / points.pp, 1.0)
    together = np.minimum(fitting, group)
    apart = np.minimum(np.clip(group / osl, 1.0, fitting), group)
    alike = np.where(load.is_batch | waves, 1.0, np.where(load.is_open, 0.0, load.alike))
    prompts = apart + (together - apart) * alike
    own = np.maximum(np.ceil(isl / budget), 1.0)
    prefill = prompts * isl / own
    mixed_steps = group / prompts * own
    mixed = step(points, _mixed_load(points, prefill, own, group - prompts))
    decode = step(points, _decode_load(points, group))
    steps = osl - 1.0 + own
    late = np.maximum(mixed_steps - steps, 0.0) * mixed.seconds
    mixed_s = mixed_steps * mixed.seconds
    seconds = mixed_s + np.maximum(steps - mixed_steps, 0.0) * decode.seconds
    burst = (mixed_steps + own) / 2.0 * mixed.seconds
    return _Cycle(active, seconds, own * mixed.seconds, burst, late, decode, mixed, mixed_s / seconds)


def _mixed_load(points: Points, prefill: Floats, own: Floats, decoding: Floats) -> StepLoad:
    isl = points.load.isl
    prompts = prefill / isl
    # averaged over the chunks of a prompt, half of it attends and (1 − 1/P)/2 of it was computed before
    past = np.maximum(prompts * own, 1.0) * isl * (1.0 - 1.0 / own) / 2.0
    return StepLoad(prefill, isl / 2.0, prompts, past, np.maximum(decoding, 0.0), _mean_kv(points))


def _decode_load(points: Points, sequences: Floats) -> StepLoad:
    zero = np.zeros_like(sequences)
    return StepLoad(zero, zero, zero, zero, sequences, _mean_kv(points))


def _mean_kv(points: Points) -> Floats:
    return points.load.isl + points.load.osl / 2.0


def _concurrency_of_rate(points: Points, slots: Floats, rows: np.ndarray) -> tuple[Floats, Floats]:
    """For rows of a request rate: the requests in flight at which throughput meets it, and the largest throughput.

    Throughput is evaluated at a few concurrencies up to the slots and interpolated in logarithms (Little's law).
    """
    part = take(points, rows)
    top = np.minimum(slots[rows], 4096.0)
    shares = np.linspace(0.0, 1.0, _RATE_POINTS)
    levels = np.stack([top**share for share in shares])
    added = overheads(points.engine.name)
    think = added.request_s + added.token_s * (part.load.osl - 1.0)
    rates = np.stack([level / (_cycle(part, level).seconds + think) for level in levels])
    rates = np.maximum.accumulate(rates, axis=0)
    wanted = part.load.amount / part.dp
    above = np.clip((rates < wanted).sum(axis=0), 1, _RATE_POINTS - 1)
    column = np.arange(len(rows))
    low, high = np.log(rates[above - 1, column]), np.log(rates[above, column])
    place = np.clip((np.log(wanted) - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    level = np.log(levels)
    found = np.exp(level[above - 1, column] * (1 - place) + level[above, column] * place)
    # below the throughput of a single request in flight there is mostly none
    return np.maximum(found, 1.0), rates[-1]


def take(points: Points, rows: np.ndarray) -> Points:
    """The given rows of `points`."""
    names = (name for name in points.__dataclass_fields__ if isinstance(getattr(points, name), np.ndarray))
    return replace(points, load=points.load.take(rows), **{name: getattr(points, name)[rows] for name in names})


def _answer(points: Points, cycle: _Cycle, in_flight: Floats, capacity: Floats) -> Serving:
    load = points.load
    osl = load.osl
    added = overheads(points.engine.name)
    think = added.request_s + added.token_s * (osl - 1.0)
    served = np.minimum(cycle.active / cycle.seconds, in_flight / (cycle.seconds + think))
    offered = np.where(load.is_open, load.amount / points.dp, np.inf)
    rate = np.where(load.is_open, np.minimum(offered, capacity), served)
    wait, utilisation = _wait(points, cycle, in_flight, capacity)
    start = cycle.prompt_s + cycle.late_s
    burst = _burst_share(points, in_flight)
    first = start + burst * np.maximum(cycle.burst_s - start, 0.0)
    tpot = np.maximum(cycle.seconds - first, cycle.decode.seconds) / np.maximum(osl - 1.0, 1.0) + added.token_s
    ttft = wait + first + added.request_s
    e2e = ttft + tpot * (osl - 1.0)
    batch_s = cycle.seconds * np.maximum(in_flight / cycle.active, 1.0) + added.request_s
    e2e = np.where(load.is_batch, batch_s, e2e)
    # replicas beyond the requests in flight have nothing to do
    at_work = np.where(load.is_open, points.dp, np.minimum(points.dp, load.amount))
    rate = np.where(load.is_batch, in_flight / batch_s, rate) * at_work
    spread = 1.0 + _P90_SPREAD + 0.5 * np.where(load.is_open, np.minimum(utilisation, 1.0), 0.0)
    metrics = {
        "ttft_s": ttft,
        "tpot_s": tpot,
        "itl_s": tpot,
        "e2e_s": e2e,
        "e2e_s_p90": np.where(load.is_batch, e2e, e2e * spread),
        "request_tps": rate,
        "output_tps": rate * osl,
        "total_tps": rate * (load.isl + osl),
    }
    return Serving(metrics, cycle.active, utilisation, cycle.decode, cycle.mixed, cycle.mixed_share)


def _burst_share(points: Points, in_flight: Floats) -> Floats:
    """Share of requests that arrive in the burst at the start."""
    load = points.load
    requests = np.where(np.isfinite(load.requests), load.requests / points.dp, _DEFAULT_WAVES * in_flight)
    share = np.minimum(in_flight / np.maximum(requests, 1.0), 1.0)
    return np.where(load.is_batch, 1.0, np.where(load.is_open, 0.0, share))


def _wait(points: Points, cycle: _Cycle, in_flight: Floats, capacity: Floats) -> tuple[Floats, Floats]:
    """Seconds until a request gets a slot, `n`, and the utilisation.

    Closed loop: (b − A)/X, half of that for the burst at the start. Rate λ: the mean wait of an M/D/1 queue of prompts
    and half of the step under way, and beyond the capacity X half of the backlog that the run builds up.
    """
    load = points.load
    turn = cycle.seconds / cycle.active
    closed = np.maximum(in_flight - cycle.active, 0.0) * turn * (1.0 - _burst_share(points, in_flight) / 2.0)
    offered = load.amount / points.dp
    utilisation = np.where(load.is_open, offered / capacity, np.minimum(1.0, cycle.active / in_flight))
    busy = np.minimum(offered * cycle.prompt_s, 0.95)
    queue = busy / (2.0 * (1.0 - busy)) * cycle.prompt_s + cycle.decode.seconds / 2.0
    requests = np.where(np.isfinite(load.requests), load.requests / points.dp, 1000.0)
    backlog = requests / 2.0 * np.maximum(1.0 / capacity - 1.0 / offered, 0.0)
    return np.where(load.is_open, queue + backlog, closed), utilisation
