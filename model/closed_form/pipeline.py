"""Requests in a pipeline: which are in a step together, and how one with a prompt holds up the others.

Each stage has its share of the layers, and as many steps are under way as there are stages. Who was once in a step
together stays together: a group. Requests that all come at once form as many groups as their prompts fill steps, in
SGLang also as its micro-batches have places for; of those that come at a rate see `model.closed_form.parting`.

A step that takes e seconds longer holds up those behind it at every stage, and in the end by e. The longest path
through steps and stages leaves a long step at its end, where the next one that it can meet is P steps behind: of steps
that are long with probability q, one in P + 1/q − 1 counts, which adds e·P·q/(1 + (P − 1)·q) to a step of each group: P
times as much as without the others where long steps are rare, and as much where all are. Where each of the groups has M
long ones in a row, all of these leave the last stage one after the other, e/P seconds apart. The R parts of a prompt
are in a row of batches, which the others meet all at once at one stage and the last of at the others: (R + P − 1)/R
times as much where that is rare. Steps of SGLang that hold prompts only are in a row for those who are in step.
"""

from __future__ import annotations

import numpy as np

from model.closed_form.queueing import Prompting
from model.points import Points
from model.prediction import Floats


def groups(points: Points, active: Floats, apart: Floats | float = 1.0) -> Floats:
    """Groups that so many `active` requests are in, `n`: in a closed loop as they came, in one burst; at a rate of
    their own as many as they come `apart` into."""
    if not (points.pp > 1.0).any():
        return np.ones(len(points))
    steps = np.ceil(active * points.computed / points.max_num_batched_tokens)
    if points.prefills_apart:
        steps = np.maximum(steps, np.ceil(active * points.pp / points.max_num_seqs))
    parts = np.where(points.load.is_open, apart, steps)
    return np.asarray(np.minimum(np.clip(parts, 1.0, points.pp), np.maximum(active, 1.0)))


def held_up(
    points: Points, together: Floats, alike: Floats, long: Floats, steps: Floats, row: Floats | float = 1.0
) -> Floats:
    """How many times as much what is longer in a step adds to those of one group (of `together`) of which so many of
    `steps` are `long`, `row` of them in consecutive batches; the share `alike` of them comes in a row; all `n`."""
    if not (points.pp > 1.0).any():
        return np.ones(len(points))
    among = steps + long if points.prefills_apart else steps
    ways = row + together - 1.0
    by_chance = ways / (row + (ways - row) * np.minimum(long / among, 1.0))
    if points.prefills_apart:
        return np.asarray(by_chance + alike * (1.0 - by_chance))
    in_row = (together + (points.pp - 1.0) / np.maximum(long, 1.0)) / points.pp
    return np.asarray(by_chance + alike * (in_row - by_chance))


def passing(points: Points, apart: Floats, decode_s: Floats, fitting: Floats, found: Prompting) -> Prompting:
    """What is `found` of prompts (see `model.closed_form.queueing.prompting`) of one of so many groups that come
    `apart`, where the parts of one prompt follow each other through the stages, and SGLang does not decide on a step of
    `decode_s` before it."""
    parts = np.ceil(1.0 / np.minimum(fitting, 1.0))
    after_s = decode_s * (points.pp > 1.0) * points.prefills_apart
    own = (found.own - after_s) * through_s(points, parts, 1.0 / parts)
    wait = np.where(parts > 1.0, found.wait / apart, found.wait)
    return Prompting(found.residual, wait, own, found.delay * (own + wait) / (found.own + found.wait))


def through_s(points: Points, steps: Floats, seconds: Floats) -> Floats:
    """Seconds, `n`, until the last of so many `steps` that follow each other leaves the pipeline; one alone takes
    `seconds`."""
    return np.asarray((points.pp - 1.0 + steps) / points.pp * seconds)
