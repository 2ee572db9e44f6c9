"""A KV cache that is full: how many requests run in it, and what that costs them, in closed form. vLLM's rules:

A request is admitted when the blocks of its prompt are free, and grows; where none is left the youngest gives up all of
its own and begins anew. So a cache is full but for what the next prompt waits for, and the more tokens an answer has
over its prompt (x = osl/isl), the more are admitted whom the growth of the others pushes out again: about 0.8·x times
each. Half of them find a part of their blocks again. Requests come and go, so that the memory of n of them varies:
with a logistic for the normal distribution, E[min(b, n)] = b − w·log(1 + exp((b − n)/w)).

Who was pushed out goes on before anybody new begins, so that new ones come in waves: those who were let in together
grow together, push each other out and leave together, and in their place the more are let in, 1 + x for one. Answers of
different lengths take the waves apart. In the burst at the start all are let in at once whose prompts find room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.closed_form.convoy import burst_share
from model.closed_form.cycle import prompt_room
from model.closed_form.reserving import reserved
from model.points import Points
from model.prediction import Floats

_GROWS, RESERVES = "vllm", "sglang"
"""The engine whose cache holds what requests have, and not what they may come to; one that keeps room for a part of
that (see `model.closed_form.reserving`)."""
_AGAIN = 0.6
"""Prompts computed again, over osl/isl: of the event simulator, 148 configs."""
_CHANCE, _WAVES = 0.65, 0.4
"""Requests under way that wait, of the event simulator: by chance over osl/isl and the fourth root of the active ones;
in waves over these and √(1 + osl/isl) − 1. About 350 runs of the simulator, osl/isl .25 to 16, 20 to 250 active."""
_DAMPING = 3.0 * np.pi
"""How much sooner waves die the more answers vary, in coefficients of variation: of the same configs."""
_UNTOLD = 0.1
"""Coefficient of variation of answers of which only the mean is known: waves are half as high."""
_UNUSED = 0.5
_PROMPTS_VARY = 0.25
"""Coefficient of variation of prompts: between those that are all alike and `model.load.VARIATION`."""
_LOGISTIC = 0.575
"""Scale of the logistic distribution that is closest to a standard normal one."""
_MANY = 1e9
"""Requests that no cache holds."""
_AMPLE = 4.0
"""Times the room that all need, from which on nobody is kept out by any chance."""


@dataclass(frozen=True)
class Admitted:
    """Of n rows: `active` requests; of each prompt the share that is computed `again`; requests that have `begun` and
    wait to go on, of all that wait `begun_share` at most."""

    active: Floats
    again: Floats
    begun: Floats
    begun_share: Floats

    def take(self, rows: npt.NDArray[np.int64]) -> Admitted:
        """The given rows."""
        return Admitted(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def admitted(points: Points, in_flight: Floats, room: Floats, is_computed: bool = False) -> Admitted:
    """What becomes of `in_flight` requests (inf: ever more) in a cache with `room` for so many (see `model.memory`),
    whose prompts were computed elsewhere (`is_computed`) or take the budget of steps.

    All `n`."""
    prompt, osl = points.computed, points.load.osl
    wanted = np.minimum(in_flight, points.max_num_seqs)
    limited = np.maximum(np.minimum(wanted, room), 1.0)
    grows = room < _AMPLE * wanted
    if points.engine.name == RESERVES and grows.any() and not is_computed:
        return _sent_back(points, in_flight, wanted, np.minimum(room, _AMPLE * wanted))
    if points.engine.name != _GROWS or not grows.any():
        none = np.zeros(len(points))
        return Admitted(limited, none, none, none)
    own = prompt + points.generated
    # the next prompt waits until all of its blocks are free, into which the others grow meanwhile
    fitting = (np.minimum(room, _AMPLE * wanted) * (prompt + osl / 2.0) - _UNUSED * prompt**2 / (prompt + osl)) / own
    # the budget of a step may let fewer run than come
    running = wanted
    if not is_computed:
        running = np.minimum(wanted, np.maximum(points.answer_steps * prompt_room(points, wanted) / prompt, 1.0))
    varies = np.sqrt((osl**2 / 12.0 + (_PROMPTS_VARY * prompt) ** 2) * np.clip(fitting, 1.0, running)) / own
    width = np.maximum(_LOGISTIC * varies, 1e-3)
    over = (running - np.maximum(fitting, 1.0)) / width
    full = 0.5 + 0.5 * np.tanh(over / 2.0)
    active = np.maximum(running - width * np.logaddexp(0.0, over) + (wanted - running) * (1.0 - full), 1.0)
    pushed = np.where(grows, full * (1.0 - 1.0 / active), 0.0)
    begun = pushed * _begun(points, in_flight, active, np.minimum(wanted, room * own / prompt))
    return Admitted(np.where(grows, active, limited), _AGAIN * pushed * osl / prompt, begun, _begun_share(points))


def _sent_back(points: Points, in_flight: Floats, wanted: Floats, room: Floats) -> Admitted:
    """The same of a cache that keeps room for answers: those who are sent back wait as others do, and compute all that
    they had anew."""
    prompt, osl, first = points.computed, points.load.osl, burst_share(points, in_flight)
    requests = np.where(first > 0.0, np.minimum(in_flight, _MANY) / np.maximum(first, 1.0 / _MANY), np.inf)
    waves = np.where(points.load.is_open, 0.0, _in_waves(points))
    found = reserved(points, wanted, room * (prompt + osl / 2.0), requests, waves)
    share = found.retracted / (1.0 + found.retracted)
    begun = share * (np.minimum(in_flight, _MANY) - found.active)
    return Admitted(found.active, found.retracted * (1.0 + osl / prompt / 2.0), begun, share)


def _begun(points: Points, in_flight: Floats, active: Floats, first: Floats) -> Floats:
    """Requests that were pushed out of a full cache in which so many are `active` of those `in_flight`, `n`; in the
    burst at the start it takes the prompts of the `first` so many."""
    grown = points.load.osl / points.computed
    waves = _WAVES * (np.sqrt(1.0 + grown) - 1.0) * _in_waves(points)
    chance = _CHANCE * grown * active**0.25
    most = np.maximum(most_begun(points, np.maximum(in_flight - active, 0.0)), 1e-9)
    later = np.minimum(chance / np.hypot(1.0, chance / most) + waves * active, most)
    burst = burst_share(points, in_flight) * first / in_flight
    return later + burst * np.maximum(np.maximum(first - active, 0.0) / 2.0 - later, 0.0)


def _in_waves(points: Points) -> Floats:
    """How high waves are, `n`: 1 where all answers are alike."""
    deviation = np.where(np.isnan(points.load.deviation), _UNTOLD, points.answer_deviation / points.answer_steps)
    return np.exp(-_DAMPING * deviation)


def most_begun(points: Points, waiting: Floats) -> Floats:
    """How many of the `waiting` may have begun, `n`: as great a share as answers have of the blocks."""
    return waiting * _begun_share(points)


def _begun_share(points: Points) -> Floats:
    return np.asarray(points.load.osl / (points.load.osl + 2.0 * points.computed))
