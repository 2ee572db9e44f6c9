"""Drafted tokens: what vLLM's scheduler decides with them, and what the tokens that come together do to the times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Case, cases, costs, same

from model.simulate.decisions import decisions
from model.simulate.replicas import Replicas, simulate_replicas
from model.simulate.run import Run, simulate, summary
from model.simulate.sglang.server import SglangSettings
from model.simulate.speculation import Drafts, Speculation
from model.simulate.state import EngineSettings
from model.simulate.together import LockstepCosts
from model.simulate.trace import unshared
from tests.support.vllm_rules import PlainScheduler, Request, accepted

BASE = {
    "enable_prefix_caching": False, "enable_chunked_prefill": True, "long_prefill_token_threshold": 0,
    "policy": "fcfs", "scheduler_reserve_full_isl": True,
}  # fmt: skip


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    size, longest = draw(st.sampled_from([1, 4, 16])), draw(st.sampled_from([40, 90]))
    flags = BASE | {
        "max_num_batched_tokens": draw(st.integers(4, 90)),
        "max_num_seqs": draw(st.integers(1, 8)),
        "block_size": size,
        "num_gpu_blocks": -(-longest // size) + 1 + draw(st.integers(0, 40)),
        "max_model_len": longest,
        "num_speculative_tokens": draw(st.integers(0, 5)),
        "acceptance_rate": draw(st.sampled_from([0.0, 0.3, 0.8, 1.0])),
        "draft_layers": draw(st.integers(0, 1)),
    }
    requests = [
        {
            "id": number, "arrival_step": draw(st.integers(0, 9)), "prompt_len": draw(st.integers(1, 38)),
            "max_tokens": draw(st.integers(1, 60)), "priority": 0, "prefix_group": -1, "prefix_len": 0,
        }
        for number in range(draw(st.integers(1, 10)))
    ]  # fmt: skip
    return {"id": "random", "settings": flags, "requests": requests}


def plain(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    server, to_come, steps, done = PlainScheduler(scenario["settings"]), list(scenario["requests"]), [], 0
    while done < len(scenario["requests"]):
        for each in [each for each in to_come if each["arrival_step"] <= len(steps)]:
            server.waiting.append(Request(each["id"], each["prompt_len"], each["max_tokens"]))
            to_come.remove(each)
        steps.append(server.step())
        assert len(steps) < 2000
        done += len(steps[-1]["finished"])
    return steps


def unfolded(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    whole: list[dict[str, Any]] = []
    for step in steps:
        for at in range(step.get("repeat", 1)):
            free = step["free_blocks"][at] if isinstance(step["free_blocks"], list) else step["free_blocks"]
            plain_step = {name: value for name, value in step.items() if name != "repeat"}
            whole.append({"preempted": [], "admitted": [], "finished": []} | plain_step | {"free_blocks": free})
    return whole


@settings(max_examples=100, deadline=None)
@given(scenarios())
def test_every_decision_is_the_one_of_the_rules(scenario: dict[str, Any]) -> None:
    assert unfolded(decisions(scenario)["steps"]) == plain(scenario)


def asked(prompt: int, answer: int, number: int = 0) -> dict[str, int]:
    return {
        "id": number, "arrival_step": 0, "prompt_len": prompt, "max_tokens": answer, "priority": 0,
        "prefix_group": -1, "prefix_len": 0,
    }  # fmt: skip


def decided(requests: list[dict[str, int]], **flags: Any) -> list[dict[str, Any]]:
    told = BASE | {"max_num_seqs": 4, "block_size": 4, "num_gpu_blocks": 99, "max_model_len": 64} | flags
    return unfolded(
        decisions({"id": "x", "settings": {"max_num_batched_tokens": 16} | told, "requests": requests})["steps"]
    )


def test_drafts_that_are_all_wrong_take_budget_and_change_no_decision() -> None:
    """Nobody is served sooner or later, but for those whose tokens the budget no longer holds."""
    alike = ("preempted", "admitted", "finished", "running", "waiting")
    requests = [asked(10, 9), asked(7, 5, 1), asked(12, 3, 2)]
    without = decided(requests, max_num_batched_tokens=64)
    wrong = decided(requests, max_num_batched_tokens=64, num_speculative_tokens=3, acceptance_rate=0.0)
    assert [[step[name] for name in alike] for step in wrong] == [[step[name] for name in alike] for step in without]
    assert wrong[1]["scheduled"] == [0, 4, 1, 4, 2, 4]
    cut = decided(requests[:2], max_num_batched_tokens=17, num_speculative_tokens=15, acceptance_rate=0.0)
    assert cut[1]["scheduled"] == [0, 16, 1, 1]


def test_drafts_that_are_all_right_come_at_once_and_end_with_the_answer() -> None:
    steps = decided([asked(4, 9)], num_speculative_tokens=3, acceptance_rate=1.0)
    assert [step["scheduled"] for step in steps] == [[0, 4], [0, 4], [0, 4]]
    assert steps[-1]["finished"] == [0]


def test_what_the_context_has_no_room_for_is_not_computed() -> None:
    steps = decided([asked(58, 9)], num_speculative_tokens=4, acceptance_rate=0.0, max_num_batched_tokens=64)
    assert [step["scheduled"][1] for step in steps] == [58, 5, 4, 3, 2, 1]


def test_a_prefix_that_was_found_is_a_block_shorter_for_layers_that_draft() -> None:
    shared = {"prefix_group": 0, "prefix_len": 12}
    pair = [asked(13, 2) | shared, asked(13, 2, 1) | shared | {"arrival_step": 1}]
    for layers, hit in ((0, 12), (1, 8)):
        flags = {"enable_prefix_caching": True, "num_speculative_tokens": 2, "draft_layers": layers}
        admitted = [step["admitted"] for step in decided(pair, **flags) if step["admitted"]]
        assert admitted == [[0, 0], [1, hit]]


@pytest.mark.parametrize("drafts", [1, 3, 8])
@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.7, 0.95, 1.0])
def test_as_many_are_accepted_as_the_closed_form_says(acceptance: float, drafts: int) -> None:
    """1 + a + a² + … + aᵏ tokens a step on average."""
    drawn = Drafts(drafts, acceptance, 0, 0.0)
    gained = [1 + accepted(drawn, request, token, drafts) for request in range(40) for token in range(50)]
    expected = float((acceptance ** np.arange(drafts + 1)).sum())
    assert np.mean(gained) == pytest.approx(expected, abs=4.5 * np.std(gained) / np.sqrt(2000) + 1e-9)


def speculating(case: Case, tokens: int, acceptance: float) -> EngineSettings:
    return replace(case.settings, speculation=Speculation(tokens, acceptance, True, 0.1))


def costs_of(flags: EngineSettings) -> Any:
    return costs(flags.max_num_batched_tokens, flags.max_num_seqs * 9)


def all_is_told(run: Run) -> None:
    """Everyone is answered after coming; gaps are as many as tokens and as long as answers take."""
    gaps, weights = run.gaps()
    assert (run.served.first_s > run.served.arrived).all()
    assert (weights >= 0.0).all()
    assert weights.sum() == (run.emitted - 1).sum()
    took = (run.served.last_s - run.served.first_s).sum()
    assert (gaps * weights).sum() == pytest.approx(took, rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 8), st.floats(0.0, 1.0))
def test_every_gap_is_told_also_of_tokens_that_come_together(case: Case, tokens: int, acceptance: float) -> None:
    flags = replace(speculating(case, tokens, acceptance), enable_chunked_prefill=True)
    run = simulate(case.trace, flags, costs_of(flags))
    all_is_told(run)
    same(run.served, simulate(case.trace, flags, costs_of(flags), is_skipping=False).served)


@settings(max_examples=30, deadline=None)
@given(cases(), st.integers(1, 4), st.booleans())
def test_replicas_draft_too_alone_and_where_they_share_experts(case: Case, tokens: int, together: bool) -> None:
    flags = replace(speculating(case, tokens, 0.6), enable_chunked_prefill=True)
    experts = 1e-5 * np.arange(flags.max_num_batched_tokens + 1)
    graph = min(64, flags.max_num_batched_tokens)
    cost = LockstepCosts(costs_of(flags), experts, graph) if together else costs_of(flags)
    all_is_told(simulate_replicas(case.trace, flags, Replicas(2, cost, by_load=True)))


@settings(max_examples=30, deadline=None)
@given(cases(), st.integers(1, 4))
def test_one_replica_that_shares_experts_with_nobody_drafts_as_a_server_does(case: Case, tokens: int) -> None:
    flags = replace(speculating(case, tokens, 0.6), enable_chunked_prefill=True)
    cost = LockstepCosts(costs_of(flags), np.zeros(flags.max_num_batched_tokens + 1), 0)
    together = simulate_replicas(case.trace, flags, Replicas(1, cost))
    same(together.served, simulate(case.trace, flags, costs_of(flags)).served)


TALK = unshared(np.linspace(0.0, 0.3, 40), np.full(40, 20), np.full(40, 60))
VLLM = EngineSettings(500, 16, 4, 2000, 400, enable_prefix_caching=False)
SGLANG = SglangSettings(16, 8000, 1, 500, chunked_prefill_size=128, overlaps=False)


@pytest.mark.parametrize("engine", [VLLM, SGLANG])
def test_right_drafts_save_steps_and_wrong_ones_cost_time(engine: EngineSettings | SglangSettings) -> None:
    def told(acceptance: float | None, share: float = 0.1) -> dict[str, Any]:
        drafts = None if acceptance is None else Speculation(3, acceptance, True, share)
        return summary(simulate(TALK, replace(engine, speculation=drafts), costs(500, 100)))

    without, wrong, right = told(None), told(0.0), told(1.0)
    assert right["steps"] < without["steps"]
    assert right["tpot_s"]["mean"] < without["tpot_s"]["mean"] < wrong["tpot_s"]["mean"]
    assert right["itl_s"]["p50"] == 0.0 < wrong["itl_s"]["p50"]
    assert right["itl_s"]["mean"] == pytest.approx(right["tpot_s"]["mean"], rel=1e-6)
    assert told(1.0, share=0.5)["tpot_s"]["mean"] > right["tpot_s"]["mean"]


def test_a_step_takes_what_its_verified_and_drafted_tokens_do() -> None:
    """One request: after its prompt each step computes 1 + k tokens, and drafts for a share of a plain step."""
    table = costs(500, 100)._replace(attention=np.zeros((5, 5, 5, 5)))
    flags = replace(VLLM, speculation=Speculation(3, 0.0, True, 0.25))
    run = simulate(unshared(np.zeros(1), np.array([20]), np.array([5])), flags, table)
    verified = table.step + table.tokens[4] + table.sequences[4]
    drafted = 0.25 * (table.step + table.tokens[1] + table.sequences[1])
    assert run.latencies()["tpot_s"][0] == pytest.approx(verified + drafted, rel=1e-12)
