"""A simulated SGLang server in time: stretches change nothing, everyone is answered, and each flag acts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from simulated import costs, keeps_the_load
from simulated_sglang import COSTS, PLAIN, Case, cases

from model.simulate.run import simulate, summary
from model.simulate.sglang.server import SglangSettings
from model.simulate.state import EngineSettings
from model.simulate.trace import Trace, Turns, unshared
from perfdb.errors import InputError


@settings(max_examples=120, deadline=None)
@given(cases())
def test_stretches_equal_plain_steps(case: Case) -> None:
    plain, fast = case.served(skips=False), case.served(skips=True)
    for name in ("arrived", "first_s", "last_s"):
        np.testing.assert_allclose(getattr(fast, name), getattr(plain, name), rtol=1e-9, atol=1e-12)
    assert (fast.preemptions, fast.peak, fast.steps.sum()) == (plain.preemptions, plain.peak, plain.steps.sum())
    assert (fast.steps * fast.emitted).sum() == (plain.steps * plain.emitted).sum()
    np.testing.assert_allclose(np.sort(fast.late), np.sort(plain.late), rtol=1e-6, atol=1e-9)


@settings(max_examples=80, deadline=None)
@given(cases())
def test_everyone_is_answered_in_time_and_every_gap_is_told(case: Case) -> None:
    run = simulate(case.trace, case.settings, COSTS)
    served, trace = run.served, case.trace
    assert (served.first_s > served.arrived).all()
    assert (served.last_s >= served.first_s).all()
    assert served.peak <= case.settings.num_blocks
    emitted = np.minimum(trace.output, case.settings.max_model_len - trace.prompt)
    gaps, weights = run.gaps()
    assert weights.sum() == (emitted - 1).sum()
    assert (gaps * weights).sum() == pytest.approx((served.last_s - served.first_s).sum(), rel=1e-9, abs=1e-9)
    keeps_the_load(trace, served)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_one_request_after_the_other_takes_as_long_whoever_schedules(case: Case) -> None:
    """Alone a request waits for nobody: SGLang's steps are vLLM's, but for the sizes of the chunks."""
    assume(case.settings.chunked_prefill_size > 0 and case.trace.turns is None)
    trace = unshared(1000.0 * np.arange(len(case.trace)), case.trace.prompt, case.trace.output)
    ours = replace(case.settings, enable_mixed_chunk=False, enable_prefix_caching=False, context_length=200)
    ours = replace(ours, num_blocks=400, max_prefill_tokens=200)
    theirs = EngineSettings(ours.chunked_prefill_size, 20, ours.block_size, 400, 198, enable_prefix_caching=False)
    left, right = (simulate(trace, each, COSTS).served for each in (ours, theirs))
    np.testing.assert_allclose(left.last_s, right.last_s, rtol=1e-9)
    np.testing.assert_allclose(left.first_s, right.first_s, rtol=1e-9)


LOAD = unshared(np.linspace(0.0, 0.2, 60), np.full(60, 100), np.full(60, 40))


def mean(metric: str, trace: Trace = LOAD, **flags: Any) -> float:
    found = summary(simulate(trace, replace(PLAIN, **flags), COSTS))[metric]
    return found["mean"] if isinstance(found, dict) else float(found)


def test_steps_decided_on_ahead_let_arrivals_wait_longer_and_change_nothing_else_for_one_alone() -> None:
    assert mean("ttft_s", overlaps=True) > mean("ttft_s")
    alone = unshared(np.array([1.0]), np.array([50]), np.array([9]))
    assert mean("e2e_s", alone, overlaps=True) == mean("e2e_s", alone)


def test_mixed_chunks_shorten_the_gaps_between_tokens() -> None:
    assert mean("itl_s", enable_mixed_chunk=True) < mean("itl_s")


def test_a_smaller_cache_retracts_and_a_careful_server_less_often() -> None:
    talk = unshared(np.linspace(0.0, 0.2, 60), np.full(60, 10), np.full(60, 100))
    hasty, careful = (mean("preemptions", talk, num_blocks=330, schedule_conservativeness=c) for c in (0.02, 1.5))
    assert hasty > careful
    assert mean("preemptions", talk) == 0


def test_a_shared_prefix_saves_its_time_unless_the_cache_is_off() -> None:
    nothing = np.zeros(60, dtype=np.int64)
    together = Trace(LOAD.arrival_s, LOAD.prompt, LOAD.output, np.full(60, 90), nothing, nothing[:1])
    assert mean("ttft_s", together) < mean("ttft_s")
    assert mean("ttft_s", together, enable_prefix_caching=False) == mean("ttft_s", enable_prefix_caching=False)


def test_a_conversation_finds_what_was_said() -> None:
    n = 10
    turns = Turns(np.arange(n) - 1, np.full(n, 0.01))
    prompt = 20 + 60 * np.arange(n)
    talk = replace(unshared(np.zeros(n), prompt, np.full(n, 10)), turns=turns)
    run = [simulate(talk, replace(PLAIN, enable_prefix_caching=caches), COSTS) for caches in (True, False)]
    ttft = [each.latencies()["ttft_s"] for each in run]
    assert (ttft[0][1:] < ttft[1][1:]).all()


def test_steps_beyond_the_table_of_costs_go_on_as_it_does() -> None:
    long = unshared(np.zeros(1), np.array([400]), np.array([2]))
    whole = replace(PLAIN, chunked_prefill_size=0, max_prefill_tokens=500)
    found = [simulate(long, whole, costs(tokens, 20)).served.first_s[0] for tokens in (128, 1000)]
    assert found[0] == pytest.approx(found[1], rel=1e-12)


@pytest.mark.parametrize(
    ("flags", "prompt", "answer", "message"),
    [
        ({"context_length": 100}, 93, 5, "a prompt of 93 tokens; expected fewer than 93"),
        ({"num_blocks": 120}, 80, 60, "it needs 140 tokens of the KV cache; expected at most 118"),
    ],
)
def test_what_can_never_be_served_is_refused(flags: dict[str, int], prompt: int, answer: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(unshared(np.zeros(1), np.array([prompt]), np.array([answer])), replace(PLAIN, **flags), COSTS)


def test_where_sglang_itself_would_end_it_is_said() -> None:
    trace = unshared(np.zeros(2), np.full(2, 3), np.full(2, 20))
    tight = SglangSettings(3, 2, 16, 60, 64, 32, enable_prefix_caching=False)
    with pytest.raises(InputError, match="SGLang runs out of KV cache, or lets it wait for ever"):
        simulate(trace, tight, COSTS)
