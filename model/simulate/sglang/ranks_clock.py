"""SGLang's ranks and pipelines in time: attention data parallelism, micro-batches in stages, or both.

Ranks that share experts decide a step each, and take it together: one may compute prompts while others decode, and who
has nothing to do takes part. Where tokens are drafted nobody decodes while anybody computes prompts. With k stages a
rank has k micro-batches, whose turns come one after the other: a turn decides on a step of the micro-batch and sends it
into the stages, then waits for the next one's to come back. So a request stays in the micro-batch that let it in, but
the parts of a prompt may be of several. Source: the behaviour of sglang 0.5.9's event_loop_pp, get_next_batch_to_run
and prepare_mlp_sync_batch_raw.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, next_s, take_next
from model.simulate.blocks import NONE
from model.simulate.log import Book, with_room, write
from model.simulate.records import Record, Records
from model.simulate.routing import Desk, route
from model.simulate.sglang.notes import answer, note_decoded, note_finished, note_retracted, shape_of, unused
from model.simulate.sglang.ranks import Ranks, engine_of
from model.simulate.sglang.running import keep
from model.simulate.sglang.scheduler import (
    DECODE,
    FAILS,
    IDLE,
    MIXED,
    PREFILL,
    finish_step,
    start_decodes,
    start_prompts,
)
from model.simulate.sglang.server import Engine, Flags, Server
from model.simulate.sglang.waiting import wait
from model.simulate.stages import PipelineCosts, new_stages, through_s
from model.simulate.state import Requests
from model.simulate.together import SHAPE, LockstepCosts, Shapes, put

_STEP = np.dtype(
    [("kind", np.int64), ("told_s", np.float64), ("used", np.int64), ("is_part", np.int64), ("owed", np.int64)]
)
_BATCH = np.dtype([("began_s", np.float64), ("end_s", np.float64), ("flies", np.int64)])
_STATUS = np.dtype([("turn", np.int64), ("flying", np.int64), ("idle", np.int64)])


class Course(NamedTuple):
    """`steps`, r x m: of each micro-batch the `kind` of its step, when it was `told_s` that all who run decoded, pages
    in use (`used`), whether a part of a prompt `is_part` of it, and how many answers are `owed`. `batches`, m: when
    they `began_s` and will be back (`end_s`), if one `flies`. `stages` as in `model.simulate.stages`; `shapes`, r.
    `status[0]`: whose `turn` it is, how many are `flying`, and turns in a row in which nothing could be decided."""

    steps: Records
    batches: Records
    stages: Records
    shapes: Shapes
    status: Records


def new_course(count: int, stages: int) -> Course:
    """Nothing under way."""
    steps, batches = np.zeros((count, stages), dtype=_STEP), np.zeros(stages, dtype=_BATCH)
    return Course(steps, batches, new_stages(stages), np.zeros(count, dtype=SHAPE), np.zeros(1, dtype=_STATUS))


@outer_njit
def serve_ranks(
    flags: Flags,
    requests: Requests,
    costs: PipelineCosts,
    arrivals: Arrivals,
    ranks: Ranks,
    course: Course,
    desk: Desk,
    book: Book,
) -> Book:
    """Serve n requests on fresh ranks, as `clock.serve_sglang` does on one; stretches are not taken at once."""
    turn, now, seen = course.status[0], 0.0, 0.0
    while arrivals.status[0].done < len(arrivals.due) and now < np.inf:
        _receive(flags, requests, ranks, arrivals, desk, turn.turn, book, seen)
        kind = _decide_or_rest(flags, requests, ranks, course)
        _answer_owed(ranks, course, arrivals, now)
        if kind == FAILS:
            break
        if kind == DECODE:
            _send(flags, costs, ranks, course, book, now)
        elif turn.flying == 0:
            turn.idle += 1
        if turn.idle == len(course.batches):  # none has anything to do
            now = seen = max(now, next_s(arrivals))
            turn.idle = 0
        turn.turn = (turn.turn + 1) % len(course.batches)
        own = course.batches[turn.turn]
        if own.flies:
            now = max(now, own.end_s)
            book = _finish(flags, requests, ranks, course, book, now)
            seen = own.began_s if _owes(flags, ranks, course, arrivals, now) else now
    return book


@inner_njit
def _receive(
    flags: Flags,
    requests: Requests,
    ranks: Ranks,
    arrivals: Arrivals,
    desk: Desk,
    turn: int,
    book: Book,
    seen: float,
) -> None:
    """Let those wait who arrived until `seen`."""
    coming = next_s(arrivals)
    while coming <= seen:
        request = take_next(arrivals, seen)
        book.times[request].arrived = seen if arrivals.cap > 0 and not arrivals.talks else arrivals.due[request]
        wait(flags, requests, engine_of(ranks, route(desk, coming), turn)[0], request)
        coming = next_s(arrivals)


@inner_njit
def _decide_or_rest(flags: Flags, requests: Requests, ranks: Ranks, course: Course) -> int:
    """As `decide`; where nobody at all has anything to do, the new token ratio is the first again."""
    kind = decide(flags, requests, ranks, course)
    if kind != IDLE or course.status[0].flying > 0:
        return int(kind)
    rest(flags, ranks)
    return int(decide(flags, requests, ranks, course))  # nobody is in the batch any more: that may let one in


@inner_njit
def rest(flags: Flags, ranks: Ranks) -> None:
    """Where nobody has anything to do the new token ratio is the first again."""
    for row in ranks.latest:
        ranks.servers.status[row][0].ratio = flags.first_ratio


@inner_njit
def decide(flags: Flags, requests: Requests, ranks: Ranks, course: Course) -> int:
    """A step of the micro-batch whose turn it is, on all ranks: IDLE where none has anything to do, DECODE where one
    has, FAILS where SGLang would end for want of memory."""
    turn, prompts, decided = course.status[0].turn, False, IDLE
    for rank in range(len(course.shapes)):
        kind = _start_prompts(flags, requests, ranks, rank, turn)
        course.steps[rank, turn].kind = kind
        prompts = prompts or kind != IDLE
    for rank in range(len(course.shapes)):
        step, engine = course.steps[rank, turn], engine_of(ranks, rank, turn)
        if step.kind == IDLE and not (prompts and flags.drafts.tokens > 0):
            step.kind = start_decodes(flags, requests, engine)
        if step.kind == FAILS:
            return FAILS
        if step.kind != IDLE:
            decided = DECODE
        put(course.shapes[rank], shape_of(flags, engine[0], step.kind))
        _set_part_aside(engine[0], ranks, rank, step)
        step.used = ranks.pages - unused(*engine)
    return decided


@inner_njit
def _start_prompts(flags: Flags, requests: Requests, ranks: Ranks, rank: int, turn: int) -> int:
    """Of one rank; the tree gets what was computed of the prompt under way first."""
    engine = engine_of(ranks, rank, turn)
    if ranks.partial[rank] != NONE:
        keep(flags, requests, engine, ranks.partial[rank])
    engine[0].status[0].partial = ranks.partial[rank]
    kind = start_prompts(flags, requests, engine)
    ranks.partial[rank] = engine[0].status[0].partial
    return int(kind)


@inner_njit
def _set_part_aside(server: Server, ranks: Ranks, rank: int, step: Record) -> None:
    """A part of a prompt that is not its last yields nothing when its step is done: it stands behind the others."""
    now, lists = server.status[0], server.lists
    now.partial, step.is_part = NONE, 0
    if step.kind not in (PREFILL, MIXED):
        return
    for place in range(now.prefills):
        if lists[place].prefill == ranks.partial[rank]:
            step.is_part = 1
        elif step.is_part == 1:
            _swap(lists[place - 1], lists[place])
    now.prefills -= step.is_part


@inner_njit
def _swap(left: Record, right: Record) -> None:
    left.prefill, right.prefill = right.prefill, left.prefill
    left.tokens, right.tokens = right.tokens, left.tokens
    left.hit, right.hit = right.hit, left.hit


@inner_njit
def _send(flags: Flags, costs: PipelineCosts, ranks: Ranks, course: Course, book: Book, now: float) -> None:
    """What was decided enters the first stage. Steps with prompts on any rank are no captured graphs."""
    turn, whole, graph = course.status[0].turn, costs.whole, costs.whole.graph
    for rank in range(len(course.shapes)):
        step = course.steps[rank, turn]
        if course.shapes[rank].chunks > 0:
            graph = 0
        if step.kind != IDLE:
            note_retracted(engine_of(ranks, rank, turn)[0], book, step.told_s)
    together = LockstepCosts(whole.own, whole.experts, graph)
    own = course.batches[turn]
    own.began_s, own.flies = now, 1
    own.end_s = through_s(together, flags.drafts.share, course.shapes, course.stages, now)
    course.status[0].flying += 1
    course.status[0].idle = 0


@inner_njit
def _finish(flags: Flags, requests: Requests, ranks: Ranks, course: Course, book: Book, now: float) -> Book:
    """The micro-batch whose turn it is comes back, on all ranks."""
    turn = course.status[0].turn
    own = course.batches[turn]
    own.flies = 0
    course.status[0].flying -= 1
    for rank in range(len(course.shapes)):
        step, engine = course.steps[rank, turn], engine_of(ranks, rank, turn)
        server, status = engine[0], engine[0].status[0]
        status.finished = 0
        if step.kind == IDLE:
            continue
        book = with_room(book, status.fresh + status.prefills)
        alike = note_decoded(server, book, step.kind, now)
        gap = now - step.told_s if alike > 0 else now - own.began_s
        step.told_s = now if step.kind != PREFILL else step.told_s
        finish(flags, requests, engine, step)
        note_finished(server, book, step.kind, now)
        write(book, now, 1, gap, gap, alike, step.used)
    return book


@inner_njit
def finish(flags: Flags, requests: Requests, engine: Engine, step: Record) -> None:
    """A step ran: a part of a prompt makes room in its micro-batch again."""
    finish_step(flags, requests, engine, step.kind)
    if step.is_part:
        engine[0].status[0].is_full = 0


@inner_njit
def _owes(flags: Flags, ranks: Ranks, course: Course, arrivals: Arrivals, now: float) -> bool:
    """Who is done is answered now, or where the next step was decided on already, when that has begun; answers
    whether it was."""
    turn, servers, busy = course.status[0].turn, ranks.servers, False
    for rank in range(len(course.shapes)):
        status = servers.status[rank * ranks.batches + turn][0]
        busy = busy or status.running > 0 or ranks.partial[rank] != NONE or status.head < status.tail
    owes = flags.ahead and busy
    for rank in range(len(course.shapes)):
        row = rank * ranks.batches + turn
        finished = servers.status[row][0].finished
        course.steps[rank, turn].owed = finished if owes else 0
        if not owes:
            answer(arrivals, servers.finished[row][:finished], now)
    return bool(owes)


@inner_njit
def _answer_owed(ranks: Ranks, course: Course, arrivals: Arrivals, now: float) -> None:
    """The next step begins: who was done in the last one is answered."""
    turn = course.status[0].turn
    for rank in range(len(course.shapes)):
        step = course.steps[rank, turn]
        answer(arrivals, ranks.servers.finished[rank * ranks.batches + turn][: step.owed], now)
        step.owed = 0
