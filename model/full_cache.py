"""A KV cache that is full: how many requests run in it, and what that costs them. vLLM's rules, in closed form.

A request is admitted when the blocks of its prompt are free, and grows; where none is left the youngest gives up all of
its own and begins anew. So a cache is full but for what the next prompt waits for, and the more tokens an answer has
over its prompt (x = osl/isl), the more are admitted whom the growth of the others pushes out again: about 0.8·x times
each. Half of them find a part of their blocks again. Requests come and go, so that the memory of n of them varies:
with a logistic for the normal distribution, E[min(b, n)] = b − w·log(1 + exp((b − n)/w)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.cycle import prompt_room
from model.points import Points
from model.prediction import Floats

_GROWS = "vllm"
"""The engine whose cache holds what requests have, and not what they may come to."""
_AGAIN, _BEGUN = 0.6, 1.5
"""Prompts computed again, and requests under way that wait, over osl/isl: of the event simulator, 148 configs."""
_UNUSED = 0.5
_PROMPTS_VARY = 0.25
"""Coefficient of variation of prompts: between those that are all alike and `model.load.VARIATION`."""
_LOGISTIC = 0.575
"""Scale of the logistic distribution that is closest to a standard normal one."""
_AMPLE = 4.0
"""Times the room that all need, from which on nobody is kept out by any chance."""


@dataclass(frozen=True)
class Admitted:
    """Of n rows: `active` requests; of each prompt the share that is computed `again`; requests that have `begun` and
    wait to go on."""

    active: Floats
    again: Floats
    begun: Floats


def admitted(points: Points, wanted: Floats, room: Floats) -> Admitted:
    """What becomes of `wanted` requests in a cache with `room` for so many (see `model.memory`), all `n`."""
    prompt, osl = points.computed, points.load.osl
    limited = np.maximum(np.minimum(wanted, room), 1.0)
    grows = ~points.load.is_open & (room < _AMPLE * wanted)
    if points.engine.name != _GROWS or not grows.any():
        none = np.zeros(len(points))
        return Admitted(limited, none, none)
    own = prompt + points.generated
    # the next prompt waits until all of its blocks are free, into which the others grow meanwhile
    fitting = (np.minimum(room, _AMPLE * wanted) * (prompt + osl / 2.0) - _UNUSED * prompt**2 / (prompt + osl)) / own
    # the budget of a step may let fewer run than come
    running = np.minimum(wanted, np.maximum(points.answer_steps * prompt_room(points, wanted) / prompt, 1.0))
    varies = np.sqrt((osl**2 / 12.0 + (_PROMPTS_VARY * prompt) ** 2) * np.clip(fitting, 1.0, running)) / own
    width = np.maximum(_LOGISTIC * varies, 1e-3)
    over = (running - np.maximum(fitting, 1.0)) / width
    full = 0.5 + 0.5 * np.tanh(over / 2.0)
    active = np.maximum(running - width * np.logaddexp(0.0, over) + (wanted - running) * (1.0 - full), 1.0)
    pushed = np.where(grows, osl / prompt * full * (1.0 - 1.0 / active), 0.0)
    return Admitted(np.where(grows, active, limited), _AGAIN * pushed, _BEGUN * pushed)
