"""Decode engines, with the KV cache that bounds them: how many sequences each decodes, and who waits for a place in it.

Prompts come computed, and take their blocks at once; answers grow, and push each other out of a cache that is full, as
in a server that does both (see `model.closed_form.full_cache`): who was pushed out computes its prompt again where it
decodes, and goes on before anybody new begins. Until there is a place for a request its first token does not show.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.closed_form.cycle import decode_load, mixed_load, prompt_room
from model.closed_form.full_cache import Admitted, admitted, most_begun
from model.disagg.pools import LEVELS, Pool
from model.points import Points
from model.prediction import Floats
from model.steps.step import step_s

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Decoding:
    """m kinds of decode engine, which decode `top` sequences at most, in steps of `curves` seconds (`m x LEVELS`: of
    top**(i/(LEVELS − 1)) sequences). An answer takes `longer` times as long where the cache is full: the prompts that
    are computed again hold up the others. All but `curves` are `m`."""

    top: Floats
    curves: Floats
    longer: Floats

    @classmethod
    def of(cls, pool: Pool) -> Decoding:
        """The engines of a decode pool."""
        points, m = pool.points, len(pool.points)
        full = _held(pool, np.arange(m), _many(points))
        rows = np.repeat(np.arange(m), LEVELS)
        sequences = (full.active[:, None] ** np.linspace(0.0, 1.0, LEVELS)).ravel()
        found = points.take(rows)
        curves = np.ascontiguousarray(step_s(found, decode_load(found, sequences)).reshape(m, LEVELS))
        longer = np.ones(m)
        again = np.flatnonzero(full.again > 0.0)
        if len(again):
            longer[again] += _again(pool, again, full.take(again), curves[again, -1])
        return cls(full.active, curves, longer)


class Spent(NamedTuple):
    """Of n rows: sequences in each engine that are `active`; seconds of a request for a place (`wait_s`) and from there
    to the end of its answer (`answer_s`)."""

    active: Floats
    wait_s: Floats
    answer_s: Floats


def spent(pool: Pool, rows: Ints, active: Floats, waiting: Floats, seconds: Floats) -> Spent:
    """How the `seconds` of a request in a decode pool part, where so many are `active` in each engine of the kind at
    its row and so many are `waiting`, if the cache held as many at any time; all `n`. Of these some have begun."""
    points, requests = pool.points.take(rows), active + waiting
    if points.load.is_open.all():
        begun = np.minimum(_held(pool, rows, _many(points)).begun, most_begun(points, waiting * points.pp) / points.pp)
    else:
        kept = _held(pool, rows, requests)
        active, begun = kept.active, kept.begun
    share = np.minimum((active + begun) / requests, 1.0)
    return Spent(active, seconds * (1.0 - share), seconds * share)


def _many(points: Points) -> Floats:
    """More requests than any cache holds, `n`."""
    return np.where(points.load.is_open, np.inf, points.max_num_seqs)


def _held(pool: Pool, rows: Ints, requests: Floats) -> Admitted:
    """What becomes of so many requests in each engine, `n`; those of a pipeline's stages share its cache."""
    points = pool.points.take(rows)
    found = admitted(points, requests * points.pp, pool.memory.room[rows], is_computed=True)
    active = np.minimum(np.maximum(found.active / points.pp, np.minimum(requests, 1.0)), requests)
    return replace(found, active=active, begun=found.begun / points.pp)


def _again(pool: Pool, rows: Ints, full: Admitted, decode_s: Floats) -> Floats:
    """Seconds of prompts that are computed again beside so many that decode, over those of the steps, `n`."""
    points = pool.points.take(rows)
    own = np.maximum(np.ceil(points.computed / prompt_room(points, full.active)), 1.0)
    mixed_s = step_s(points, mixed_load(points, points.computed / own, own, full.active))
    each_s = own * np.maximum(mixed_s - decode_s, 0.0)
    return np.asarray(full.again * full.active * each_s / ((points.answer_steps - 1.0) * decode_s))
