"""SGLang's scheduler alone, without a clock: requests arrive at given steps, and every decision is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from model.compiled import outer_njit
from model.simulate.blocks import Ints
from model.simulate.sglang.ranks import Ranks, engine_of, new_ranks
from model.simulate.sglang.ranks_clock import Course, decide, finish, new_course, rest
from model.simulate.sglang.scheduler import FAILS, IDLE, MIXED, PREFILL
from model.simulate.sglang.server import Flags, SglangSettings, compiled_flags
from model.simulate.sglang.waiting import wait
from model.simulate.speculation import speculation_of
from model.simulate.state import Requests
from perfdb.errors import InputError


def settings_of(given: Mapping[str, Any]) -> SglangSettings:
    """A scenario's settings; chunked_prefill_size -1 computes prompts whole."""
    speculation = speculation_of(given, "speculative_num_steps")
    return SglangSettings(
        max_num_seqs=given["max_running_requests"],
        num_blocks=given["num_pages"],
        block_size=given["page_size"],
        context_length=given["context_length"],
        max_prefill_tokens=given["max_prefill_tokens"],
        chunked_prefill_size=max(given["chunked_prefill_size"], 0),
        schedule_policy=given["schedule_policy"],
        schedule_conservativeness=given["schedule_conservativeness"],
        enable_prefix_caching=not given["disable_radix_cache"],
        enable_mixed_chunk=given["enable_mixed_chunk"] and speculation is None,
        speculation=speculation,
    )


def steps_of(
    settings: SglangSettings, requests: Requests, arrivals: Sequence[int], stages: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Every step, as `model.simulate.decisions` tells it with `cached_blocks`, pages that only the tree holds; and the
    tokens that each request found in the cache when it was first let in. In a pipeline of several `stages` a step is
    one micro-batch's turn, in which the next one's step ends.

    Raises:
        InputError: the server ends for want of memory, or nobody who waits can ever run.
    """
    settings = replace(settings, max_num_seqs=settings.max_num_seqs // stages)
    flags, ranks, course = compiled_flags(settings), new_ranks(settings, requests, 1, stages), new_course(1, stages)
    steps: list[dict[str, Any]] = []
    cached: dict[str, int] = {}
    to_come = list(range(len(arrivals)))
    done, idle = 0, 0
    while done < len(arrivals):
        for request in [each for each in to_come if arrivals[each] <= len(steps)]:
            _wait(flags, requests, ranks, course, request)
            to_come.remove(request)
        partial = int(ranks.partial[0])
        kind = _decide(flags, requests, ranks, course)
        if kind == FAILS:
            raise InputError.at(f"step {len(steps) + 1}", "SGLang runs out of memory and ends", "a larger cache")
        step = _decided(ranks, course, partial, 1 + flags.drafts.tokens)
        for request, hit in zip(step["admitted"][::2], step["admitted"][1::2], strict=True):
            cached.setdefault(str(request), hit)
        idle = idle + 1 if kind == IDLE else 0
        step["finished"] = _end_turn(flags, requests, ranks, course, idle).tolist()
        done += len(step["finished"])
        steps.append(step)
        if idle >= 2 * stages and not to_come:
            raise InputError.at("scenario", "a waiting request can never be scheduled", "settings under which it can")
    return steps, cached


@outer_njit
def _wait(flags: Flags, requests: Requests, ranks: Ranks, course: Course, request: int) -> None:
    wait(flags, requests, engine_of(ranks, 0, course.status[0].turn)[0], request)


@outer_njit
def _decide(flags: Flags, requests: Requests, ranks: Ranks, course: Course) -> int:
    kind = decide(flags, requests, ranks, course)
    course.batches[course.status[0].turn].flies = kind != IDLE
    return int(kind)


@outer_njit
def _end_turn(flags: Flags, requests: Requests, ranks: Ranks, course: Course, idle: int) -> Ints:
    """The next micro-batch's step ends and it has the turn; after so many `idle` turns all may have been. Answers who
    is done."""
    now = course.status[0]
    now.turn = (now.turn + 1) % len(course.batches)
    if now.turn == 0 and idle >= len(course.batches):
        rest(flags, ranks)
    engine = engine_of(ranks, 0, now.turn)
    engine[0].status[0].finished = 0
    if course.batches[now.turn].flies:
        course.batches[now.turn].flies = 0
        finish(flags, requests, engine, course.steps[0, now.turn])
    done: Ints = engine[0].finished[: engine[0].status[0].finished]
    return done


def _decided(ranks: Ranks, course: Course, partial: int, per_decode: int) -> dict[str, Any]:
    turn = course.status[0]["turn"]
    now, step = ranks.servers.status[turn, 0], course.steps[0, turn]
    lists, count = ranks.servers.lists[turn], int(now["prefills"] + step["is_part"])
    prompts = lists[["prefill", "tokens", "hit"]][:count].tolist() if step["kind"] in {PREFILL, MIXED} else []
    if step["is_part"] and prompts[-1][0] == partial:  # it went on before all others began
        prompts = [prompts[-1], *prompts[:-1]]
    decoding = _decoding(ranks, turn) if step["kind"] not in {PREFILL, IDLE} else []
    return {
        "scheduled": [
            each
            for pair in [*(prompt[:2] for prompt in prompts), *([request, per_decode] for request in decoding)]
            for each in pair
        ],
        "preempted": lists["retracted"][: now["retracted"]].tolist(),
        "admitted": [each for request, _, hit in prompts if request != partial for each in (request, hit)],
        "running": int(now["running"]) + len(prompts),
        "waiting": int(now["tail"] - now["head"]),
        "free_blocks": int(now["free"]),
        "cached_blocks": int(ranks.trees.status[0, 0]["idle"]),
        "finished": [],
    }


def _decoding(ranks: Ranks, turn: int) -> list[int]:
    """The running of a micro-batch, in their order."""
    seats, anchor = ranks.servers.seats, len(ranks.servers.seats) - len(ranks.servers.status) + turn
    order, request = [], int(seats[anchor]["after"])
    while request != anchor:
        order.append(request)
        request = int(seats[request]["after"])
    return order
