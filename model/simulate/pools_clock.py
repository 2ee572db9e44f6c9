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
from model.simulate.arrivals import Arrivals, let_come, next_in_turn_s, next_s, push, take_in_turn, take_next
from model.simulate.blocks import NONE, Ints
from model.simulate.costs import Floats, StepCosts
from model.simulate.log import Book, with_room
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


@outer_njit
def serve_pools(
    prefill: Side, decode: Side, link: Link, arrivals: Arrivals, skips: bool, prompts: Book, answers: Book
) -> tuple[Book, Book]:
    """Serve n requests; writes what happened in the prefill pool, where a last token is that of the prompt, and in the
    decode pool, whose requests arrive with their caches; those of a single token never do."""
    now, coming = 0.0, next_s(arrivals)
    while arrivals.status[0].done < len(arrivals.due):
        prompts = with_room(prompts, prefill.settings.seqs + 1)
        answers = with_room(answers, decode.settings.seqs + 1)
        computing, computed_s, waiting, waiting_s = earliest(prefill.watch.each)
        writing, written_s, other, other_s = earliest(decode.watch.each)
        moved_s = next_in_turn_s(link.moves)
        ends, comes, starts = min(computed_s, written_s), min(coming, moved_s), min(waiting_s, other_s)
        if ends < np.inf and ends <= min(max(comes, now), starts):
            now = ends
            if computed_s <= written_s:
                _end_prompts(prefill, computing, decode, link, arrivals, prompts, now)
            else:
                _end_answers(decode, writing, arrivals, answers, now)
        elif comes < np.inf and max(comes, now) <= starts:
            now = max(comes, now)
            if coming <= moved_s:
                request = take_next(arrivals, coming)
                prompts.times[request].arrived = arrivals.due[request]
                come(prefill.settings, prefill.watch, ask(prefill.requests, prefill.to_do, request), request, now)
            else:
                _move(decode, link, answers, now)
        elif starts < np.inf:
            if waiting_s <= other_s:
                _begin(prefill, waiting, prompts, skips)
            else:
                _begin(decode, other, answers, skips)
        else:
            break  # what waits can never run; it stays unanswered
        coming = next_s(arrivals)
    return prompts, answers


@inner_njit
def ask(requests: Requests, to_do: Ints, request: int) -> int:
    """A request arrives: the prefill engine with the fewest tokens to do, which now has more."""
    rank = _least(to_do)
    to_do[rank] += requests.asked[request].prompt
    return int(rank)


@inner_njit
def _least(to_do: Ints) -> int:
    least = 0
    for rank in range(len(to_do)):
        if to_do[rank] < to_do[least]:
            least = rank
    return least


@inner_njit
def move(requests: Requests, ranks: Ranks, to_do: Ints, link: Link, answers: Book, now: float) -> tuple[int, int]:
    """The next cache begins its way, or has arrived with the first token of the answer: its request, and the decode
    engine that it came to, NONE where it only begins."""
    request = take_in_turn(link.moves, now)
    prompt, target = requests.asked[request].prompt, link.target[request]
    if target == NONE:
        target = _least(to_do)
        to_do[target] += 1
        link.taken_s[target] = max(now, link.taken_s[target]) + prompt * link.take_s
        link.target[request] = target
        link.moves.due[request] = max(now + prompt * link.send_s, link.taken_s[target])
        push(link.moves, request)
        return request, NONE
    seat = ranks.states.seats[request]
    seat.outputs, seat.brought = 1, prompt
    answers.times[request].arrived = now
    return request, int(target)


@inner_njit
def _move(decode: Side, link: Link, answers: Book, now: float) -> None:
    request, rank = move(decode.requests, decode.ranks, decode.to_do, link, answers, now)
    if rank != NONE:
        come(decode.settings, decode.watch, rank, request, now)


@inner_njit
def _begin(side: Side, rank: int, book: Book, skips: bool) -> None:
    """An engine's next step begins."""
    engine = engine_of(side.ranks, rank)
    see(side.settings, side.requests, engine[0], side.watch, rank, book)
    begin(side.settings, side.requests, side.costs, engine, side.watch.each[rank], book, skips)


@inner_njit
def _end_answers(decode: Side, rank: int, arrivals: Arrivals, answers: Book, now: float) -> None:
    """A step of a decode engine ended."""
    engine, own = engine_of(decode.ranks, rank), decode.watch.each[rank]
    finished = end(decode.settings, decode.requests, engine, own, answers)
    decode.to_do[rank] -= finished
    let_come(arrivals, engine[0].finished[:finished], now)
    rest(engine[0], own)


@inner_njit
def _end_prompts(
    prefill: Side, rank: int, decode: Side, link: Link, arrivals: Arrivals, prompts: Book, now: float
) -> None:
    """A step of a prefill engine ended."""
    engine, own = engine_of(prefill.ranks, rank), prefill.watch.each[rank]
    finished = end(prefill.settings, prefill.requests, engine, own, prompts)
    prefill.to_do[rank] -= send_on(
        decode.settings, decode.requests, link, rank, engine[0].finished[:finished], arrivals, now
    )
    rest(engine[0], own)


@inner_njit
def send_on(
    settings: Settings, requests: Requests, link: Link, rank: int, finished: Ints, arrivals: Arrivals, now: float
) -> int:
    """Caches of prompts that are whole move on to the decode pool with these settings, once those before them have
    left, unless their answers are whole too; answers how many tokens of prompts are done."""
    tokens = 0
    for place in range(len(finished)):
        request = finished[place]
        asked = requests.asked[request]
        tokens += asked.prompt
        if min(asked.limit, settings.model_len - asked.prompt) > 1:
            begins = max(now, link.sent_s[rank])
            link.sent_s[rank] = begins + asked.prompt * link.send_s
            link.target[request], link.moves.due[request] = NONE, begins
            push(link.moves, request)
        else:
            let_come(arrivals, finished[place : place + 1], now)
    return tokens
