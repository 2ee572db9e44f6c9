"""What the scheduler decides, on scenarios small enough to follow by hand, and what must hold in all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from model.simulate.decisions import decisions
from perfdb.errors import InputError

BASE = {
    "max_num_batched_tokens": 16, "max_num_seqs": 4, "block_size": 4, "num_gpu_blocks": 9, "max_model_len": 32,
    "enable_prefix_caching": False, "enable_chunked_prefill": True, "long_prefill_token_threshold": 0,
    "policy": "fcfs", "scheduler_reserve_full_isl": True,
}  # fmt: skip


def request(number: int, prompt: int, answer: int, **more: int) -> dict[str, int]:
    plain = {"id": number, "arrival_step": 0, "prompt_len": prompt, "max_tokens": answer, "priority": 0}
    return plain | {"prefix_group": -1, "prefix_len": 0} | more


def decided(requests: list[dict[str, int]], **flags: Any) -> list[dict[str, Any]]:
    answer = decisions({"id": "x", "settings": BASE | flags, "requests": requests})
    steps: list[dict[str, Any]] = answer["steps"]
    assert answer["num_steps"] == sum(step.get("repeat", 1) for step in steps)
    return steps


def test_prompts_share_the_budget_in_order_of_arrival_and_the_last_is_cut() -> None:
    first, second, *_ = decided([request(0, 10, 2), request(1, 12, 2)])
    assert first["scheduled"] == [0, 10, 1, 6]
    assert first["admitted"] == [0, 0, 1, 0]
    assert second["scheduled"] == [0, 1, 1, 6]
    assert second["finished"] == [0]


def test_without_chunked_prefill_a_prompt_waits_until_it_fits_whole() -> None:
    first, second, *_ = decided([request(0, 10, 2), request(1, 12, 2)], enable_chunked_prefill=False)
    assert first["scheduled"] == [0, 10]
    assert second["scheduled"] == [0, 1, 1, 12]


def test_a_threshold_cuts_a_prompt_unless_it_is_alone() -> None:
    steps = decided([request(0, 8, 1), request(1, 8, 1)], long_prefill_token_threshold=3)
    assert steps[0]["scheduled"] == [0, 3, 1, 3]
    assert decided([request(0, 8, 1)], long_prefill_token_threshold=3)[0]["scheduled"] == [0, 8]


def test_the_last_of_the_running_gives_way_and_comes_back_with_all_its_tokens() -> None:
    steps = decided([request(0, 8, 8), request(1, 8, 8)], num_gpu_blocks=6)
    preempting = next(step for step in steps if "preempted" in step)
    assert preempting["preempted"] == [1]
    assert preempting["scheduled"] == [0, 1]
    back = next(step for step in steps[1:] if "admitted" in step)
    assert back["scheduled"][:2] == [1, 9]  # its 8 tokens and the one it had generated


def test_under_priorities_the_worst_gives_way_wherever_it_stands() -> None:
    steps = decided([request(0, 8, 8, priority=1), request(1, 8, 8)], num_gpu_blocks=6, policy="priority")
    preempting = next(step for step in steps if "preempted" in step)
    assert preempting["preempted"] == [0]
    assert steps[0]["admitted"] == [1, 0, 0, 0]


def test_a_common_prefix_is_found_even_within_one_step_and_the_last_token_is_computed() -> None:
    shared = {"prefix_group": 0, "prefix_len": 8}
    steps = decided([request(0, 8, 1, **shared), request(1, 8, 1, **shared)], enable_prefix_caching=True)
    assert steps[0]["scheduled"] == [0, 8, 1, 4]
    assert steps[0]["admitted"] == [0, 0, 1, 4]


def test_a_preempted_request_finds_its_own_blocks_again() -> None:
    requests = [request(0, 8, 8), request(1, 8, 8)]
    steps = decided(requests, num_gpu_blocks=6, enable_prefix_caching=True)
    back = next(step for step in steps[1:] if "admitted" in step)
    assert back["admitted"][1] >= 4


def test_an_answer_ends_at_the_longest_sequence() -> None:
    assert sum(step.get("repeat", 1) for step in decided([request(0, 20, 100)])) == 2 + 11


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    size = draw(st.sampled_from([2, 4, 8]))
    longest = draw(st.integers(8, 40))
    flags = {
        "max_num_batched_tokens": draw(st.integers(longest, 64)),
        "max_num_seqs": draw(st.integers(1, 6)),
        "block_size": size,
        "num_gpu_blocks": 1 + -(-longest // size) + draw(st.integers(0, 8)),
        "max_model_len": longest,
        "enable_prefix_caching": draw(st.booleans()),
        "enable_chunked_prefill": draw(st.booleans()),
        "long_prefill_token_threshold": draw(st.sampled_from([0, 0, 5])),
        "policy": draw(st.sampled_from(["fcfs", "priority"])),
        "scheduler_reserve_full_isl": draw(st.booleans()),
    }
    prompts = draw(st.lists(st.integers(1, longest - 1), min_size=1, max_size=12))
    requests = []
    for number, prompt in enumerate(prompts):
        group = draw(st.integers(-1, 1))
        requests.append(
            request(number, prompt, draw(st.integers(1, 12)), arrival_step=draw(st.integers(0, 9)), prefix_group=group,
                    priority=draw(st.integers(0, 2)), prefix_len=draw(st.integers(0, prompt)) if group >= 0 else 0)
        )  # fmt: skip
    return {"id": "p", "settings": flags, "requests": requests}


@settings(max_examples=150, deadline=None)
@given(scenarios())
def test_every_token_is_computed_once_but_for_what_was_lost(scenario: dict[str, Any]) -> None:
    try:
        answer = decisions(scenario)
    except InputError:  # a preempted request whose tokens exceed the budget, without chunked prefill
        assert not scenario["settings"]["enable_chunked_prefill"]
        return
    flags = scenario["settings"]
    usable = flags["num_gpu_blocks"] - 1
    done, computed, lost = set[int](), dict.fromkeys(range(len(scenario["requests"])), 0), 0
    served = 0
    for step in answer["steps"]:
        for victim in step.get("preempted", []):
            lost += computed[victim]
            computed[victim] = 0
        admitted = step.get("admitted", [])
        for number, hit in zip(admitted[::2], admitted[1::2], strict=True):
            computed[number] = hit
            served += hit
        scheduled = step["scheduled"]
        repeat = step.get("repeat", 1)
        assert sum(scheduled[1::2]) <= flags["max_num_batched_tokens"]
        assert step["running"] <= flags["max_num_seqs"]
        for number, tokens in zip(scheduled[::2], scheduled[1::2], strict=True):
            computed[number] += tokens * repeat
            served += tokens * repeat
        done |= set(step.get("finished", []))
        free = step["free_blocks"]
        assert all(0 <= count <= usable for count in (free if isinstance(free, list) else [free]))
    assert done == set(computed)
    ends = [
        min(each["prompt_len"] + each["max_tokens"], max(flags["max_model_len"], each["prompt_len"] + 1)) - 1
        for each in scenario["requests"]
    ]
    assert served == sum(ends) + lost
