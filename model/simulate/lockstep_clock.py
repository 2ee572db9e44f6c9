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
import numpy.typing as npt

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, answered, answered_alone, next_alone_s, next_in_turn_s, take_in_turn
from model.simulate.clock import (
    Shape,
    Stretch,
    before,
    decode_all,
    goes_on,
    length_s,
    seen_in,
    shape_of,
    stamp,
    steps_alike,
)
from model.simulate.costs import Floats, StepCosts, attention_s, decode_segment
from model.simulate.log import PEAK, Book, Served, closed, new_book, with_room, write
from model.simulate.ranks import Ranks, engine_of
from model.simulate.routing import Desk, report, route
from model.simulate.scheduler import arrive, finish_step, schedule
from model.simulate.state import FINISHED, PREEMPTED, RUNNING, WAITING, Requests, Settings

Shapes = npt.NDArray[np.float64]
"""A `Shape` per replica, `k x 7`."""
TOKENS, SEQUENCES, PC, KP, DECODES, CACHED, CHUNKS = range(7)


class LockstepCosts(NamedTuple):
    """`own`: what a replica computes by itself; `experts[T]`: seconds of all layers' experts, messages included, where
    each replica brings T tokens; `graph`: most tokens of a step that is a captured graph."""

    own: StepCosts
    experts: Floats
    graph: int


@inner_njit
def lockstep_s(costs: LockstepCosts, shapes: Shapes) -> tuple[float, int]:
    """Seconds of one step of all, and the replica whose attention is the last to end where all pad alike."""
    own, count = costs.own, len(shapes)
    most = int(max(shapes[:, TOKENS].max(), 1.0))
    is_padded = most <= costs.graph
    if is_padded:
        most = captured(most, costs.graph)
    slowest, last, head, brought = 0, -1.0, 0.0, 0.0
    for rank in range(count):
        shape = shapes[rank]
        rows = most if is_padded else int(max(shape[TOKENS], 1.0))
        brought += rows
        mean = shape[CACHED] / shape[DECODES] if shape[DECODES] > 0.0 else 0.0
        attention = attention_s(own, shape[CHUNKS], shape[PC], shape[KP], shape[DECODES], mean)
        seconds = own.tokens[rows] + attention
        if seconds > last:
            slowest, last = rank, seconds
        head = max(head, own.sequences[int(shape[SEQUENCES])])
    return float(own.step + last + head) + _between(costs.experts, brought / count), slowest


@inner_njit
def _drafting_s(costs: LockstepCosts, shapes: Shapes) -> float:
    """Seconds of a step in which those who decode compute a token each, and nobody anything else."""
    decodes = shapes[:, DECODES].copy()
    if decodes.sum() == 0.0:
        return 0.0
    alone = np.zeros_like(shapes)
    alone[:, TOKENS] = alone[:, SEQUENCES] = alone[:, DECODES] = decodes
    alone[:, CACHED] = shapes[:, CACHED]
    seconds, _ = lockstep_s(costs, alone)
    return float(seconds)


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
) -> Served:
    """Serve n requests on fresh replicas, as `clock.serve` does on one."""
    due, cap, talks = arrivals.due, arrivals.cap, len(arrivals.follower) > 0
    shapes, book = np.zeros((len(desk.seen), 7)), new_book(len(due))
    came, done, preemptions, now, seen, coming = 0, 0, 0, 0.0, 0.0, due.min()
    while done < len(due) and now < np.inf:
        if done == came:
            now = seen = max(now, coming)
        while coming <= seen:
            request = take_in_turn(arrivals, coming) if talks else came
            book.arrived[request] = due[request]
            arrive(settings, requests, engine_of(ranks, route(desk, coming))[0], request)
            came += 1
            coming = next_in_turn_s(arrivals) if talks else next_alone_s(due, cap, came, done)
        preempted = _schedule(settings, requests, ranks, shapes, book)
        preemptions += preempted
        if shapes[:, SEQUENCES].sum() == 0.0 and preempted == 0:
            now = seen = max(now, coming)
            continue
        seconds, _ = lockstep_s(costs, shapes)
        if settings.drafts.share > 0.0:
            seconds += settings.drafts.share * _drafting_s(costs, shapes)
        book = with_room(book, len(shapes) * (settings.seqs + 1))
        emitted = _stamp(requests, ranks, book, now, now + seconds)
        seen, now = now if settings.ahead else now + seconds, now + seconds
        done += _finish(settings, requests, ranks, book, arrivals, desk, done, now)
        coming = next_in_turn_s(arrivals) if talks else next_alone_s(due, cap, came, done)
        write(book, now, 1, seconds, seconds, emitted, _used(ranks))
        if skips and _go_on(ranks, shapes):
            stretch = before(settings, coming, seen, now, _plan(settings, requests, costs, ranks, shapes))
            now = _take(settings, requests, ranks, book, stretch, now)
            seen = seen_in(settings, stretch, seen, now)
    served: Served = closed(book, preemptions)
    return served


@inner_njit
def _schedule(settings: Settings, requests: Requests, ranks: Ranks, shapes: Shapes, book: Book) -> int:
    """Everyone's next step; answers how many were preempted."""
    preempted = 0
    for rank in range(len(shapes)):
        state, blocks = engine_of(ranks, rank)
        schedule(settings, requests, state, blocks)
        preempted += state.counts[PREEMPTED]
        _put(shapes[rank], shape_of(state))
    book.counts[PEAK] = max(book.counts[PEAK], _used(ranks))
    return int(preempted)


@inner_njit
def _put(row: Floats, shape: Shape) -> None:
    row[TOKENS], row[SEQUENCES], row[PC], row[KP] = shape.tokens, shape.sequences, shape.pc, shape.kp
    row[DECODES], row[CACHED], row[CHUNKS] = shape.decodes, shape.cached, shape.chunks


@inner_njit
def _stamp(requests: Requests, ranks: Ranks, book: Book, began: float, now: float) -> int:
    emitted = 0
    for rank in range(len(ranks.each.counts)):
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
    earlier: int,
    now: float,
) -> int:
    """The step ran everywhere; answers how many requests are done, after so many earlier."""
    done = 0
    for rank in range(len(ranks.each.counts)):
        state, blocks = engine_of(ranks, rank)
        finish_step(settings, requests, state, blocks)
        finished = state.counts[FINISHED]
        book.last_s[state.finished[:finished]] = now
        if len(arrivals.follower) > 0:
            answered(arrivals, state.finished, finished, now)
        else:
            answered_alone(arrivals.due, arrivals.cap, earlier + done, finished, now)
        report(desk, rank, state.counts[WAITING], state.counts[RUNNING], now)
        done += finished
    return int(done)


@inner_njit
def _go_on(ranks: Ranks, shapes: Shapes) -> bool:
    """Whether the next step is like this one everywhere."""
    for rank in range(len(shapes)):
        state, _ = engine_of(ranks, rank)
        is_idle = state.counts[RUNNING] + state.counts[WAITING] + state.counts[FINISHED] == 0
        if not is_idle and not goes_on(state, int(shapes[rank, DECODES])):
            return False
    return bool(shapes[:, DECODES].sum() > 0.0)


@inner_njit
def _plan(settings: Settings, requests: Requests, costs: LockstepCosts, ranks: Ranks, shapes: Shapes) -> Stretch:
    """All steps like the last that can follow it: of a maximum of linear times, the greatest first and last is the
    greatest throughout."""
    more = 1 << 40
    for rank in range(len(shapes)):
        decodes = shapes[rank, DECODES]
        if decodes > 0.0:
            mean = shapes[rank, CACHED] / decodes
            most = int(min(decode_segment(costs.own, mean + 1.0) - mean, 1e12))
            more = min(more, steps_alike(settings, requests, engine_of(ranks, rank), most))
    decoding = int(shapes[:, DECODES].sum())
    later = shapes.copy()
    later[:, CACHED] += shapes[:, DECODES]
    first, slowest = lockstep_s(costs, later)
    while more > 1:
        later[:, CACHED] = shapes[:, CACHED] + shapes[:, DECODES] * more
        last, slowest_then = lockstep_s(costs, later)
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
    for rank in range(len(ranks.each.counts)):
        decode_all(settings, requests, engine_of(ranks, rank), book, stretch.steps, end)
    used = _used(ranks)
    book.counts[PEAK] = max(book.counts[PEAK], used)
    last = stretch.first + stretch.slope * (stretch.steps - 1)
    write(book, end, stretch.steps, stretch.first, last, stretch.decodes, used)
    return end


@inner_njit
def _used(ranks: Ranks) -> int:
    """Blocks in use where most are."""
    return int((ranks.blocks.users.shape[1] - ranks.blocks.free[:, 0]).max())


@inner_njit
def _between(values: Floats, at: float) -> float:
    low = min(int(at), len(values) - 2)
    return float(values[low] + (at - low) * (values[low + 1] - values[low]))
