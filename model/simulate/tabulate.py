"""Step costs of one config from the analytic step model: each of its operations looked at on a few hundred loads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.knobs import Points
from model.ops import Kind, Operation, StepLoad, operations
from model.serving import take
from model.simulate.costs import Floats, StepCosts
from model.step import operation_s, overheads

_KNOTS = 2.0 ** np.arange(0, 18)


def step_costs(points: Points) -> StepCosts:
    """Tables of the one config in `points`, up to its token budget and its most sequences."""
    most_tokens, most_seqs = int(points.max_num_batched_tokens[0]), int(points.max_num_seqs[0])
    tokens = np.arange(most_tokens + 1, dtype=np.float64)
    sequences = np.arange(most_seqs + 1, dtype=np.float64)
    added = overheads(points.engine.name)
    sampled = np.unique(np.minimum(np.concatenate([tokens[:129], tokens[128::16], tokens[-1:]]), most_tokens))
    seqs = np.unique(np.minimum(np.concatenate([sequences[:33], sequences[32::8], sequences[-1:]]), most_seqs))
    dense = _seconds(points, _load(len(sampled), prefill=sampled), _is_dense)
    head = _seconds(points, _load(len(seqs), decode=seqs), _is_head)
    pc = np.concatenate([[0.0], _KNOTS[(_KNOTS >= 16) & (most_tokens > _KNOTS)], [float(max(most_tokens, 17))]])
    nd = np.concatenate([[0.0], _KNOTS[most_seqs > _KNOTS], [float(max(most_seqs, 2))]])
    long = np.concatenate([[0.0], _KNOTS[4:]])
    return StepCosts(
        np.interp(tokens, sampled, dense),
        np.interp(sequences, seqs, head) + added.sequence_s * sequences,
        pc, long, nd, long,
        _attention(points, pc, long, nd, long),
        added.step_s + added.layer_s * points.architecture.layers,
    )  # fmt: skip


def _attends(operation: Operation) -> bool:
    return operation.kind is Kind.ATTENTION


def _is_head(operation: Operation) -> bool:
    return operation.name == "lm_head"


def _is_dense(operation: Operation) -> bool:
    return not _attends(operation) and not _is_head(operation)


def _attention(points: Points, pc: Floats, kp: Floats, nd: Floats, kd: Floats) -> Floats:
    grid = [axis.ravel() for axis in np.meshgrid(pc, kp, nd, kd, indexing="ij")]
    prefill, past, decode, cached = grid
    prompts = (prefill > 0).astype(np.float64)
    load = StepLoad(prefill, past + prefill / 2.0, prompts, past, decode, cached)
    seconds = _seconds(points, load, _attends)
    return seconds.reshape(len(pc), len(kp), len(nd), len(kd))


def _load(n: int, prefill: Floats | None = None, decode: Floats | None = None) -> StepLoad:
    zero = np.zeros(n)
    return StepLoad(zero if prefill is None else prefill, zero, zero, zero, zero if decode is None else decode, zero)


def _seconds(points: Points, load: StepLoad, counts: Callable[[Operation], bool]) -> Floats:
    """Seconds of those operations of the step that count, one row of `load` after the other."""
    rows = take(points, np.zeros(len(load.prefill), dtype=np.int64))
    total = np.zeros(len(rows))
    for operation in operations(rows, load):
        if counts(operation):
            total += operation_s(rows, operation)[0]
    return total
