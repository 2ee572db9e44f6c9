"""Prefill engines and decode engines, in time: prompts are computed by the first, their caches move over links, and the
others write the answers.

A request goes to the prefill engine with the fewest tokens of prompts to do; there its blocks are free once its prompt
is computed. Then its cache moves, one after the other from each engine, to the decode engine with the fewest requests,
which takes one after the other; and it waits there, its prompt computed and its first token known, which shows when it
has a place. A preempted one is computed anew where it decodes. Events are taken in the order of `replicas_clock`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit, outer_njit
from model.simulate.arrivals import Arrivals, let_come, next_alone_s, next_in_turn_s, push, take_in_turn
from model.simulate.blocks import NONE, Ints, Ints32
from model.simulate.costs import Floats, StepCosts
from model.simulate.log import Book, Served, closed, new_book, with_room
from model.simulate.ranks import Ranks, engine_of
from model.simulate.replicas_clock import Watch, begin, come, earliest, end, rest, see
from model.simulate.state import Requests, Settings


class Side(NamedTuple):
    """The engines of one pool: what each may do, and how much they have `to_do`, one number each."""

    settings: Settings
    requests: Requests
    costs: StepCosts
    ranks: Ranks
    watch: Watch
    to_do: Ints


class Link(NamedTuple):
    """The ways between the pools. A token of a prompt takes `send_s` seconds to leave a prefill engine and `take_s` to
    enter a decode engine; `sent_s` and `taken_s` are when each of either is free again. `target`: the decode engine of
    a request once it is on its way (NONE: not yet), n; `moves`: who waits for its way, and who is on it."""

    send_s: float
    take_s: float
    sent_s: Floats
    taken_s: Floats
    target: Ints
    moves: Arrivals


CAME, DONE, LOST = range(3)
"""Places in a tally: requests that came and are done, and preemptions."""


@outer_njit
def serve_pools(prefill: Side, decode: Side, link: Link, arrivals: Arrivals, skips: bool) -> tuple[Served, Served]:
    """Serve n requests; answers what happened in the prefill pool, where a last token is that of the prompt, and in the
    decode pool, whose requests arrive with their caches; those of a single token never do."""
    due, cap, talks = arrivals.due, arrivals.cap, len(arrivals.follower) > 0
    prompts, answers = new_book(len(due)), new_book(len(due))
    tally, now, coming = np.zeros(3, dtype=np.int64), 0.0, due.min()
    while tally[DONE] < len(due):
        prompts = with_room(prompts, prefill.settings.seqs + 1)
        answers = with_room(answers, decode.settings.seqs + 1)
        ends, comes, starts = (
            _ends_s(prefill, decode),
            min(coming, next_in_turn_s(link.moves)),
            _starts_s(prefill, decode),
        )
        if ends < np.inf and ends <= min(max(comes, now), starts):
            now = ends
            _end(prefill, decode, link, arrivals, prompts, answers, tally)
        elif comes < np.inf and max(comes, now) <= starts:
            now = max(comes, now)
            if coming <= next_in_turn_s(link.moves):
                request = take_in_turn(arrivals, coming) if talks else np.int64(tally[CAME])
                tally[CAME] += 1
                _ask(prefill, prompts, request, due[request], now)
            else:
                _move(decode, link, answers, now)
        elif starts < np.inf:
            tally[LOST] += _begin(prefill, decode, prompts, answers, skips)
        else:
            break  # what waits can never run; it stays unanswered
        coming = next_in_turn_s(arrivals) if talks else next_alone_s(due, cap, tally[CAME], tally[DONE])
    return closed(prompts, tally[LOST]), closed(answers, tally[LOST])


@inner_njit
def _ends_s(prefill: Side, decode: Side) -> float:
    """When a step ends before all others, in either pool."""
    return float(min(earliest(prefill.watch, False)[1], earliest(decode.watch, False)[1]))


@inner_njit
def _starts_s(prefill: Side, decode: Side) -> float:
    """When an engine may begin a step before all others, in either pool."""
    return float(min(earliest(prefill.watch, True)[1], earliest(decode.watch, True)[1]))


@inner_njit
def _ask(prefill: Side, prompts: Book, request: int, due: float, now: float) -> None:
    """A request arrives at the prefill engine with the fewest tokens to do."""
    rank = np.argmin(prefill.to_do)
    prefill.to_do[rank] += prefill.requests.prompt[request]
    prompts.arrived[request] = due
    come(prefill.settings, prefill.watch, rank, request, now)


@inner_njit
def _move(decode: Side, link: Link, answers: Book, now: float) -> None:
    """The next cache begins its way, or has arrived with the first token of the answer."""
    request = take_in_turn(link.moves, now)
    prompt, target = decode.requests.prompt[request], link.target[request]
    if target == NONE:
        target = np.argmin(decode.to_do)
        decode.to_do[target] += 1
        link.taken_s[target] = max(now, link.taken_s[target]) + prompt * link.take_s
        link.target[request] = target
        link.moves.due[request] = max(now + prompt * link.send_s, link.taken_s[target])
        push(link.moves, request)
        return
    decode.ranks.alike.outputs[request], decode.ranks.alike.brought[request] = 1, prompt
    answers.arrived[request] = now
    come(decode.settings, decode.watch, target, request, now)


@inner_njit
def _begin(prefill: Side, decode: Side, prompts: Book, answers: Book, skips: bool) -> int:
    """The next step begins; answers how many were preempted."""
    (rank, at), (other, then) = earliest(prefill.watch, True), earliest(decode.watch, True)
    if at <= then:
        return int(_begin_in(prefill, rank, prompts, skips))
    return int(_begin_in(decode, other, answers, skips))


@inner_njit
def _begin_in(side: Side, rank: int, book: Book, skips: bool) -> int:
    engine = engine_of(side.ranks, rank)
    see(side.settings, side.requests, engine[0], side.watch, rank, book)
    return int(begin(side.settings, side.requests, side.costs, engine, side.watch, rank, book, skips))


@inner_njit
def _end(
    prefill: Side, decode: Side, link: Link, arrivals: Arrivals, prompts: Book, answers: Book, tally: Ints
) -> None:
    """The step that ends first did."""
    (rank, at), (other, then) = earliest(prefill.watch, False), earliest(decode.watch, False)
    if at <= then:
        _end_prompts(prefill, decode, link, arrivals, prompts, tally, rank)
        return
    engine = engine_of(decode.ranks, other)
    finished = end(decode.settings, decode.requests, engine, decode.watch, other, answers)
    decode.to_do[other] -= finished
    _answered(arrivals, engine[0].finished, finished, tally, then)
    rest(engine, decode.watch, other)


@inner_njit
def _end_prompts(
    prefill: Side, decode: Side, link: Link, arrivals: Arrivals, prompts: Book, tally: Ints, rank: int
) -> None:
    """Caches of prompts that are whole move on, unless their answers are."""
    engine, now = engine_of(prefill.ranks, rank), prefill.watch.end_s[rank]
    state = engine[0]
    for place in range(end(prefill.settings, prefill.requests, engine, prefill.watch, rank, prompts)):
        request = state.finished[place]
        prompt = prefill.requests.prompt[request]
        prefill.to_do[rank] -= prompt
        if min(decode.requests.limit[request], decode.settings.model_len - prompt) > 1:
            _move_out(decode, link, rank, request, now)
        else:
            _answered(arrivals, state.finished[place : place + 1], 1, tally, now)
    rest(engine, prefill.watch, rank)


@inner_njit
def _move_out(decode: Side, link: Link, rank: int, request: int, now: float) -> None:
    """A prompt's cache leaves once those before it have left."""
    begins = max(now, link.sent_s[rank])
    link.sent_s[rank] = begins + decode.requests.prompt[request] * link.send_s
    link.target[request], link.moves.due[request] = NONE, begins
    push(link.moves, request)


@inner_njit
def _answered(arrivals: Arrivals, requests: Ints32, count: int, tally: Ints, now: float) -> None:
    """The first `count` of `requests` are done."""
    let_come(arrivals, arrivals.due, arrivals.cap, len(arrivals.follower) > 0, tally[DONE], requests, count, now)
    tally[DONE] += count
