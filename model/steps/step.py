"""How long one step of the engine takes: its operations on the roofline, and what the engine adds.

T_step = Σ operations + c_layer·L + c_step + c_seq·S (see `model.steps.overheads`). Where operation tables are known the
step takes what they say; the roofline tells what bounds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.points import Points
from model.prediction import Floats
from model.steps.ops import Kind, Operation, StepLoad, operations
from model.steps.roofline import CPU, GPU, SLOWEST_LINK, Efficiency, roofline_s

_FEW = 64
_MESSAGES = (Kind.ALL_REDUCE, Kind.SEND)


@dataclass(frozen=True)
class Step:
    """Times of n steps, all `n`: `seconds` in all, and of which bound by arithmetic, memory, messages and overhead."""

    seconds: Floats
    compute_s: Floats
    memory_s: Floats
    message_s: Floats
    overhead_s: Floats

    def taking(self, seconds: Floats) -> Step:
        """A step with the same shares that takes `seconds`."""
        scale = seconds / self.seconds
        return Step(seconds, *(part * scale for part in self._parts))

    def kind(self, number: int) -> Step:
        """One of several kinds of steps."""
        return Step(self.seconds[number], *(part[number] for part in self._parts))

    @property
    def _parts(self) -> tuple[Floats, ...]:
        return self.compute_s, self.memory_s, self.message_s, self.overhead_s


def step(points: Points, load: StepLoad) -> Step:
    """The time of one step of each row, with the drafts of the next one where tokens are drafted."""
    found = _on_roofline(points, load)
    whole = points.tables is None and not points.draft_tokens.any()
    return found if whole else found.taking(step_s(points, load, found))


def bound(points: Points, loads: Sequence[StepLoad], seconds: Sequence[Floats]) -> list[Step]:
    """What bounds the steps of each row of several kinds, which take so many `seconds`."""
    return [found.taking(taken) for found, taken in zip(_kinds_on_roofline(points, loads), seconds, strict=True)]


def steps_s(points: Points, loads: Sequence[StepLoad]) -> list[Floats]:
    """`step_s` of several kinds of steps of each row; of few rows at once, as in `_kinds_on_roofline`."""
    if points.tables is None and not points.draft_tokens.any():
        return [found.seconds for found in _kinds_on_roofline(points, loads)]
    if not 1 < len(points) <= _FEW:  # tables need not tell apart how a single row is divided
        return [step_s(points, load) for load in loads]
    every = np.tile(np.arange(len(points)), len(loads))
    return list(step_s(points.take(every), StepLoad.stacked(loads).flat).reshape(len(loads), -1))


def step_s(points: Points, load: StepLoad, roofline: Step | None = None) -> Floats:
    """Seconds of one step of each row, `n`, and nothing of what bounds them."""
    seconds = _without_drafts_s(points, load, roofline)
    return seconds + drafting_s(points, load) if points.draft_tokens.any() else seconds


def drafting_s(points: Points, load: StepLoad) -> Floats:
    """Seconds in which the tokens of the next step are drafted, `n`: each passes the drafting layers and the output
    matrix, which costs about what a layer does."""
    none = np.zeros(len(points))
    if not points.draft_tokens.any():
        return none
    alone = _without_drafts_s(points, StepLoad(none, none, none, none, load.decode, load.kv))
    return np.where(load.decode > 0, drafting_share(points) * alone, 0.0)


def drafting_share(points: Points) -> Floats:
    """Seconds of drafting over those of a step that only decodes, without drafts, `n`."""
    layers = np.where(points.draft_layers > 0, points.draft_layers + 1.0, 0.0)
    return np.asarray(points.draft_tokens * layers / points.architecture.layers)


def _without_drafts_s(points: Points, load: StepLoad, roofline: Step | None = None) -> Floats:
    if points.tables is None:
        return (roofline or _on_roofline(points, load)).seconds
    from model.steps.planned import planned_seconds

    return planned_seconds(points, load, points.tables)


def _kinds_on_roofline(points: Points, loads: Sequence[StepLoad]) -> list[Step]:
    """Of few rows all kinds of steps at once: it is the calls that take the time."""
    if len(points) > _FEW:
        return [_on_roofline(points, load) for load in loads]
    found = _on_roofline(points, StepLoad.stacked(loads))
    return [found.kind(number) for number in range(len(loads))]


def _on_roofline(points: Points, load: StepLoad) -> Step:
    """Steps of each row, `n`, or of several kinds of steps, `k x n`."""
    zero = np.zeros(load.prefill.shape)
    compute, memory, message = zero.copy(), zero.copy(), zero
    for operation in operations(points, load):
        seconds, computing = operation_s(points, operation)
        if operation.kind in _MESSAGES:
            message += seconds
        else:
            compute += seconds * computing
            memory += seconds * (1.0 - computing)
    added = points.overheads
    overhead = added.layer_s * points.architecture.layers + added.step_s + added.sequence_s * load.sequences
    return Step(compute + memory + message + overhead, compute, memory, message, overhead)


def operation_s(points: Points, operation: Operation) -> tuple[Floats, Floats]:
    """Seconds of all executions of one operation in a step, `n`, and 1 where arithmetic is what takes them, else 0."""
    efficiency = CPU if points.platform.kind == "cpu" else GPU
    if operation.kind in _MESSAGES:
        return operation.count * _message_s(points, operation, efficiency), np.zeros(len(points))
    attends = operation.kind is Kind.ATTENTION
    gemm_flops = points.flops_of(operation.part) * efficiency.gemm_flops
    rate = points.attention_flops * efficiency.attention_flops if attends else gemm_flops
    share = efficiency.attention_bytes if attends else efficiency.gemm_bytes
    seconds, computing = roofline_s(operation.flops, rate, operation.bytes, points.bandwidth * share)
    return operation.count * seconds, computing


def _message_s(points: Points, operation: Operation, efficiency: Efficiency) -> Floats:
    """Ring all-reduce moves 2(n−1)/n of the bytes over each link; a send moves them once."""
    link = (points.platform.link_bytes_s or SLOWEST_LINK) * efficiency.link_bytes
    moved = 2.0 * (points.tp - 1.0) / points.tp if operation.kind is Kind.ALL_REDUCE else 1.0
    return moved * operation.bytes / link + efficiency.link_latency_s
