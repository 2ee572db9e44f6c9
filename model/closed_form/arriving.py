"""Requests at a rate of their own, in closed form: how many are in flight, and what each of them waits for.

Requests in flight are a birth-death chain over the throughput at each number of them (see
`model.closed_form.queueing`). A cycle takes k prompts of k requests in flight as they come; that they come in crowds,
and delay each other and those who decode, is added to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.closed_form.cycle import Cycle, cycle
from model.closed_form.full_cache import RESERVES, Admitted
from model.closed_form.parting import OneGroup, apart, at
from model.closed_form.pipeline import passing
from model.closed_form.queueing import MOST_LOAD, in_flight, prompting
from model.load import VARIATION
from model.points import Points
from model.prediction import Floats

_LEVELS = 8
_CROWD_ROUNDS = 6
_FEW = 64
_UNTOLD = 1000.0
"""Requests of a run, where nobody says how many are sent."""
_ROW_S = 3e-3
"""What a row takes in plain Python at most; see `model.loops`."""


class _Turn(NamedTuple):
    """What is needed of cycles at l numbers of requests in flight, each `l x n`; see `Cycle`."""

    seconds: Floats
    unhindered_s: Floats
    each_s: Floats
    fitting: Floats
    decode_s: Floats

    @classmethod
    def of(cls, found: Cycle) -> _Turn:
        return cls(*(getattr(found, name) for name in cls._fields))


@dataclass(frozen=True)
class Arriving:
    """n rows of a request rate, per replica: requests in flight that are `active`, the `capacity` in requests/s.

    A request waits `slot_s` seconds for a slot, its answer and the `Prompting.delay` of that take `answer_s` but for
    waits amid it, which `begun` requests are in. A step with prompts holds `crowd` of them, and in a pipeline
    requests are in so many `groups`.
    """

    active: Floats
    capacity: Floats
    slot_s: Floats
    answer_s: Floats
    begun: Floats
    crowd: Floats
    groups: Floats


def arriving(points: Points, slots: Floats, full: Admitted) -> Arriving:
    """Rows that all have a request rate, with `slots` requests in flight at most (`n`), and what becomes of the cache
    when it is `full`.

    Throughput is evaluated at a few concurrencies up to the slots.
    """
    top, keeps = np.maximum(np.floor(np.minimum(slots, 4096.0)), 1.0), points.engine.name == RESERVES
    levels = np.stack([top**share for share in np.linspace(0.0, 1.0, _LEVELS)])
    think, wanted = think_s(points), points.load.amount / points.dp
    groups = _groups(points, levels, wanted)
    crowd = _crowd(points, levels[_LEVELS // 2], wanted, groups)
    turn = _turns(points, levels, crowd, groups)
    served, kept_up = (levels / (seconds + think) for seconds in (turn.seconds, _full_s(turn, full, groups)))
    # where room is kept for answers, fewer run the more come
    most, capacity = served.max(axis=0), at(levels, kept_up, full.active) if keeps else kept_up.max(axis=0)
    crowded = wanted >= MOST_LOAD * capacity
    held = np.where(crowded, MOST_LOAD * most, wanted)
    added = _added_s(points, turn, held, groups)
    rates = np.maximum.accumulate(levels / (turn.unhindered_s + added + think), axis=0)
    chained = np.minimum(held, MOST_LOAD * rates[-1])
    mean, waiting = in_flight.taking(_ROW_S * len(points))(
        np.ascontiguousarray(levels.T), np.ascontiguousarray(rates.T), chained
    )
    running = np.minimum(mean - waiting, np.where(crowded & keeps, full.active, np.inf))
    # below the throughput of a single request in flight there is mostly none
    active = np.maximum(running + chained * np.maximum(-at(levels, added, running), 0.0), 1.0)
    begun, slot_s = _waiting(points, full, capacity, running, waiting)
    answer_s = running / chained * np.where(crowded, most / capacity, 1.0) - think
    return Arriving(active, capacity, slot_s, answer_s, begun, crowd, groups)


def _waiting(
    points: Points, full: Admitted, capacity: Floats, running: Floats, waiting: Floats
) -> tuple[Floats, Floats]:
    """Of requests that wait those that have begun, and seconds that one waits to begin, both `n`: beside those
    `running` so many are `waiting`, or of a run whose rate is beyond the capacity as many as it has left behind.

    Where a share g of n requests is too many, the i-th finds g·i before it, but for those who found a slot when nobody
    was there: they end after a whole service, and who holds a slot later after what is left of one, so that of A
    requests s·A are let in too early, s = (1 + c²)/2 with the variation c of services.
    """
    load, wanted = points.load, points.load.amount / points.dp
    # those who take about as long wait half as long for a slot, too, as if their times were exponential
    spread = (1.0 + VARIATION**2 * (1.0 - load.alike)) / 2.0
    many = _requests(points) * np.maximum(1.0 - capacity / wanted, 0.0)
    backlog = np.maximum(many - spread * running, 0.0) ** 2 / np.maximum(2.0 * many, 1e-9)
    begun = np.minimum(full.begun, full.begun_share * np.maximum(waiting, backlog))
    new = 1.0 - begun / np.maximum(np.maximum(waiting, backlog), 1e-9)
    return begun, np.maximum(waiting * spread, backlog) / np.minimum(wanted, capacity) * new


def _full_s(turn: _Turn, full: Admitted, groups: Floats) -> Floats:
    """Seconds of cycles, `l x n`, where at the last level prompts are computed again that a full cache pushed out."""
    seconds = turn.seconds.copy()
    seconds[-1] += full.again * full.active / groups * turn.each_s[-1]
    return seconds


def _groups(points: Points, levels: Floats, rate: Floats) -> Floats:
    """Groups of a pipeline that requests are in which arrive at `rate`, `n`."""
    found, rows = np.ones(len(points)), np.flatnonzero(points.pp > 1.0)
    if len(rows):
        part, nobody = points.take(rows), np.ones(len(rows))
        sizes = np.maximum(levels[:, rows] / part.pp, 1.0) if part.prefills_apart else levels[:, rows]
        turn = _turns(part, sizes, nobody, nobody)
        one = OneGroup(sizes, turn.seconds, turn.decode_s, turn.each_s, turn.fitting)
        found[rows] = apart(part, rate[rows], _requests(part), one)
    return found


def _requests(points: Points) -> Floats:
    """Requests that are sent to a replica, `n`, or as many as a run has."""
    return np.where(np.isfinite(points.load.requests), points.load.requests / points.dp, _UNTOLD)


def _turns(points: Points, levels: Floats, crowd: Floats, groups: Floats) -> _Turn:
    """Cycles at every level; of few rows at once, for it is the calls that take the time."""
    if len(points) > _FEW:
        found = [_Turn.of(cycle(points, level, crowd, apart=groups)) for level in levels]
        return _Turn(*map(np.stack, zip(*found, strict=True)))
    every = np.tile(np.arange(len(points)), len(levels))
    turn = _Turn.of(cycle(points.take(every), levels.ravel(), crowd[every], apart=groups[every]))
    return _Turn(*(values.reshape(levels.shape) for values in turn))


def _added_s(points: Points, found: _Turn, rate: Floats, groups: Floats) -> Floats:
    """Seconds that a request takes longer than in a cycle, `l x n`, where prompts delay each other."""
    own = np.ceil(1.0 / np.minimum(found.fitting, 1.0)) * found.decode_s + found.each_s
    varied = 1.0 - points.load.alike
    found_s = prompting(rate / groups, found.decode_s, found.each_s, found.fitting, varied)
    return passing(points, groups, found.decode_s, found.fitting, found_s).delay - own


def _crowd(points: Points, level: Floats, rate: Floats, groups: Floats) -> Floats:
    """Prompts in the step of a prompt where they arrive at `rate`: K = max(1, Poisson(m)) came during the step before,
    a prompt meets E[K²]/E[K] = (m + m² + exp(−m))/(m + exp(−m)), and no more than fit."""
    found = cycle(points, level, apart=groups)
    fitting = np.maximum(found.fitting, 1.0)
    each = np.maximum(found.mixed_s - found.decode_s, 0.0) / np.maximum(level / points.answer_steps, 1.0)
    crowd = np.ones(len(points))
    for _ in range(_CROWD_ROUNDS):
        arrived = rate / groups * (found.decode_s + each * crowd)
        alone = np.exp(-arrived)
        crowd = np.clip((arrived + arrived**2 + alone) / (arrived + alone), 1.0, fitting)
    return crowd


def think_s(points: Points) -> Floats:
    """Seconds of a request that the engine's steps do not see, `n`."""
    added = points.overheads
    return np.asarray(added.request_s + added.token_s * (points.load.osl - 1.0))
