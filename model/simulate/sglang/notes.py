"""What an SGLang server's steps compute, and what is written down about them, compiled."""

from __future__ import annotations

import numpy as np

from model.compiled import inner_njit
from model.simulate.arrivals import Arrivals, let_come
from model.simulate.blocks import NONE, Ints
from model.simulate.clock import Shape
from model.simulate.log import Book, write_late
from model.simulate.sglang.radix import Tree
from model.simulate.sglang.scheduler import DECODE, MIXED, PREFILL
from model.simulate.sglang.server import Flags, Server


@inner_njit
def shape_of(flags: Flags, server: Server, kind: int) -> Shape:
    """What the scheduled step computes; where tokens are drafted all who run have theirs verified."""
    now, decodes, cached, chunks, prompts, squares, past = server.status[0], 0, 0, 0, 0, 0.0, 0.0
    if kind in (DECODE, MIXED):
        decodes = now.running
    tokens = decodes * (1 + flags.drafts.tokens)
    if decodes > 0:
        cached = now.cached + tokens
    if kind in (PREFILL, MIXED):
        prompts = now.prefills
    for place in range(prompts):
        count = server.lists[place].tokens
        chunks += count
        squares += float(count) * count
        past += server.seats[server.lists[place].prefill].computed - count
    return Shape(tokens + chunks, tokens + prompts, np.sqrt(squares), past, decodes, cached, chunks)


@inner_njit
def answer(arrivals: Arrivals, finished: Ints, now: float) -> None:
    """These have their answers, and may send more requests; without conversations these are due already."""
    if arrivals.talks:
        let_come(arrivals, finished, now)
    else:
        arrivals.status[0].done += len(finished)


@inner_njit
def unused(server: Server, tree: Tree) -> int:
    """Pages that no request holds."""
    return int(server.status[0].free + tree.status[0].idle)


@inner_njit
def note_retracted(server: Server, book: Book, told: float) -> None:
    """Those sent back got their latest token in the latest decode step, unless they began after it."""
    for place in range(server.status[0].retracted):
        times = book.times[server.lists[place].retracted]
        times.token_s = max(times.token_s, told)
    book.tally[0].preemptions += server.status[0].retracted


@inner_njit
def note_decoded(server: Server, book: Book, kind: int, now: float) -> int:
    """Write down the gaps of those who decode for the first time; answers how many did so in the latest step too."""
    if kind == PREFILL:
        return 0
    status, alike = server.status[0], server.status[0].running
    for place in range(status.fresh):
        request = server.lists[place].fresh
        if server.seats[request].entered != NONE:
            write_late(book, now - book.times[request].token_s)
            alike -= 1
    status.fresh = 0
    return int(alike)


@inner_njit
def note_finished(server: Server, book: Book, kind: int, now: float) -> None:
    """Write down who is done, and the tokens that the prompts yielded."""
    status = server.status[0]
    for request in server.finished[: status.finished]:
        book.times[request].last_s = now
    if kind == DECODE:
        return
    for place in range(status.prefills):
        request = server.lists[place].prefill
        if request == status.partial:
            continue
        seat, times = server.seats[request], book.times[request]
        if seat.outputs == 1:
            times.first_s = now
        else:
            write_late(book, now - times.token_s)
        times.token_s = now
        if seat.entered != NONE:
            server.lists[status.fresh].fresh = request
            status.fresh += 1
