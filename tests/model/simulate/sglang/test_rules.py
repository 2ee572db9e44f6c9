"""What SGLang's scheduler decides, on scenarios small enough to follow by hand."""

from __future__ import annotations

from typing import Any

import pytest

from model.simulate.decisions import decisions
from perfdb.errors import InputError

BASE = {
    "page_size": 1, "num_pages": 200, "context_length": 200, "max_running_requests": 8, "max_prefill_tokens": 100,
    "chunked_prefill_size": 32, "schedule_policy": "fcfs", "schedule_conservativeness": 1.0,
    "disable_radix_cache": False, "enable_mixed_chunk": False,
}  # fmt: skip


def request(number: int, prompt: int, answer: int, **more: int) -> dict[str, int]:
    plain = {"id": number, "arrival_step": 0, "prompt_len": prompt, "max_tokens": answer}
    return plain | {"prefix_group": -1, "prefix_len": 0} | more


def decided(requests: list[dict[str, int]], **flags: Any) -> list[dict[str, Any]]:
    answer = decisions({"id": "x", "engine": "sglang", "settings": BASE | flags, "requests": requests})
    steps: list[dict[str, Any]] = answer["steps"]
    return [step for step in steps for _ in range(step.get("repeat", 1))]


def scheduled(steps: list[dict[str, Any]]) -> list[list[int]]:
    return [step["scheduled"] for step in steps]


def begun(steps: list[dict[str, Any]]) -> list[int]:
    """Who was let in, in order."""
    return [number for step in steps for number in step.get("admitted", [])[::2]]


def test_prompts_go_first_and_those_who_decode_wait_for_them() -> None:
    steps = decided([request(0, 4, 4), request(1, 40, 2, arrival_step=1)])
    assert scheduled(steps) == [[0, 4], [1, 32], [1, 8], [0, 1, 1, 1], [0, 1], [0, 1]]


def test_with_mixed_chunks_they_decode_along_and_take_their_part_of_the_chunk() -> None:
    steps = decided([request(0, 4, 4), request(1, 40, 2, arrival_step=1)], enable_mixed_chunk=True)
    assert scheduled(steps) == [[0, 4], [1, 31, 0, 1], [1, 9, 0, 1], [1, 1, 0, 1]]


def test_a_chunk_ends_where_the_next_prompt_does_not_fit_and_goes_on_first() -> None:
    steps = decided([request(0, 20, 1), request(1, 20, 1), request(2, 20, 1)])
    assert scheduled(steps) == [[0, 20, 1, 12], [1, 8, 2, 20]]


def test_whole_prompts_share_a_batch_while_fewer_tokens_than_its_most_are_asked_for() -> None:
    asked = [request(0, 60, 1), request(1, 39, 1), request(2, 1, 1)]
    assert scheduled(decided(asked, chunked_prefill_size=-1)) == [[0, 60, 1, 39], [2, 1]]
    assert scheduled(decided([request(0, 150, 1)], chunked_prefill_size=-1)) == [[0, 150]]


@pytest.mark.parametrize(("answer", "enters"), [(11, True), (12, False)])
def test_a_share_of_the_tokens_to_come_is_held_back(answer: int, enters: bool) -> None:
    """0.7 of the 19 that the first will still generate: 30 free - 13.3 must exceed 5 + the answer."""
    asked = [request(0, 10, 20), request(1, 5, answer, arrival_step=1)]
    steps = decided(asked, num_pages=40)
    assert (steps[1]["scheduled"] == [1, 5]) == enters
    assert decided(asked, num_pages=40, schedule_conservativeness=0.1)[1]["scheduled"] == [1, 5]


@pytest.mark.parametrize(("answer", "enters"), [(24, True), (25, False)])
def test_a_token_must_be_left_over(answer: int, enters: bool) -> None:
    """With nothing held back 30 tokens are free, of which a prompt of 5 and its answer may take 29."""
    asked = [request(0, 10, 20), request(1, 5, answer, arrival_step=1)]
    steps = decided(asked, num_pages=40, schedule_conservativeness=0.0)
    assert (steps[1]["scheduled"] == [1, 5]) == enters


@pytest.mark.parametrize(("shared", "order"), [(31, [0, 1, 2]), (32, [0, 2, 1])])
def test_lpm_holds_back_who_begins_with_the_same_32_tokens(shared: int, order: list[int]) -> None:
    alike = {"prefix_group": 0, "prefix_len": shared}
    asked = [request(0, 40, 1, **alike), request(1, 40, 1, **alike), request(2, 40, 1)]
    flags = {"chunked_prefill_size": 128, "max_prefill_tokens": 200}
    assert begun(decided(asked, schedule_policy="lpm", **flags)) == order


@pytest.mark.parametrize(("pages", "enters"), [(761, True), (760, False)])
def test_the_share_falls_with_every_decode_step(pages: int, enters: bool) -> None:
    """After 301 of 600 steps it is 0.7 · (1 - 0.86 · 301/600) = 0.398: 401 tokens are held, 0.398 · 298 kept free."""
    asked = [request(0, 100, 600), request(1, 200, 41, arrival_step=302)]
    steps = decided(asked, num_pages=pages, context_length=1000, chunked_prefill_size=256, max_prefill_tokens=300)
    assert (steps[302]["scheduled"] == [1, 200]) == enters


def test_a_full_batch_stays_full_until_somebody_leaves_and_one_more_step_is_decoded_then() -> None:
    asked = [request(0, 4, 3), request(1, 4, 5), request(2, 4, 1)]
    steps = decided(asked, max_running_requests=2)
    assert scheduled(steps) == [[0, 4, 1, 4], [0, 1, 1, 1], [0, 1, 1, 1], [1, 1], [2, 4], [1, 1]]


def test_who_generated_least_is_sent_back_and_computes_all_that_it_knew_anew() -> None:
    asked = [request(0, 10, 40), request(1, 12, 40, arrival_step=1)]
    steps = decided(asked, num_pages=64, schedule_conservativeness=0.01)
    at = next(place for place, step in enumerate(steps) if "preempted" in step)
    assert steps[at]["preempted"] == [1]
    assert steps[at]["scheduled"] == [0, 1]
    generated = sum(1 in step["scheduled"][::2] for step in steps[:at])
    back = next(step for step in steps[at:] if 1 in step.get("admitted", [])[::2])
    # its prompt is in the tree, what it generated is not
    assert back["admitted"] == [1, 12]
    assert back["scheduled"] == [1, generated]


def test_a_retracted_request_goes_behind_those_who_wait() -> None:
    asked = [request(0, 10, 45), request(1, 12, 45), request(2, 30, 2, arrival_step=20)]
    steps = decided(asked, num_pages=72, schedule_conservativeness=0.01)
    assert any(step.get("preempted") == [1] for step in steps)
    assert begun(steps) == [0, 1, 2, 1]


def test_a_prefix_is_found_in_whole_pages_and_the_last_token_is_computed() -> None:
    shared = {"prefix_group": 0, "prefix_len": 16}
    asked = [request(0, 16, 1, **shared), request(1, 16, 1, arrival_step=1, **shared)]
    assert decided(asked)[1]["admitted"] == [1, 15]
    assert decided(asked, page_size=4, num_pages=50)[1]["admitted"] == [1, 12]
    assert decided(asked, disable_radix_cache=True)[1]["admitted"] == [1, 0]


def test_the_leaf_used_longest_ago_is_evicted() -> None:
    old, new = {"prefix_group": 0, "prefix_len": 20}, {"prefix_group": 1, "prefix_len": 20}
    asked = [
        request(0, 20, 1, **old), request(1, 20, 1, arrival_step=1, **new), request(2, 20, 1, arrival_step=2, **old),
        request(3, 20, 1, arrival_step=3), request(4, 20, 1, arrival_step=4, **old),
        request(5, 20, 1, arrival_step=5, **new),
    ]  # fmt: skip
    steps = decided(asked, num_pages=50)
    hits = {number: hit for step in steps for number, hit in [step.get("admitted", [-1, 0])]}
    assert hits[4] == 19
    assert hits[5] == 0


def test_lof_takes_the_longest_answer_first() -> None:
    asked = [request(0, 4, 9), request(1, 4, 3), request(2, 4, 5), request(3, 4, 5)]
    assert begun(decided(asked, max_running_requests=1)) == [0, 1, 2, 3]
    assert begun(decided(asked, max_running_requests=1, schedule_policy="lof")) == [0, 2, 3, 1]


def test_lpm_takes_the_longest_known_prefix_first_and_only_one_of_those_that_share_a_new_one() -> None:
    known, fresh = {"prefix_group": 0, "prefix_len": 40}, {"prefix_group": 1, "prefix_len": 40}
    asked = [
        request(0, 40, 1, **known),
        *(request(number, 44, 1, arrival_step=1, **fresh) for number in (1, 2)),
        request(3, 44, 1, arrival_step=1),
        request(4, 44, 1, arrival_step=1, **known),
    ]
    flags = {"chunked_prefill_size": 100, "max_prefill_tokens": 200, "num_pages": 400}
    assert begun(decided(asked, **flags)) == [0, 1, 2, 3, 4]
    assert begun(decided(asked, schedule_policy="lpm", **flags)) == [0, 4, 1, 3, 2]
    without = decided(asked, schedule_policy="lpm", disable_radix_cache=True, **flags)
    assert begun(without) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("others", "second"), [(127, 128), (128, 1)])
def test_with_more_than_128_waiting_lpm_leaves_the_order_alone(others: int, second: int) -> None:
    shared = {"prefix_group": 0, "prefix_len": 40}
    between = [request(number, 44, 1, arrival_step=1) for number in range(1, others + 1)]
    asked = [request(0, 40, 1, **shared), *between, request(others + 1, 44, 1, arrival_step=1, **shared)]
    steps = decided(asked, schedule_policy="lpm", num_pages=400, chunked_prefill_size=64)
    assert begun(steps)[1] == second


def test_without_the_cache_all_that_is_to_come_must_fit() -> None:
    """Of 60 tokens the first will hold 10 + 30; the second fits once that is not at the same time."""
    asked = [request(0, 10, 30), request(1, 10, 30, arrival_step=1), request(2, 10, 4, arrival_step=1)]
    steps = decided(asked, num_pages=60, disable_radix_cache=True, schedule_conservativeness=0.01)
    assert begun(steps) == [0, 1, 2]
    assert not any("preempted" in step for step in steps)
    assert any("preempted" in step for step in decided(asked, num_pages=60, schedule_conservativeness=0.01))


def test_an_answer_ends_two_tokens_below_the_context() -> None:
    assert sum(1 for _ in decided([request(0, 20, 100)], context_length=50)) == 50 - 2 - 20


def test_what_sglang_would_not_survive_is_said() -> None:
    asked = [request(number, 3, 20) for number in range(2)]
    with pytest.raises(InputError, match=r"memory|never"):
        decided(asked, page_size=16, num_pages=2, context_length=60, chunked_prefill_size=32, disable_radix_cache=True)
