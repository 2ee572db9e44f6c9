"""Replicas whose experts are spread over all of them: they take each step together, and none before the slowest.

In every layer the tokens of all replicas meet at the experts, so a step takes as long as the slowest replica's own part
plus the experts over the tokens of all. A replica with nothing to do computes a token of nobody. Steps of up to `graph`
tokens are captured graphs: then all replicas compute as many tokens as the one with the most, rounded up to a size that
was captured. Beyond, each computes its own. Source: the behaviour of vllm 0.19's coordinate_batch_across_dp and
DPEngineCoreProc.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_s, take_next
from model.simulate.blocks import blocks_in_use
from model.simulate.clock import (
    Shape,
    Stretch,
    before,
    decode_all,
    end_step,
    goes_on,
    length_s,
    note_scheduled,
    seen_in,
    shape_of,
    stamp,
    steps_alike,
)
from model.simulate.costs import Floats, StepCosts, attention_s, decode_segment
from model.simulate.log import Book, with_room, write
from model.simulate.ranks import Ranks, engine_of
from model.simulate.records import Record, Records, of_floats
from model.simulate.routing import Desk, report, route
from model.simulate.scheduler import arrive, schedule
from model.simulate.state import Requests, Settings

Shapes = Records
SHAPE = of_floats(*Shape._fields)
"""A `Shape` per replica, k."""


class LockstepCosts(NamedTuple):
    """`own`: what a replica computes by itself; `experts[T]`: seconds of all layers' experts, messages included, where
    each replica brings T tokens; `graph`: most tokens of a step that is a captured graph."""

    own: StepCosts
    experts: Floats
    graph: int


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
    slowest, last, head, brought = 0, -1.0, 0.0, 0.0
    for rank in range(count):
        shape = shapes[rank]
        rows = most if is_padded else int(max(shape.tokens, 1.0))
        brought += rows
        mean = (shape.cached + shape.decodes * later) / shape.decodes if shape.decodes > 0.0 else 0.0
        attention = attention_s(own, shape.chunks, shape.pc, shape.kp, shape.decodes, mean)
        seconds = own.tokens[rows] + attention
        if seconds > last:
            slowest, last = rank, seconds
        head = max(head, own.sequences[int(shape.sequences)])
    return float(own.step + last + head) + _between(costs.experts, brought / count), slowest


@inner_njit
def _drafting_s(costs: LockstepCosts, shapes: Shapes) -> float:
    """Seconds of a step in which those who decode compute a token each, and nobody anything else."""
    alone = np.zeros(len(shapes), dtype=SHAPE)
    for rank in range(len(shapes)):
        decodes = shapes[rank].decodes
        alone[rank].tokens, alone[rank].sequences, alone[rank].decodes = decodes, decodes, decodes
        alone[rank].cached = shapes[rank].cached
    return float(lockstep_s(costs, alone, 0.0)[0]) if _decoding(shapes) > 0 else 0.0


@inner_njit
def _decoding(shapes: Shapes) -> int:
    """How many decode."""
    decoding = 0
    for rank in range(len(shapes)):
        decoding += int(shapes[rank].decodes)
    return decoding


@inner_njit
def captured(tokens: int, most: int) -> int:
    """The least size of a captured graph that holds so many tokens: 1, 2, 4, eights up to 256, then sixteens."""
    if tokens <= 2:
        return tokens
    size = 4 if tokens <= 4 else 8 if tokens <= 256 else 16
    return min(-(-tokens // size) * size, most)


@outer_njit
def serve_together(
    settings: Settings,
    requests: Requests,
    costs: LockstepCosts,
    arrivals: Arrivals,
    skips: bool,
    ranks: Ranks,
    desk: Desk,
    book: Book,
) -> Book:
    """Serve n requests on fresh replicas, as `clock.serve` does on one."""
    status, shapes = arrivals.status[0], np.zeros(len(desk.each), dtype=SHAPE)
    now, seen, coming = 0.0, 0.0, next_s(arrivals)
    while status.done < len(arrivals.due) and now < np.inf:
        if status.done == status.came:
            now = seen = max(now, coming)
        while coming <= seen:
            request = take_next(arrivals, coming)
            book.times[request].arrived = arrivals.due[request]
            arrive(settings, requests, engine_of(ranks, route(desk, coming))[0], request)
            coming = next_s(arrivals)
        if not _schedule(settings, requests, ranks, shapes, book):
            now = seen = max(now, coming)
            continue
        seconds = _step_s(costs, settings.drafts.share, shapes)
        book = with_room(book, len(shapes) * (settings.seqs + 1))
        began, now = now, now + seconds
        seen = began if settings.ahead else now
        emitted = _stamp(requests, ranks, book, began, now)
        _finish(settings, requests, ranks, book, arrivals, desk, now)
        coming = next_s(arrivals)
        write(book, now, 1, seconds, seconds, emitted, _most_used(ranks))
        if skips and _go_on(ranks, shapes):
            stretch = before(settings, coming, seen, now, _plan(settings, requests, costs, ranks, shapes))
            now = _take(settings, requests, ranks, book, stretch, now)
            seen = seen_in(settings, stretch, seen, now)
    return book


@inner_njit
def _schedule(settings: Settings, requests: Requests, ranks: Ranks, shapes: Shapes, book: Book) -> bool:
    """Everyone's next step; answers whether anything was decided."""
    decided = False
    for rank in range(len(shapes)):
        state, blocks = engine_of(ranks, rank)
        schedule(settings, requests, state, blocks)
        note_scheduled(book, state.status[0].preempted, blocks)
        _put(shapes[rank], shape_of(state))
        decided = decided or state.status[0].scheduled + state.status[0].preempted > 0
    return decided


@inner_njit
def _step_s(costs: LockstepCosts, drafting: float, shapes: Shapes) -> float:
    """Seconds of one step of all, of which drafting takes such a share of one that only decodes."""
    seconds = lockstep_s(costs, shapes, 0.0)[0]
    return float(seconds + drafting * _drafting_s(costs, shapes) if drafting > 0.0 else seconds)


@inner_njit
def _put(row: Record, shape: Shape) -> None:
    row.tokens, row.sequences, row.pc, row.kp = shape.tokens, shape.sequences, shape.pc, shape.kp
    row.decodes, row.cached, row.chunks = shape.decodes, shape.cached, shape.chunks


@inner_njit
def _stamp(requests: Requests, ranks: Ranks, book: Book, began: float, now: float) -> int:
    emitted = 0
    for rank in range(len(ranks.states.status)):
        emitted += stamp(requests, engine_of(ranks, rank)[0], book, began, now)
    return emitted


@inner_njit
def _finish(
    settings: Settings,
    requests: Requests,
    ranks: Ranks,
    book: Book,
    arrivals: Arrivals,
    desk: Desk,
    now: float,
) -> None:
    """The step ran everywhere."""
    for rank in range(len(ranks.states.status)):
        engine = engine_of(ranks, rank)
        state, status = engine[0], engine[0].status[0]
        end_step(settings, requests, engine, book, now)
        let_come(arrivals, state.finished[: status.finished], now)
        report(desk, rank, status.waiting, status.running, now)


@inner_njit
def _go_on(ranks: Ranks, shapes: Shapes) -> bool:
    """Whether the next step is like this one everywhere."""
    for rank in range(len(shapes)):
        state = engine_of(ranks, rank)[0]
        now = state.status[0]
        is_idle = now.running + now.waiting + now.finished == 0
        if not is_idle and not goes_on(state, int(shapes[rank].decodes)):
            return False
    return bool(_decoding(shapes) > 0)


@inner_njit
def _plan(settings: Settings, requests: Requests, costs: LockstepCosts, ranks: Ranks, shapes: Shapes) -> Stretch:
    """All steps like the last that can follow it: of a maximum of linear times, the greatest first and last is the
    greatest throughout."""
    more = 1 << 40
    for rank in range(len(shapes)):
        shape = shapes[rank]
        if shape.decodes > 0.0:
            mean = shape.cached / shape.decodes
            most = int(min(decode_segment(costs.own, mean + 1.0) - mean, 1e12))
            more = min(more, steps_alike(settings, requests, engine_of(ranks, rank), most))
    decoding = _decoding(shapes)
    first, slowest = lockstep_s(costs, shapes, 1.0)
    while more > 1:
        last, slowest_then = lockstep_s(costs, shapes, float(more))
        if slowest_then == slowest:
            return Stretch(more, first, (last - first) / (more - 1), decoding)
        more >>= 1
    return Stretch(max(more, 0), first, 0.0, decoding)


@inner_njit
def _take(settings: Settings, requests: Requests, ranks: Ranks, book: Book, stretch: Stretch, now: float) -> float:
    """Take the steps of a stretch everywhere; answers when they end."""
    if stretch.steps == 0:
        return now
    end = float(now + length_s(stretch))
    for rank in range(len(ranks.states.status)):
        decode_all(settings, requests, engine_of(ranks, rank), book, stretch.steps, end)
    last = stretch.first + stretch.slope * (stretch.steps - 1)
    write(book, end, stretch.steps, stretch.first, last, stretch.decodes, _most_used(ranks))
    return end


@inner_njit
def _most_used(ranks: Ranks) -> int:
    """Blocks in use where most are."""
    most = 0
    for rank in range(len(ranks.states.status)):
        most = max(most, blocks_in_use(engine_of(ranks, rank)[1]))
    return most


@inner_njit
def _between(values: Floats, at: float) -> float:
    low = min(int(at), len(values) - 2)
    return float(values[low] + (at - low) * (values[low + 1] - values[low]))
