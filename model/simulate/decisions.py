"""The scheduler alone, without a clock: requests arrive at given steps, and every decision is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.compiled import outer_njit
from model.simulate.blocks import Blocks
from model.simulate.records import Records
from model.simulate.scheduler import arrive, finish_step, schedule
from model.simulate.sglang.decisions import settings_of, steps_of
from model.simulate.speculation import speculation_of
from model.simulate.state import NO_SHARING, EngineSettings, Requests, Settings, State, compiled, new_state, requests_of
from perfdb.errors import InputError

_COUNTED = {"free_blocks", "cached_blocks"}
"""What may differ between steps that are alike."""


def decisions(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """The scenario (id, settings, requests) with `steps`, `num_steps` and `cached_tokens` added. `engine`: vllm, the
    default, or sglang, whose settings are its own.

    A step holds the lists scheduled [id, n, ...], preempted, admitted [id, hit, ...], finished (each left out where
    empty) and the numbers running, waiting and free_blocks after scheduling. Equal consecutive steps without
    preemption, admission or finish are one with `repeat`; their free blocks are a list, or a number if constant.
    SGLang's also hold cached_blocks, pages that only its tree holds; preempted are those that it retracts. Settings may
    say num_speculative_tokens (SGLang: speculative_num_steps), acceptance_rate and draft_layers: drafted tokens count
    as scheduled. SGLang's may say pp_size: then a step is one micro-batch's turn, in which the next one's step ends.
    """
    given, requests = scenario["settings"], _requests(scenario["requests"])
    arrivals = [int(request["arrival_step"]) for request in scenario["requests"]]
    match scenario.get("engine", "vllm"):
        case "vllm":
            steps, cached = _run(_settings(given), requests, arrivals)
        case "sglang":
            steps, cached = steps_of(settings_of(given), requests, arrivals, given.get("pp_size", 1))
        case other:
            raise InputError.at(f"engine {other}", "its scheduler is not simulated", "vllm or sglang")
    plain = {key: scenario[key] for key in scenario if key not in {"steps", "num_steps", "cached_tokens"}}
    return {**plain, "steps": _folded(steps), "num_steps": len(steps), "cached_tokens": cached}


def _settings(given: Mapping[str, Any]) -> EngineSettings:
    return EngineSettings(
        max_num_batched_tokens=given["max_num_batched_tokens"],
        max_num_seqs=given["max_num_seqs"],
        block_size=given["block_size"],
        num_blocks=given["num_gpu_blocks"] - 1,  # one is the null block
        max_model_len=given["max_model_len"],
        enable_prefix_caching=given["enable_prefix_caching"],
        enable_chunked_prefill=given["enable_chunked_prefill"],
        long_prefill_token_threshold=given["long_prefill_token_threshold"],
        is_priority=given["policy"] == "priority",
        reserve_full_isl=given["scheduler_reserve_full_isl"],
        speculation=speculation_of(given, "num_speculative_tokens"),
    )


def _requests(given: Sequence[Mapping[str, Any]]) -> Requests:
    def column(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([request[name] for request in given], dtype=np.int64)

    group = column("prefix_group")
    columns = {
        "prompt": column("prompt_len"),
        "limit": column("max_tokens"),
        "priority": [request.get("priority", 0) for request in given],
        "shared": np.where(group >= 0, column("prefix_len"), 0),
        "first_chunk": np.arange(len(given)),
        "owner": np.arange(len(given)),
    }
    return requests_of(columns, np.maximum(group, 0), NO_SHARING)


def _run(
    settings: EngineSettings, requests: Requests, arrivals: Sequence[int]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    flags = compiled(settings)
    state, blocks = new_state(settings, len(arrivals))
    steps: list[dict[str, Any]] = []
    cached: dict[str, int] = {}
    to_come = list(range(len(arrivals)))
    done = 0
    while done < len(arrivals):
        for request in [each for each in to_come if arrivals[each] <= len(steps)]:
            _arrive(flags, requests, state, request)
            to_come.remove(request)
        _schedule(flags, requests, state, blocks)
        step = _decided(state, int(blocks.free[0]))
        for request, hit in zip(step["admitted"][::2], step["admitted"][1::2], strict=True):
            cached.setdefault(str(request), hit)
        _finish_step(flags, requests, state, blocks)
        step["finished"] = state.finished[: state.status[0]["finished"]].tolist()
        done += len(step["finished"])
        steps.append(step)
        if not to_come and not step["scheduled"] and not step["preempted"]:
            raise InputError.at("scenario", "a waiting request can never be scheduled", "settings under which it can")
    return steps, cached


@outer_njit
def _arrive(settings: Settings, requests: Requests, state: State, request: int) -> None:
    arrive(settings, requests, state, request)


@outer_njit
def _schedule(settings: Settings, requests: Requests, state: State, blocks: Blocks) -> None:
    schedule(settings, requests, state, blocks)


@outer_njit
def _finish_step(settings: Settings, requests: Requests, state: State, blocks: Blocks) -> None:
    finish_step(settings, requests, state, blocks)


def _decided(state: State, free: int) -> dict[str, Any]:
    now, lists = state.status[0], state.lists
    return {
        "scheduled": _listed(lists[["scheduled", "tokens"]][: now["scheduled"]]),
        "preempted": lists["preempted"][: now["preempted"]].tolist(),
        "admitted": _listed(lists[["admitted", "hits"]][: now["admitted"]]),
        "running": int(now["running"]),
        "waiting": int(now["waiting"]),
        "free_blocks": free,
    }


def _listed(pairs: Records) -> list[int]:
    return [int(each) for pair in pairs.tolist() for each in pair]


def _folded(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    folded: list[dict[str, Any]] = []
    for step in steps:
        lean = {name: value for name, value in step.items() if value != [] or name == "scheduled"}
        same = folded and not {"preempted", "admitted", "finished"} & (set(lean) | set(folded[-1]))
        if same and all(lean[name] == folded[-1][name] for name in ("scheduled", "running", "waiting")):
            folded[-1]["repeat"] = folded[-1].get("repeat", 1) + 1
            for name in _COUNTED & set(lean):
                folded[-1][name].append(lean[name])
        else:
            folded.append(lean | {name: [lean[name]] for name in _COUNTED & set(lean)})
    for step in folded:
        step.update({name: step[name][0] for name in _COUNTED & set(step) if len(set(step[name])) == 1})
    return folded
