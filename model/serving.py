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

from model.ops import StepLoad
from model.points import Points
from model.prediction import Floats
from model.step import Step, step
from model.steps.overheads import overheads

_RATE_POINTS = 8
_P90_SPREAD = 0.12
DEFAULT_WAVES = 10.0
"""Requests sent over requests in flight, where nobody says how many are sent."""
_CROWD_ROUNDS = 6
MOST_LOAD = 0.98
"""Share of the capacity beyond which a run is too short to come to rest: its backlog is counted instead."""


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


@dataclass(frozen=True)
class _Open:
    """Rows of a request rate, all `n`: `capacity` (requests/s; inf elsewhere), `seconds` of a request from its arrival
    to its end, and of these `slot_s` waiting for a slot; `crowd` prompts that a step with prompts takes."""

    capacity: Floats
    seconds: Floats
    slot_s: Floats
    crowd: Floats


def serve(points: Points, kv_sequences: Floats) -> Serving:
    """Metrics of every row, with at most `kv_sequences` sequences in flight per replica (see `model.memory`)."""
    slots = np.maximum(np.minimum(points.max_num_seqs, kv_sequences), 1.0)
    in_flight = np.maximum(points.load.amount / points.dp, 1.0)
    n = len(points)
    found = _Open(np.full(n, np.inf), np.full(n, np.nan), np.zeros(n), np.ones(n))
    rows = np.flatnonzero(points.load.is_open)
    if len(rows):
        in_flight = in_flight.copy()
        in_flight[rows] = _open_loop(points, slots, rows, found)
    cycle = _cycle(points, np.minimum(in_flight, slots), found.crowd)
    return _answer(points, cycle, in_flight, found)


_SURE_ROOM = 2.0
"""How many times the accounted room for sequences there may be: twice in a cache in FP8 that nobody told of."""


def without_slot_waits(points: Points, kv_sequences: Floats) -> Points:
    """The same without the requests of a closed loop or batch that wait for a slot: beyond `max_num_seqs`, beyond
    blocks that were counted, or beyond twice what the account of the memory leaves room for."""
    room = kv_sequences * np.where(points.kv_blocks > 0, 1.0, _SURE_ROOM)
    most, load = np.maximum(np.minimum(points.max_num_seqs, room), 1.0) * points.dp, points.load
    waits = ~load.is_open & (load.amount > most)
    if not waits.any():
        return points
    return replace(points, load=replace(load, amount=np.where(waits, most, load.amount)))


def _cycle(points: Points, wanted: Floats, crowd: Floats | float = 1.0) -> _Cycle:
    """One cycle with `wanted` active requests; of those that arrive at random `crowd` are prefilled in one step."""
    load = points.load
    isl = points.computed
    osl = points.answer_steps
    budget = np.where(points.chunked_prefill > 0, points.max_num_batched_tokens, np.inf)
    budget = np.maximum(budget, np.where(points.chunked_prefill > 0, 1.0, isl))
    fitting = np.maximum(points.max_num_batched_tokens / isl, 1.0)
    waves = points.continuous_batching <= 0
    # without continuous batching a wave is what one step can prefill
    active = np.where(waves, np.minimum(wanted, np.maximum(np.floor(fitting), 1.0)), wanted)
    # a pipeline splits the active requests into one group per stage
    group = np.maximum(active / points.pp, 1.0)
    together = np.minimum(fitting, group)
    apart = np.minimum(np.clip(np.maximum(group / osl, crowd), 1.0, fitting), group)
    alike = np.where(load.is_batch | waves, 1.0, np.where(load.is_open, 0.0, load.alike))
    prompts = apart + (together - apart) * alike
    own = np.maximum(np.ceil(isl / budget), 1.0)
    prefill = prompts * isl / own
    mixed_steps = group / prompts * own
    mixed = step(points, mixed_load(points, prefill, own, group - prompts))
    decode = step(points, decode_load(points, group))
    steps = osl - 1.0 + own
    late = np.maximum(mixed_steps - steps, 0.0) * mixed.seconds
    mixed_s = mixed_steps * mixed.seconds
    seconds = mixed_s + np.maximum(steps - mixed_steps, 0.0) * decode.seconds
    burst = (mixed_steps + own) / 2.0 * mixed.seconds
    return _Cycle(active, seconds, own * mixed.seconds, burst, late, decode, mixed, mixed_s / seconds)


def mixed_load(points: Points, prefill: Floats, own: Floats, decoding: Floats) -> StepLoad:
    """A step with `prefill` tokens of prompts that take `own` steps each, beside `decoding` sequences; all `n`."""
    isl, reused = points.computed, points.reused
    prompts = prefill / isl
    # averaged over the chunks of a prompt, half of it attends and (1 − 1/P)/2 of it was computed before
    past = np.maximum(prompts * own, 1.0) * (reused + isl * (1.0 - 1.0 / own) / 2.0)
    return StepLoad(
        prefill, reused + isl / 2.0, prompts, past, np.maximum(decoding, 0.0), _mean_kv(points), _verified(points)
    )


def decode_load(points: Points, sequences: Floats) -> StepLoad:
    """A step of `sequences` (`n`) that decode, midway through their answers."""
    zero = np.zeros_like(sequences)
    return StepLoad(zero, zero, zero, zero, sequences, _mean_kv(points), _verified(points))


def _verified(points: Points) -> Floats:
    return 1.0 + points.draft_tokens


def _mean_kv(points: Points) -> Floats:
    return points.load.isl + points.load.osl / 2.0


def _open_loop(points: Points, slots: Floats, rows: np.ndarray, found: _Open) -> Floats:
    """Active requests of the rows of a request rate; `found` is filled in for them.

    Throughput is evaluated at a few concurrencies up to the slots.
    """
    # compiled functions take their time to import: only where a rate is asked for
    from model.queueing import in_flight

    part = points.take(rows)
    top = np.maximum(np.floor(np.minimum(slots[rows], 4096.0)), 1.0)
    levels = np.stack([top**share for share in np.linspace(0.0, 1.0, _RATE_POINTS)])
    think, wanted = _think(part), part.load.amount / part.dp
    crowd = _crowd(part, levels[_RATE_POINTS // 2], wanted)
    rates = np.stack([level / (_cycle(part, level, crowd).seconds + think) for level in levels])
    rates = np.maximum.accumulate(rates, axis=0)
    held = np.minimum(wanted, MOST_LOAD * rates[-1])
    mean, waiting = in_flight(np.ascontiguousarray(levels.T), np.ascontiguousarray(rates.T), held)
    found.capacity[rows], found.crowd[rows] = rates[-1], crowd
    found.seconds[rows], found.slot_s[rows] = mean / held, waiting / held
    # below the throughput of a single request in flight there is mostly none
    return np.asarray(np.maximum(mean - waiting, 1.0))


def _crowd(points: Points, level: Floats, rate: Floats) -> Floats:
    """Prompts in the step of a prompt where they arrive at `rate`: K = max(1, Poisson(m)) came during the step before,
    a prompt meets E[K²]/E[K] = (m + m² + exp(−m))/(m + exp(−m)), and no more than fit."""
    cycle = _cycle(points, level)
    fitting = np.maximum(points.max_num_batched_tokens / points.computed, 1.0)
    each = np.maximum(cycle.mixed.seconds - cycle.decode.seconds, 0.0) / np.maximum(level / points.answer_steps, 1.0)
    crowd = np.ones(len(points))
    for _ in range(_CROWD_ROUNDS):
        arrived = rate * (cycle.decode.seconds + each * crowd)
        alone = np.exp(-arrived)
        crowd = np.clip((arrived + arrived**2 + alone) / (arrived + alone), 1.0, fitting)
    return crowd


def _think(points: Points) -> Floats:
    """Seconds of a request that the engine's steps do not see, `n`."""
    added = overheads(points.engine.name)
    return np.asarray(added.request_s + added.token_s * (points.load.osl - 1.0))


def _answer(points: Points, cycle: _Cycle, in_flight: Floats, found: _Open) -> Serving:
    load = points.load
    osl = load.osl
    added = overheads(points.engine.name)
    served = np.minimum(cycle.active / cycle.seconds, in_flight / (cycle.seconds + _think(points)))
    offered = np.where(load.is_open, load.amount / points.dp, np.inf)
    rate = np.where(load.is_open, np.minimum(offered, found.capacity), served)
    wait, utilisation = _wait(points, cycle, in_flight, found)
    backlog = _backlog(points, found)
    start = cycle.prompt_s + cycle.late_s
    burst = _burst_share(points, in_flight)
    first = start + burst * np.maximum(cycle.burst_s - start, 0.0)
    after = np.where(load.is_open, found.seconds - wait - first - _think(points), cycle.seconds - first)
    tpot = np.maximum(after / np.maximum(osl - 1.0, 1.0), cycle.decode.seconds / osl) + added.token_s
    ttft = wait + backlog + first + added.request_s
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
    requests = np.where(np.isfinite(load.requests), load.requests / points.dp, DEFAULT_WAVES * in_flight)
    share = np.minimum(in_flight / np.maximum(requests, 1.0), 1.0)
    return np.where(load.is_batch, 1.0, np.where(load.is_open, 0.0, share))


def _wait(points: Points, cycle: _Cycle, in_flight: Floats, found: _Open) -> tuple[Floats, Floats]:
    """Seconds until the first step of a request, `n`, and the utilisation.

    Closed loop: (b − A)/X, half of that for the burst at the start. Rate: for a slot, for the prompts before it and for
    half of the step under way.
    """
    load = points.load
    turn = cycle.seconds / cycle.active
    closed = np.maximum(in_flight - cycle.active, 0.0) * turn * (1.0 - _burst_share(points, in_flight) / 2.0)
    utilisation = np.minimum(1.0, cycle.active / in_flight)
    if not load.is_open.any():
        return closed, utilisation
    from model.queueing import prompt_wait

    offered = load.amount / points.dp
    utilisation = np.where(load.is_open, offered / found.capacity, utilisation)
    own = np.maximum(np.round(cycle.prompt_s / cycle.mixed.seconds), 1.0)
    fitting = points.max_num_batched_tokens / points.computed
    before = prompt_wait(offered, cycle.mixed.seconds, fitting, own, 1.0 - load.alike)
    share = cycle.mixed_share
    busy = np.minimum(offered * cycle.seconds / cycle.active * in_flight, 1.0)
    under_way = busy * (share * cycle.mixed.seconds + (1.0 - share) * cycle.decode.seconds) / 2.0
    return np.where(load.is_open, found.slot_s + before + under_way, closed), utilisation


def _backlog(points: Points, found: _Open) -> Floats:
    """Seconds, `n`, that a rate beyond the capacity makes a request of the middle of the run wait."""
    load = points.load
    requests = np.where(np.isfinite(load.requests), load.requests / points.dp, 1000.0)
    behind = np.maximum(1.0 / found.capacity - points.dp / load.amount, 0.0)
    return np.where(load.is_open, requests / 2.0 * behind, 0.0)
