"""What SGLang's scheduler decides, one step at a time, compiled.

Rules: prompts go first. While somebody waits who may fit, or a prompt is under way, a step computes prompts; else all
who run decode. With mixed chunks they decode along with the prompts. Where a decode step lacks pages, some of the
running are sent back to wait, keep what they generated and compute it anew. Nobody is let in while the batch is full,
which it is from the first that did not fit until somebody leaves. Source: the behaviour of sglang 0.5.9 with its
overlapped scheduling off, observed.
"""

from __future__ import annotations

from model.compiled import inner_njit
from model.simulate.blocks import NONE
from model.simulate.sglang.admission import allot, gather
from model.simulate.sglang.running import decode, give_back, has_pages, join, keep, keep_drafts, retract, take_pages
from model.simulate.sglang.server import Engine, Flags, Server
from model.simulate.state import Requests

IDLE, PREFILL, MIXED, DECODE, FAILS = range(5)


@inner_njit
def schedule(flags: Flags, requests: Requests, engine: Engine) -> int:
    """Decide one step: which kind it is, FAILS where SGLang would end for want of memory. Left in the server."""
    kind = start_prompts(flags, requests, engine)
    if kind == IDLE:
        kind = start_decodes(flags, requests, engine)
        if kind == IDLE:
            engine[0].status[0].ratio = flags.first_ratio
    return int(kind)


@inner_njit
def start_prompts(flags: Flags, requests: Requests, engine: Engine) -> int:
    """A step that computes prompts, IDLE where there are none to compute."""
    server, _ = engine
    now = server.status[0]
    now.retracted, now.finished = 0, 0
    if not gather(flags, requests, engine):
        return IDLE
    if not allot(flags, requests, engine):
        return FAILS
    if not flags.mixes:
        return PREFILL
    now.gone = 0
    if now.running == 0:
        return PREFILL
    return MIXED if take_pages(flags, requests, engine) else FAILS


@inner_njit
def start_decodes(flags: Flags, requests: Requests, engine: Engine) -> int:
    """A step in which all who run decode, IDLE where nobody does."""
    server, _ = engine
    now = server.status[0]
    if now.gone > 0:
        now.is_full, now.gone = 0, 0
    if now.running == 0:
        return IDLE
    if has_pages(flags, requests, engine):
        now.ratio = max(now.ratio - flags.decay, flags.least_ratio)
    elif not retract(flags, requests, engine):
        return FAILS
    return DECODE if take_pages(flags, requests, engine) else FAILS


@inner_njit
def finish_step(flags: Flags, requests: Requests, engine: Engine, kind: int) -> None:
    """The step ran: tokens for those whose prompts are whole now, and for all who decoded. Who is done leaves."""
    server, _ = engine
    now = server.status[0]
    if kind == DECODE:
        if flags.drafts.tokens > 0:
            keep_drafts(flags, server)
        decode(flags, requests, engine)
        now.gone += now.finished
        return
    for place in range(now.prefills):
        request = server.lists[place].prefill
        if request != now.partial:
            _finish_prompt(flags, requests, engine, request)
    ended = now.finished
    if kind == MIXED:
        decode(flags, requests, engine)
    if now.partial != NONE:
        keep(flags, requests, engine, now.partial)
    if ended > 0 or now.partial != NONE or kind == MIXED or now.running + now.gone == 0:
        now.is_full = 0
    _join(flags, server, kind == MIXED)


@inner_njit
def _finish_prompt(flags: Flags, requests: Requests, engine: Engine, request: int) -> None:
    """The first token of a request, or the next one of a retracted request."""
    server, _ = engine
    now, seat = server.status[0], server.seats[request]
    seat.outputs += 1
    if seat.outputs < seat.goal:
        keep(flags, requests, engine, request)
        return
    give_back(flags, requests, engine, request, True)
    server.finished[now.finished] = request
    now.finished += 1


@inner_njit
def _join(flags: Flags, server: Server, is_first: bool) -> None:
    """Those of the prefill batch that go on decode from now on, before those who decoded along with it."""
    now, seats, count = server.status[0], server.seats, server.status[0].prefills
    for place in range(count):
        request = server.lists[count - 1 - place if is_first else place].prefill
        if request != now.partial and seats[request].outputs < seats[request].goal:
            join(flags, server, request, is_first)
