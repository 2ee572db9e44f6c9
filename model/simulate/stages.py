"""Layers divided evenly into stages: a batch enters each when that is free and it is done with the one before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit
from model.simulate.records import Records, of_floats
from model.simulate.together import LockstepCosts, Shapes, drafting_s, head_s, lockstep_s

_STAGE = of_floats("free_s")


class PipelineCosts(NamedTuple):
    """Steps of the `whole` model, whose layers are divided evenly over so many `stages`."""

    whole: LockstepCosts
    stages: int


def new_stages(count: int) -> Records:
    """When each of `count` stages is done with what it has, `free_s`: all are free."""
    return np.zeros(count, dtype=_STAGE)


@inner_njit
def through_s(costs: LockstepCosts, drafting: float, shapes: Shapes, stages: Records, now: float) -> float:
    """When a batch that is sent now leaves the last stage, which has the head and the layers that draft too."""
    step, head = costs.own.step, head_s(costs, shapes)
    body, at = lockstep_s(costs, shapes, 0.0)[0] - step - head, now + step
    for stage in range(len(stages)):
        at = max(at, stages[stage].free_s) + body / len(stages)
        if stage == len(stages) - 1:
            at += head + drafting_s(costs, drafting, shapes)
        stages[stage].free_s = at
    return float(at)
