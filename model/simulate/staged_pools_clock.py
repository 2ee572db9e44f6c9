"""Prefill and decode workers of which some are pipelines or ranks in joint steps, in time.

Between the pools all is as in `pools_clock`; a worker of either makes its batches as `pipeline_clock` has it, of all of
its ranks at once: with one stage they are steps that the ranks take together. A worker that waits for a batch sees
nobody come before it is back; where a step is decided ahead, nobody who came after the one before it began.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_in_turn_s, next_s, take_next
from model.simulate.blocks import NONE, Ints
from model.simulate.log import Book, with_room
from model.simulate.pipeline_clock import Pipe, begin_batch, new_pipe, receive_batch
from model.simulate.pools_clock import Link, ask, move, send_on
from model.simulate.ranks import Ranks, engine_of, ranks_of
from model.simulate.replicas_clock import IDLE, READY, STEPPING, Watch, earliest, line_up, see
from model.simulate.stages import PipelineCosts
from model.simulate.state import Requests, Settings


class Staged(NamedTuple):
    """The workers of one pool, `size` ranks each, in a row among `ranks`: what each may do, the batches under way in
    each worker (`pipes`, with the workers as first axis but for what all requests share), how much each rank has
    `to_do`, and a `watch` of the ranks, of which the first of a worker tells when it goes on."""

    settings: Settings
    requests: Requests
    costs: PipelineCosts
    ranks: Ranks
    pipes: Pipe
    watch: Watch
    to_do: Ints
    size: int


def new_pipes(stages: int, seqs: int, requests: int, size: int, workers: int) -> Pipe:
    """Nothing under way in any of the workers of `size` ranks."""
    one = new_pipe(stages, seqs, requests, size)
    every = Pipe._make(np.stack([array] * workers) for array in one)
    return every._replace(number=one.number, merged=one.merged)


@outer_njit
def serve_staged_pools(
    prefill: Staged, decode: Staged, link: Link, arrivals: Arrivals, prompts: Book, answers: Book
) -> tuple[Book, Book]:
    """Serve n requests, as `pools_clock.serve_pools` does."""
    now, coming = 0.0, next_s(arrivals)
    while arrivals.status[0].done < len(arrivals.due):
        prompts = with_room(prompts, prefill.size * (prefill.settings.seqs + 1))
        answers = with_room(answers, decode.size * (decode.settings.seqs + 1))
        computing, computed_s, waiting, waiting_s = earliest(prefill.watch.each)
        writing, written_s, other, other_s = earliest(decode.watch.each)
        moved_s = next_in_turn_s(link.moves)
        ends, comes, starts = min(computed_s, written_s), min(coming, moved_s), min(waiting_s, other_s)
        if ends < np.inf and ends <= min(max(comes, now), starts):
            now = ends
            if computed_s <= written_s:
                _end_prompts(prefill, computing, decode, link, arrivals, prompts)
            else:
                _end_answers(decode, writing, arrivals, answers)
        elif comes < np.inf and max(comes, now) <= starts:
            now = max(comes, now)
            if coming <= moved_s:
                request = take_next(arrivals, coming)
                prompts.times[request].arrived = arrivals.due[request]
                _come(prefill, ask(prefill.requests, prefill.to_do, request), request, now)
            else:
                _move(decode, link, answers, now)
        elif starts < np.inf:
            if waiting_s <= other_s:
                _begin(prefill, waiting, prompts)
            else:
                _begin(decode, other, answers)
        else:
            break  # what waits can never run; it stays unanswered
        coming = next_s(arrivals)
    return prompts, answers


@inner_njit
def _pipe_of(side: Staged, first: int) -> Pipe:
    """The batches of the worker whose first rank it is."""
    pipes, worker = side.pipes, first // side.size
    return Pipe(
        pipes.stages[worker], pipes.batches[worker], pipes.members[worker], pipes.sizes[worker], pipes.inside[worker],
        pipes.shapes[worker], pipes.number, pipes.merged, pipes.status[worker],
    )  # fmt: skip


@inner_njit
def _come(side: Staged, rank: int, request: int, now: float) -> None:
    """A request comes to a rank; its worker may begin, if it has nothing to do."""
    line_up(side.watch, rank, request)
    lead = side.watch.each[rank - rank % side.size]
    if lead.mode == IDLE:
        lead.mode, lead.end_s, lead.seen_s = READY, now, now


@inner_njit
def _move(decode: Staged, link: Link, answers: Book, now: float) -> None:
    request, rank = move(decode.requests, decode.ranks, decode.to_do, link, answers, now)
    if rank != NONE:
        _come(decode, rank, request, now)


@inner_njit
def _begin(side: Staged, first: int, book: Book) -> None:
    """A worker makes its next batch; where there is none to make it waits for the oldest, or for who comes."""
    lead, pipe, is_unseen = side.watch.each[first], _pipe_of(side, first), False
    for rank in range(first, first + side.size):
        side.watch.each[rank].seen_s = lead.seen_s
        see(side.settings, side.requests, engine_of(side.ranks, rank)[0], side.watch, rank, book)
        is_unseen = is_unseen or side.watch.each[rank].first != NONE
    ranks = ranks_of(side.ranks, first, side.size)
    if begin_batch(side.settings, side.requests, side.costs, ranks, pipe, book, lead.end_s):
        return
    if pipe.status[0].flying > 0:
        lead.mode, lead.end_s = STEPPING, pipe.batches[pipe.status[0].oldest].end_s
    elif is_unseen:
        lead.seen_s = lead.end_s
    else:
        lead.mode, lead.end_s = IDLE, np.inf


@inner_njit
def _receive(side: Staged, first: int, book: Book) -> float:
    """The oldest batch of a worker is back; answers when."""
    lead, pipe = side.watch.each[first], _pipe_of(side, first)
    began = pipe.batches[pipe.status[0].oldest].began_s
    now = receive_batch(side.settings, side.requests, ranks_of(side.ranks, first, side.size), pipe, book)
    lead.mode, lead.end_s = READY, now
    # a next step was decided ahead only where there was anybody for it
    is_decided = side.settings.ahead and side.costs.stages == 1 and _is_busy(side, first)
    lead.seen_s = began if is_decided else now
    return float(now)


@inner_njit
def _is_busy(side: Staged, first: int) -> bool:
    """Whether anybody runs or waits in any rank of a worker."""
    for rank in range(first, first + side.size):
        status = side.ranks.states.status[rank, 0]
        if status.running + status.waiting > 0:
            return True
    return False


@inner_njit
def _end_answers(decode: Staged, first: int, arrivals: Arrivals, answers: Book) -> None:
    """A batch of a decode worker is back."""
    now = _receive(decode, first, answers)
    for rank in range(first, first + decode.size):
        state = engine_of(decode.ranks, rank)[0]
        finished = state.finished[: state.status[0].finished]
        decode.to_do[rank] -= len(finished)
        let_come(arrivals, finished, now)


@inner_njit
def _end_prompts(prefill: Staged, first: int, decode: Staged, link: Link, arrivals: Arrivals, prompts: Book) -> None:
    """A batch of a prefill worker is back."""
    now = _receive(prefill, first, prompts)
    for rank in range(first, first + prefill.size):
        state = engine_of(prefill.ranks, rank)[0]
        finished = state.finished[: state.status[0].finished]
        prefill.to_do[rank] -= send_on(decode.settings, decode.requests, link, rank, finished, arrivals, now)
