"""Requests in a pipeline: which are in a step together, and how one with a prompt holds up the others.

Each stage has its share of the layers, and as many steps are under way as there are stages. Who was once in a step
together stays together: a group. Requests that all come at once form as many groups as their prompts fill steps.

A step that takes e seconds longer holds up those behind it at every stage, and in the end by e. The longest path
through steps and stages leaves a long step at its end, where the next one that it can meet is P steps behind: of steps
that are long with probability q, one in P + 1/q − 1 counts, which adds e·P·q/(1 + (P − 1)·q) to a step of each group: P
times as much as without the others where long steps are rare, and as much where all are. Where each of the groups has M
long ones in a row, all of these leave the last stage one after the other, e/P seconds apart.
"""

from __future__ import annotations

import numpy as np

from model.points import Points
from model.prediction import Floats


def groups(points: Points, active: Floats) -> Floats:
    """Groups that so many `active` requests are in, `n`: in a closed loop as they came, in one burst."""
    if not (points.pp > 1.0).any():
        return np.ones(len(points))
    steps = np.ceil(active * points.computed / points.max_num_batched_tokens)
    apart = points.load.is_open | points.prefills_apart
    return np.minimum(np.where(apart, points.pp, np.clip(steps, 1.0, points.pp)), np.maximum(active, 1.0))


def held_up(points: Points, together: Floats, alike: Floats, long: Floats, steps: Floats) -> Floats:
    """How many times as much what is longer in a step adds to those of one group (of `together`) of which so many of
    `steps` are `long`; the share `alike` of them comes in a row; all `n`."""
    if points.prefills_apart or not (points.pp > 1.0).any():
        return np.ones(len(points))
    by_chance = together / (1.0 + (together - 1.0) * np.minimum(long / steps, 1.0))
    in_row = (together + (points.pp - 1.0) / np.maximum(long, 1.0)) / points.pp
    return np.asarray(by_chance + alike * (in_row - by_chance))


def through_s(points: Points, steps: Floats, seconds: Floats) -> Floats:
    """Seconds, `n`, until the last of so many `steps` that follow each other leaves the pipeline; one alone takes
    `seconds`."""
    return np.asarray((points.pp - 1.0 + steps) / points.pp * seconds)
