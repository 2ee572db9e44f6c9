"""Seconds of a step that several replicas take together: of ranks whose experts are spread over all of them.

In every layer the tokens of all replicas meet at the experts, so a step takes as long as the slowest replica's own part
plus the experts over the tokens of all. A replica with nothing to do computes a token of nobody. Steps of up to `graph`
tokens are captured graphs: then all replicas compute as many tokens as the one with the most, rounded up to a size that
was captured. Beyond, each computes its own. Source: the behaviour of vllm 0.19's coordinate_batch_across_dp and
DPEngineCoreProc, and of sglang 0.5.9's prepare_mlp_sync_batch_raw.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit
from model.simulate.clock import Shape
from model.simulate.costs import Floats, StepCosts, attention_s
from model.simulate.records import Record, Records, of_floats

Shapes = Records
SHAPE = of_floats(*Shape._fields)
"""A `Shape` per replica, k."""


class LockstepCosts(NamedTuple):
    """`own`: what a replica computes by itself; `experts[T]`: seconds of all layers' experts, messages included, where
    each replica brings T tokens; `graph`: most tokens of a step that is a captured graph."""

    own: StepCosts
    experts: Floats
    graph: int


def by_itself(costs: StepCosts) -> LockstepCosts:
    """A replica that shares nothing."""
    return LockstepCosts(costs, np.zeros(max(len(costs.tokens), 2)), 0)


@inner_njit
def lockstep_s(costs: LockstepCosts, shapes: Shapes, later: float) -> tuple[float, int]:
    """Seconds of one step of all, and the replica whose attention is the last to end where all pad alike; so many steps
    `later`, when the caches of who decodes are as many tokens longer."""
    own, count, most = costs.own, len(shapes), 1
    for rank in range(count):
        most = max(most, int(shapes[rank].tokens))
    is_padded = most <= costs.graph
    if is_padded:
        most = captured(most, costs.graph)
    slowest, last, brought = 0, -1.0, 0.0
    for rank in range(count):
        shape = shapes[rank]
        rows = most if is_padded else int(max(shape.tokens, 1.0))
        brought += rows
        mean = (shape.cached + shape.decodes * later) / shape.decodes if shape.decodes > 0.0 else 0.0
        attention = attention_s(own, shape.chunks, shape.pc, shape.kp, shape.decodes, mean)
        seconds = own.tokens[rows] + attention
        if seconds > last:
            slowest, last = rank, seconds
    return float(own.step + last + head_s(costs, shapes)) + _between(costs.experts, brought / count), slowest


@inner_njit
def head_s(costs: LockstepCosts, shapes: Shapes) -> float:
    """Seconds of it that the head takes, and what the engine adds for each sequence."""
    head = 0.0
    for rank in range(len(shapes)):
        head = max(head, costs.own.sequences[int(shapes[rank].sequences)])
    return float(head)


@inner_njit
def together_s(costs: LockstepCosts, drafting: float, shapes: Shapes) -> float:
    """Seconds of one step of all, of which drafting takes such a share of one that only decodes."""
    seconds = lockstep_s(costs, shapes, 0.0)[0]
    return float(seconds + drafting_s(costs, drafting, shapes))


@inner_njit
def drafting_s(costs: LockstepCosts, share: float, shapes: Shapes) -> float:
    """Seconds of drafting: such a share of a step in which those who decode compute a token each, and nobody anything
    else."""
    if share == 0.0 or decoding_in(shapes) == 0:
        return 0.0
    alone = np.zeros(len(shapes), dtype=SHAPE)
    for rank in range(len(shapes)):
        decodes = shapes[rank].decodes
        alone[rank].tokens, alone[rank].sequences, alone[rank].decodes = decodes, decodes, decodes
        alone[rank].cached = shapes[rank].cached
    return float(share * lockstep_s(costs, alone, 0.0)[0])


@inner_njit
def decoding_in(shapes: Shapes) -> int:
    """How many decode."""
    decoding = 0
    for rank in range(len(shapes)):
        decoding += int(shapes[rank].decodes)
    return decoding


@inner_njit
def put(row: Record, shape: Shape) -> None:
    """Write a replica's shape down."""
    row.tokens, row.sequences, row.pc, row.kp = shape.tokens, shape.sequences, shape.pc, shape.kp
    row.decodes, row.cached, row.chunks = shape.decodes, shape.cached, shape.chunks


@inner_njit
def captured(tokens: int, most: int) -> int:
    """The least size of a captured graph that holds so many tokens: 1, 2, 4, eights up to 256, then sixteens."""
    if tokens <= 2:
        return tokens
    size = 4 if tokens <= 4 else 8 if tokens <= 256 else 16
    return min(-(-tokens // size) * size, most)


@inner_njit
def _between(values: Floats, at: float) -> float:
    low = min(int(at), len(values) - 2)
    return float(values[low] + (at - low) * (values[low + 1] - values[low]))
