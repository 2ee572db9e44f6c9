"""Serving metrics in steady state, in closed form, for a whole grid at once.

All per replica, of b requests in flight, A of them active (no more than slots and KV cache allow), each of N steps and
turned over in a cycle of C seconds (see `model.closed_form.cycle`):

    throughput  X = A/C        TTFT = wait for a slot + wait for others' prompts + own steps
    TPOT = (C − TTFT after the slot)/(osl − 1)

A closed loop of finitely many requests starts as a burst; its share is b/requests. For requests at a rate of their own
see `model.closed_form.arriving`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from model.closed_form.arriving import Arriving, arriving, think_s
from model.closed_form.convoy import burst_share
from model.closed_form.cycle import Cycle, cycle
from model.closed_form.full_cache import admitted
from model.closed_form.joint import between_ranks
from model.closed_form.pipeline import passing
from model.closed_form.queueing import MOST_LOAD, prompting
from model.points import Points
from model.prediction import Bools, Floats
from model.steps.step import Step, bound

_P90_SPREAD = 0.12
_UNTOLD_ROOM = 2.0
"""How many times the accounted room there may be beside quantised weights: their checkpoint may put the cache in FP8,
which nobody tells."""
_HALF_BYTES = 2.0
_FULL_ROOM = 1.15
"""How many times the room requests take that leave nothing of it free."""


@dataclass(frozen=True)
class Serving:
    """Metrics of n rows (`metrics[name]`, `n`, in the metric's unit) and what they come from.

    `active` sequences per replica, `utilisation` is offered load over capacity (in a closed loop: slots over requests),
    `decode` and `mixed` the two kinds of step, `mixed_share` the share of time in mixed steps; `first_token` the parts
    of the time to the first token, seconds, `n`.
    """

    metrics: Mapping[str, Floats]
    active: Floats
    utilisation: Floats
    decode: Step
    mixed: Step
    mixed_share: Floats
    first_token: Mapping[str, Floats]


@dataclass(frozen=True)
class _Spent:
    """Where the seconds of a request go, all `n`: `wait_s` before its first step, `first_s` from there to the first
    token, `answer_s` after it; `rate` requests/s of a replica at `utilisation`."""

    wait_s: Floats
    first_s: Floats
    answer_s: Floats
    rate: Floats
    utilisation: Floats

    def put(self, rows: np.ndarray, others: _Spent) -> _Spent:
        """The same with `others` in the given rows."""
        columns = {name: getattr(self, name).copy() for name in self.__dataclass_fields__}
        for name, column in columns.items():
            column[rows] = getattr(others, name)
        return _Spent(**columns)


def serve(points: Points, kv_sequences: Floats) -> Serving:
    """Metrics of every row, with at most `kv_sequences` sequences in flight per replica (see `model.memory`)."""
    slots = np.maximum(np.minimum(points.max_num_seqs, kv_sequences), 1.0)
    is_open, load = points.load.is_open, points.load.amount / points.dp
    in_flight, rows = np.where(is_open, np.inf, np.maximum(load, 1.0)), np.flatnonzero(is_open)
    kept = admitted(points, in_flight, kv_sequences)
    if not len(rows):
        found = cycle(points, kept.active, again=kept.again)
        return _answer(points, found, in_flight, _in_loop(points, found, in_flight, kept.begun))
    part = points.take(rows)
    open_ = arriving(part, slots[rows], kept.take(rows))
    crowd, groups = np.ones(len(points)), np.ones(len(points))
    in_flight[rows], crowd[rows], groups[rows] = open_.active, open_.crowd, open_.groups
    active, again = np.where(is_open, in_flight, kept.active), np.where(is_open, 0.0, kept.again)
    found = cycle(points, active, crowd, again, groups)
    spent = _in_loop(points, found, in_flight, kept.begun)
    decided = _decided_s(points, found)[rows]
    return _answer(points, found, in_flight, spent.put(rows, _at_rate(part, found, rows, open_, decided)))


def p90_spread(is_open: Bools, utilisation: Floats) -> Floats:
    """How many times its mean the 90th percentile of a whole request's time is, `n`: more, where requests come at a
    rate of their own, the busier the server."""
    return np.asarray(1.0 + _P90_SPREAD + 0.5 * np.where(is_open, np.minimum(utilisation, 1.0), 0.0))


def without_slot_waits(points: Points, kv_sequences: Floats) -> Points:
    """The same without the requests of a closed loop or batch that wait for a slot: beyond `max_num_seqs`, or beyond
    what the account of the memory leaves room for."""
    untold = (points.kv_blocks <= 0) & (points.layer_bytes < _HALF_BYTES) & (points.kv_bytes >= _HALF_BYTES)
    room = kv_sequences * np.where(untold, _UNTOLD_ROOM, _FULL_ROOM)
    most, load = np.maximum(np.minimum(points.max_num_seqs, room), 1.0) * points.dp, points.load
    waits = ~load.is_open & (load.amount > most)
    if not waits.any():
        return points
    return replace(points, load=replace(load, amount=np.where(waits, most, load.amount)))


def _in_loop(points: Points, found: Cycle, in_flight: Floats, begun: Floats) -> _Spent:
    """Rows of a closed loop or a batch. For a slot wait (b − A)/X, half of that in the burst at the start; those who
    have `begun` wait amid their answers."""
    burst = burst_share(points, in_flight)
    start = found.first_s + found.late_s + _decided_s(points, found)
    # where prompts come first, who is in step comes as in a burst each time
    together = np.maximum(burst, found.in_step) if points.prefills_apart else burst
    first = start + together * np.maximum(found.burst_s - start, 0.0)
    waiting = np.maximum(in_flight - found.active, 0.0)
    slot_s = (waiting - begun) * (1.0 - burst / 2.0) * found.seconds / found.active
    answer = found.seconds * (1.0 + begun / found.active) - first
    rate = np.minimum(found.active / found.seconds, in_flight / (found.seconds + think_s(points)))
    utilisation = np.minimum(1.0, found.active / in_flight)
    return _Spent(slot_s, first, answer, rate, utilisation)


def _decided_s(points: Points, found: Cycle) -> Floats:
    """Seconds of the step that was decided before a request came, which it waits for, `n`.

    Who comes at random meets any step next. Of those in step the first wait for a step of those who still decode, if
    there is a time without prompts, the others for the prompts before theirs; if all are the first, nobody waits.
    """
    share, first = found.mixed_share, np.where(found.mixed_share < 1.0, found.first_share, 0.0)
    any_s = 1.0 / (share / found.mixed_s + (1.0 - share) / found.decode_s)
    mixes = not points.prefills_apart
    turn_s = np.where(found.first_share < 1.0, found.mixed_s + (found.decode_s - found.mixed_s) * first, 0.0) * mixes
    # ranks that share experts take all of their steps together
    others = np.where(points.attention_dp > 1.0, points.load.amount, found.active) - 1.0
    alone = np.where(points.load.is_open, mixes, np.minimum(others, 1.0))
    return np.asarray(points.decided_ahead * (alone * any_s + found.in_step * (turn_s - alone * any_s)))


def _at_rate(points: Points, found: Cycle, rows: np.ndarray, open_: Arriving, decided: Floats) -> _Spent:
    """The given rows of a cycle, which all have a request rate: `points` and what was found for them. Waits are for a
    slot, for the step under way, for the next where that is `decided` (its seconds, else 0), for the prompts before."""
    load, offered = points.load, points.load.amount / points.dp
    rate = np.minimum(offered, MOST_LOAD * open_.capacity)
    idle_s, each_s, fitting = found.decode_s[rows], found.each_s[rows], found.fitting[rows]
    each = rate / open_.groups
    prompt = prompting(each, idle_s, each_s, fitting, 1.0 - load.alike)
    prompt = passing(points, open_.groups, idle_s, fitting, prompt)
    prompt = between_ranks(points, prompt, each, idle_s, each_s, fitting)
    wait = open_.slot_s + (1.0 - np.exp(-open_.active)) * (prompt.residual + decided) + prompt.wait
    # no step of an answer is longer than one full of prompts
    longest = (points.answer_steps - 1.0) * (idle_s + each_s * np.maximum(fitting, 1.0))
    answer = np.minimum(open_.answer_s - prompt.delay, longest) * (1.0 + open_.begun / open_.active)
    rate = np.minimum(offered, open_.capacity)
    return _Spent(wait, prompt.own, answer, rate, offered / open_.capacity)


def _answer(points: Points, found: Cycle, in_flight: Floats, spent: _Spent) -> Serving:
    load, osl = points.load, points.load.osl
    added = points.overheads
    each = np.maximum(spent.answer_s / np.maximum(osl - 1.0, 1.0), found.decode_s / osl)
    tpot = each + added.token_s
    ttft = spent.wait_s + spent.first_s + added.request_s
    e2e = ttft + tpot * (osl - 1.0)
    batch_s = found.seconds * np.maximum(in_flight / found.active, 1.0) + added.request_s + added.token_s * (osl - 1.0)
    e2e = np.where(load.is_batch, batch_s, e2e)
    # replicas beyond the requests in flight have nothing to do
    at_work = np.where(load.is_open, points.dp, np.minimum(points.dp, load.amount))
    rate = np.where(load.is_batch, in_flight / batch_s, spent.rate) * at_work
    spread = p90_spread(load.is_open, spent.utilisation)
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
    decode, mixed = bound(points, (found.decode, found.mixed), (found.decode_s, found.mixed_s))
    parts = {"waiting": spent.wait_s, "prompt steps": spent.first_s, "front end": np.full(len(points), added.request_s)}
    return Serving(metrics, found.active, spent.utilisation, decode, mixed, found.mixed_share, parts)
