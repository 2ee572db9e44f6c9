"""SGLang's scheduler alone, without a clock: requests arrive at given steps, and every decision is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model.compiled import outer_njit
from model.simulate.sglang.scheduler import FAILS, IDLE, MIXED, PREFILL, finish_step, schedule
from model.simulate.sglang.server import Engine, Flags, Server, SglangSettings, compiled_flags, new_engine
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
    settings: SglangSettings, requests: Requests, arrivals: Sequence[int]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Every step, as `model.simulate.decisions` tells it with `cached_blocks`, pages that only the tree holds; and the
    tokens that each request found in the cache when it was first let in.

    Raises:
        InputError: the server ends for want of memory, or nobody who waits can ever run.
    """
    flags, engine = compiled_flags(settings), new_engine(settings, requests)
    steps: list[dict[str, Any]] = []
    cached: dict[str, int] = {}
    to_come = list(range(len(arrivals)))
    done, idle = 0, 0
    while done < len(arrivals):
        for request in [each for each in to_come if arrivals[each] <= len(steps)]:
            _wait(flags, requests, engine[0], request)
            to_come.remove(request)
        partial = int(engine[0].status[0]["partial"])
        kind = _schedule(flags, requests, engine)
        if kind == FAILS:
            raise InputError.at(f"step {len(steps) + 1}", "SGLang runs out of memory and ends", "a larger cache")
        step = _decided(engine, kind, partial, 1 + flags.drafts.tokens)
        for request, hit in zip(step["admitted"][::2], step["admitted"][1::2], strict=True):
            cached.setdefault(str(request), hit)
        if kind != IDLE:
            _finish_step(flags, requests, engine, kind)
            step["finished"] = engine[0].finished[: engine[0].status[0]["finished"]].tolist()
            done += len(step["finished"])
        steps.append(step)
        idle = idle + 1 if kind == IDLE and not to_come else 0
        if idle > 1:
            raise InputError.at("scenario", "a waiting request can never be scheduled", "settings under which it can")
    return steps, cached


@outer_njit
def _wait(flags: Flags, requests: Requests, server: Server, request: int) -> None:
    wait(flags, requests, server, request)


@outer_njit
def _schedule(flags: Flags, requests: Requests, engine: Engine) -> int:
    return int(schedule(flags, requests, engine))


@outer_njit
def _finish_step(flags: Flags, requests: Requests, engine: Engine, kind: int) -> None:
    finish_step(flags, requests, engine, kind)


def _decided(engine: Engine, kind: int, partial: int, per_decode: int) -> dict[str, Any]:
    server, tree = engine
    now = server.status[0]
    prompts = server.lists[["prefill", "tokens", "hit"]][: now["prefills"]].tolist() if kind in {PREFILL, MIXED} else []
    decoding = _decoding(engine) if kind not in {PREFILL, IDLE} else []
    return {
        "scheduled": [
            each
            for pair in [*(prompt[:2] for prompt in prompts), *([request, per_decode] for request in decoding)]
            for each in pair
        ],
        "preempted": server.lists["retracted"][: now["retracted"]].tolist(),
        "admitted": [each for request, _, hit in prompts if request != partial for each in (request, hit)],
        "running": int(now["running"]) + len(prompts),
        "waiting": int(now["tail"] - now["head"]),
        "free_blocks": int(now["free"]),
        "cached_blocks": int(tree.status[0]["idle"]),
        "finished": [],
    }


def _decoding(engine: Engine) -> list[int]:
    """The running, in their order."""
    seats = engine[0].seats
    order, request = [], int(seats[-1]["after"])
    while request != len(seats) - 1:
        order.append(request)
        request = int(seats[request]["after"])
    return order
