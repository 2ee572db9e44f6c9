"""The compiled scheduler against the same rules stated plainly, step for step in random scenarios."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from model.simulate.decisions import decisions
from perfdb.errors import InputError
from tests.support.sglang_memory import OutOfMemoryError, Request
from tests.support.sglang_rules import PlainServer


def tokens(asked: dict[str, int], count: int) -> list[int]:
    shared, group = asked["prefix_len"], asked["prefix_group"]
    return [-1 - group * 1000 - at if at < shared else asked["id"] * 1000 + at for at in range(count)]


def plain(scenario: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Every step by the plain rules; None where SGLang would run out of memory or never go on."""
    server = PlainServer(scenario["settings"])
    to_come, steps, done, idle = list(scenario["requests"]), [], 0, 0
    while done < len(scenario["requests"]):
        for asked in [each for each in to_come if each["arrival_step"] <= len(steps)]:
            known, goal = tokens(asked, asked["prompt_len"] + asked["max_tokens"]), asked["max_tokens"]
            prompt = asked["prompt_len"]
            server.arrive(Request(asked["id"], prompt, goal, known[:prompt], known[prompt:]))
            to_come.remove(asked)
        try:
            step = server.step()
        except OutOfMemoryError:
            return None
        assert server.free >= 0
        held = sum(server.pages(request.computed) - request.kept for request in server.holding)
        assert server.free + server.tree.size_in_pages + held == scenario["settings"]["num_pages"]
        done += len(step["finished"])
        steps.append(step)
        idle = 0 if step["scheduled"] else idle + 1
        if idle >= 2 * len(server.batches) and not to_come:
            return None
    return steps


def unfolded(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps one by one."""
    whole: list[dict[str, Any]] = []
    for step in steps:
        for at in range(step.get("repeat", 1)):
            each = {name: value for name, value in step.items() if name != "repeat"}
            for name in ("free_blocks", "cached_blocks"):
                each[name] = step[name][at] if isinstance(step[name], list) else step[name]
            whole.append({"preempted": [], "admitted": [], "finished": []} | each)
    return whole


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    size, seqs = draw(st.sampled_from([1, 1, 2, 4])), draw(st.integers(1, 8))
    chunk = draw(st.sampled_from([-1, 12, 16, 40]))
    longest = draw(st.sampled_from([30, 60, 120]))
    flags = {
        "page_size": size,
        "num_pages": -(-(longest + draw(st.integers(0, 60))) // size),
        "context_length": longest,
        "max_running_requests": seqs,
        "max_prefill_tokens": draw(st.sampled_from([20, 60, 500])),
        "chunked_prefill_size": chunk,
        "schedule_policy": draw(st.sampled_from(["fcfs", "lpm", "lof"])),
        "schedule_conservativeness": draw(st.sampled_from([0.02, 0.3, 1.0, 1.5])),
        "disable_radix_cache": draw(st.integers(0, 3)) == 0,
        "enable_mixed_chunk": draw(st.booleans()),
    }
    requests = []
    most = min(longest, flags["num_pages"] * size) - 8
    for number in range(draw(st.integers(1, 14))):
        prompt = draw(st.integers(1, most))
        group = draw(st.integers(-1, 1))
        requests.append(
            {
                "id": number, "arrival_step": draw(st.integers(0, 12)), "prompt_len": prompt,
                "max_tokens": draw(st.integers(1, 40)), "prefix_group": group,
                "prefix_len": draw(st.sampled_from([0, prompt // 2, min(prompt, 34)])) if group >= 0 else 0,
            }
        )  # fmt: skip
    return {"id": "random", "engine": "sglang", "settings": flags, "requests": requests}


def check_every_decision(scenario: dict[str, Any]) -> None:
    expected = plain(scenario)
    try:
        found = decisions(scenario)
    except InputError:
        assert expected is None
        return
    assert unfolded(found["steps"]) == expected


@settings(max_examples=200, deadline=None)
@given(scenarios())
def test_every_decision_is_the_one_of_the_rules(scenario: dict[str, Any]) -> None:
    check_every_decision(scenario)


@settings(max_examples=200, deadline=None)
@given(scenarios(), st.integers(2, 4))
def test_every_turn_of_a_pipeline_is_decided_by_the_rules(scenario: dict[str, Any], stages: int) -> None:
    flags = scenario["settings"] | {"pp_size": stages, "enable_mixed_chunk": False}
    flags["max_running_requests"] *= stages
    check_every_decision(scenario | {"settings": flags})


@settings(max_examples=100, deadline=None)
@given(scenarios(), st.integers(1, 5), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_every_decision_is_the_one_of_the_rules_where_tokens_are_drafted(
    scenario: dict[str, Any], drafts: int, acceptance: float
) -> None:
    speculation = {"speculative_num_steps": drafts, "acceptance_rate": acceptance}
    check_every_decision(scenario | {"settings": scenario["settings"] | speculation})


@settings(max_examples=100, deadline=None)
@given(scenarios())
def test_every_request_gets_its_tokens_and_no_page_is_counted_twice(scenario: dict[str, Any]) -> None:
    try:
        steps = unfolded(decisions(scenario)["steps"])
    except InputError:
        return
    flags, emitted, computed = scenario["settings"], dict[int, int](), dict[int, int]()
    longest = min(flags["context_length"], flags["num_pages"] * flags["page_size"]) - 2
    asked = {each["id"]: each for each in scenario["requests"]}
    for step in steps:
        for number in step["preempted"]:
            computed[number] = 0
        for number, hit in zip(step["admitted"][::2], step["admitted"][1::2], strict=True):
            computed[number] = hit
        assert step["running"] <= flags["max_running_requests"]
        assert 0 <= step["free_blocks"] + step["cached_blocks"] <= flags["num_pages"]
        for number, count in zip(step["scheduled"][::2], step["scheduled"][1::2], strict=True):
            computed[number] += count
            known = asked[number]["prompt_len"] + emitted.get(number, 0)
            assert computed[number] <= known
            emitted[number] = emitted.get(number, 0) + (computed[number] == known)
        for number in step["finished"]:
            assert emitted[number] == min(asked[number]["max_tokens"], longest - asked[number]["prompt_len"])
    assert sorted(number for step in steps for number in step["finished"]) == sorted(asked)
