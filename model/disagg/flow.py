"""Requests on their way through a prefill pool, a link and a decode pool, compiled; one row per deployment.

A prefill engine takes the prompts that wait as one batch, k ≤ K of them in S(k) = S(1) + (k − 1)·s. One that arrives at
rate λ while a batch is under way waits for the rest of that and then for its own, which those that came in between
share; of batches T that follow each other, M = max(Poisson(λT), 1) prompts each, E[T] = S(E[M]) and, with E[M²] =
E[M] + λ²E[T²], E[T²] = ((S(1) − s)² + s·E[M]·(2·S(1) − s))/(1 − λ²s²); who arrives meets E[T²]/E[T]. Prompts beyond K
wait as in M/D/1. With K = 1 the whole is M/D/1. Of c engines all must be busy before one waits, and the first is free
sooner: Sakasegawa's exponents, and a (c + 1)th of the time.

In a closed loop of C requests throughput X and sequences in decode are one fixed point: C = X · (time of a request).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.closed_form.queueing import MOST_LOAD
from model.load import VARIATION
from model.loops import loop

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RATE, PROMPT_S, MOVE_S, WAIT_S, STEP_S, ACTIVE = range(6)
"""Columns of a flow: requests/s; seconds in the prefill pool, on the link, and waiting for what is full; seconds of a
decode step; sequences in each decode engine."""
_ROUNDS = 8
_HALVINGS = 26
_IDLE = 1e-9


class Units(NamedTuple):
    """n units of a prefill pool and a decode pool, all `n` but `curves`.

    `prompt_engines` engines take prompts by `alone` and `full` seconds and `most` at a time (see `prompt_s`); a move
    takes `once` seconds; the prefill side can send `sends` of them a second, the decode side take `takes`.
    `decode_engines` engines decode at most `top` sequences each, in steps of `curves[place]` seconds (see `step_at`). A
    request has `steps` of them, and spends `think` seconds elsewhere; lengths are `varied` (1) or not (0). `limit` is
    the most requests per second that are let in.
    """

    prompt_engines: Floats
    alone: Floats
    full: Floats
    most: Floats
    once: Floats
    sends: Floats
    takes: Floats
    decode_engines: Floats
    curves: Floats
    place: Ints
    top: Floats
    steps: Floats
    think: Floats
    varied: Floats
    limit: Floats


class Unit(NamedTuple):
    """One row of `Units`, with the step times of its decode engines and the fewest transfers of both sides."""

    prompt_engines: float
    alone: float
    full: float
    most: float
    once: float
    moves: float
    decode_engines: float
    curve: Floats
    top: float
    steps: float
    think: float
    varied: float
    limit: float


@loop(nogil=True)
def unit_of(units: Units, row: int) -> Unit:
    """One row."""
    return Unit(
        units.prompt_engines[row], units.alone[row], units.full[row], units.most[row], units.once[row],
        min(units.sends[row], units.takes[row]), units.decode_engines[row], units.curves[units.place[row]],
        units.top[row], units.steps[row], units.think[row], units.varied[row], units.limit[row],
    )  # fmt: skip


@loop(nogil=True)
def prompt_s(unit: Unit, total: float) -> float:
    """Seconds from a prompt's arrival to its first token at `total` prompts per second, where each goes to the engine
    with the least to do. S(1) is the unit's `alone`, S(K) its `full` (of a prompt in parts the share of its steps that
    is its own), K its `most`; lengths that are `varied` have a coefficient of variation of one half."""
    engines, alone, full, most = unit.prompt_engines, unit.alone, unit.full, unit.most
    rate = total / engines
    each = max((full - alone) / (most - 1.0), 0.0) if most > 1.0 else 0.0
    own, fixed = min(rate * each, MOST_LOAD), alone - each
    batch, squares, none = alone, alone * alone, np.exp(-rate * alone)
    for _ in range(_ROUNDS):
        spread = max(squares - batch * batch, 0.0)
        none = min(np.exp(-rate * batch) * (1.0 + rate * rate * spread / 2.0), 1.0)
        taken = min(max(rate * batch + none, 1.0), most)
        batch = fixed + each * taken
        squares = (fixed * fixed + each * taken * (2.0 * fixed + each)) / (1.0 - own * own)
    met = min(max(squares / batch, batch), max(full, alone))
    came = rate * batch
    load = min(rate * full / most, MOST_LOAD)
    crowd = np.sqrt(2.0 * (engines + 1.0))
    busy = min(max(came / (came + none), load), 1.0) ** (crowd - 1.0)
    share = alone + each * (min(1.0 + rate * met, most) - 1.0)
    beyond = load ** (crowd * most) * full / most / (2.0 * engines * (1.0 - load))
    varied = 1.0 + VARIATION**2 * unit.varied
    return float((busy * met / (engines + 1.0) + beyond) * varied + busy * share + (1.0 - busy) * alone)


@loop(nogil=True)
def link_s(rate: float, once: float, most: float) -> float:
    """Seconds of a transfer that takes `once` on a link for `most` of them per second (M/D/1)."""
    load = min(rate / most, MOST_LOAD)
    return float(once * (1.0 + load / (2.0 * (1.0 - load))))


@loop(nogil=True)
def step_at(curve: Floats, top: float, sequences: float) -> float:
    """Seconds of a decode step of so many sequences: `curve` holds them at top**(i/(len − 1)), linear between."""
    last = len(curve) - 1
    if sequences <= 1.0 or top <= 1.0:
        return float(curve[0])
    if sequences >= top:
        return float(curve[last])
    low = min(int(np.log(sequences) / np.log(top) * last), last - 1)
    before, after = top ** (low / last), top ** ((low + 1) / last)
    share = min((sequences - before) / (after - before), 1.0)
    return float(curve[low] + share * (curve[low + 1] - curve[low]))


@loop(nogil=True)
def closed_loop(units: Units, amount: Floats) -> Floats:
    """The flow of each unit that keeps `amount` requests in flight, `n x 6` (columns as named above)."""
    flow = np.empty((len(amount), 6))
    for row in range(len(amount)):
        unit = unit_of(units, row)
        low, high = np.log(_IDLE), np.log(unit.top)
        if _with_active(unit, unit.top, amount[row], flow[row]) > amount[row]:
            for _ in range(_HALVINGS):
                middle = 0.5 * (low + high)
                if _with_active(unit, np.exp(middle), amount[row], flow[row]) > amount[row]:
                    high = middle
                else:
                    low = middle
            _with_active(unit, np.exp(low), amount[row], flow[row])
        _wait_for_rest(unit, amount[row], flow[row])
    return flow


@loop(nogil=True)
def _with_active(unit: Unit, active: float, amount: float, flow: Floats) -> float:
    """Requests in flight where each engine decodes `active` sequences, inf where so many cannot come; fills `flow`."""
    step = step_at(unit.curve, unit.top, active)
    rate = unit.decode_engines * active / (unit.steps * step)
    flow[RATE], flow[STEP_S], flow[ACTIVE] = rate, step, active
    if rate > min(unit.prompt_engines * unit.most / unit.full, unit.moves, unit.limit):
        return np.inf
    # who comes sees the others only
    seen = rate * (amount - 1.0) / amount
    flow[PROMPT_S], flow[MOVE_S] = prompt_s(unit, seen), link_s(seen, unit.once, unit.moves)
    flow[WAIT_S] = step / 2.0 * min(active, 1.0)
    spent = flow[PROMPT_S] + flow[MOVE_S] + flow[WAIT_S] + unit.think
    return float(unit.decode_engines * active + rate * spent)


@loop(nogil=True)
def _wait_for_rest(unit: Unit, amount: float, flow: Floats) -> None:
    """Requests in flight that are nowhere else wait for what is full."""
    spent = flow[PROMPT_S] + flow[MOVE_S] + flow[WAIT_S] + unit.think + unit.steps * flow[STEP_S]
    flow[WAIT_S] += max(amount / flow[RATE] - spent, 0.0)


@loop(nogil=True)
def before_decode(units: Units, rate: Floats) -> Floats:
    """The flow of each unit at which `rate` requests/s arrive at random, `n x 6`; what decode adds is left at zero."""
    flow = np.zeros((len(rate), 6))
    flow[:, RATE] = rate
    for row in range(len(rate)):
        unit = unit_of(units, row)
        flow[row, PROMPT_S] = prompt_s(unit, rate[row])
        flow[row, MOVE_S] = link_s(rate[row], unit.once, unit.moves)
    return flow


@loop(nogil=True)
def steps_at(units: Units, sequences: Floats) -> Floats:
    """Seconds of a decode step of so many sequences in each engine, `n`."""
    seconds = np.empty(len(sequences))
    for row in range(len(sequences)):
        seconds[row] = step_at(units.curves[units.place[row]], units.top[row], sequences[row])
    return seconds
