"""A simulated server: two ways of counting agree to the last digit, stretches change nothing, and time adds up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from simulated import Case, cases, costs, same

from model.simulate.blocks import NONE
from model.simulate.clock import serve
from model.simulate.fleet import new_fleet
from model.simulate.fleet_clock import serve_fleet
from model.simulate.log import Served, closed, new_book
from model.simulate.run import simulate, summary
from model.simulate.state import EngineSettings, compiled, new_state
from model.simulate.trace import Trace, unshared
from model.simulate.traffic import sampled
from perfdb.errors import InputError
from perfdb.records import Arrival, Workload


def exact(case: Case, skips: bool) -> Served:
    flags, engine = case.settings, new_state(case.settings, len(case.trace))
    table = costs(flags.max_num_batched_tokens, flags.max_num_seqs)
    requests, arrivals, book = case.trace.requests(), case.trace.arrivals(), new_book(len(case.trace))
    return closed(serve(compiled(flags), requests, table, arrivals, skips, engine, book))


def fleet(case: Case, skips: bool) -> Served:
    flags, requests = case.settings, case.trace.requests()
    table = costs(flags.max_num_batched_tokens, flags.max_num_seqs)
    ready = new_fleet(requests, flags.max_num_seqs, flags.num_blocks, flags.block_size)
    book = new_book(len(case.trace))
    return closed(serve_fleet(compiled(flags), requests, table, case.trace.arrivals(), skips, ready, book))


@settings(max_examples=120, deadline=None)
@given(cases())
def test_counting_events_equals_counting_tokens(case: Case) -> None:
    same(exact(case, skips=False), fleet(case, skips=False))


@settings(max_examples=120, deadline=None)
@given(cases())
def test_stretches_equal_plain_steps(case: Case) -> None:
    plain = exact(case, skips=False)
    same(plain, exact(case, skips=True))
    same(plain, fleet(case, skips=True))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_nobody_is_served_before_arriving_and_nobody_twice_at_once(case: Case) -> None:
    served = fleet(case, skips=True)
    assume(np.isfinite(served.last_s).all())
    assert (served.first_s > served.arrived).all()
    assert (served.last_s >= served.first_s).all()
    assert served.peak <= case.settings.num_blocks
    turns = case.trace.turns
    if turns is not None:
        later = np.flatnonzero(turns.previous != NONE)
        answered = served.last_s[turns.previous[later]] + turns.think_s[later]
        np.testing.assert_array_equal(served.arrived[later], np.maximum(answered, case.trace.arrival_s[later]))
    if case.trace.cap:
        starts, ends = np.sort(served.arrived), np.sort(served.last_s)
        in_flight = [(starts <= t).sum() - (ends <= t).sum() for t in starts]
        assert max(in_flight) <= case.trace.cap


def test_one_request_alone_takes_its_prompt_and_a_step_per_token() -> None:
    engine = EngineSettings(64, 4, 16, 100, 1000, enable_prefix_caching=False)
    run = simulate(unshared(np.array([2.0]), np.array([100]), np.array([5])), engine, costs(64, 4, base=1.0))
    assert run.served.steps.sum() == 2 + 4  # the prompt in two chunks, four more tokens
    latency = run.latencies(request_s=0.5)
    assert latency["ttft_s"][0] == pytest.approx(2 * 1.0 + 0.5, abs=0.01)
    assert latency["tpot_s"][0] == pytest.approx(1.0, abs=0.01)


def test_a_shared_prefix_saves_its_time() -> None:
    engine = EngineSettings(64, 8, 4, 400, 1000)
    alone = unshared(np.arange(20.0), np.full(20, 60), np.full(20, 4))
    nothing = np.zeros(20, dtype=np.int64)
    together = Trace(alone.arrival_s, alone.prompt, alone.output, np.full(20, 56), nothing, nothing[:1])
    apart, shared = (simulate(each, engine, costs(64, 8)).latencies()["ttft_s"] for each in (alone, together))
    assert shared[0] == apart[0]
    assert (shared[1:] < apart[1:]).all()


def test_the_summary_of_a_closed_loop() -> None:
    engine = EngineSettings(512, 16, 16, 1000, 2048, enable_prefix_caching=False)
    load = Workload(lengths="D(64,32)", arrival=Arrival.CLOSED, concurrency=8)
    answer = summary(simulate(sampled(load, 200), engine, costs(512, 16)))
    assert answer["requests"] == 200
    ttft, e2e, itl = answer["ttft_s"], answer["e2e_s"], answer["itl_s"]
    assert isinstance(ttft, dict)
    assert isinstance(e2e, dict)
    assert isinstance(itl, dict)
    assert ttft["p50"] <= ttft["p90"] <= ttft["p99"]
    # Little's law: requests in flight = rate × time in the system
    assert answer["request_tps"] * e2e["mean"] == pytest.approx(8, rel=0.05)
    assert itl["mean"] * 31 == pytest.approx(e2e["mean"] - ttft["mean"], rel=1e-6)


def test_what_can_never_be_served_is_refused() -> None:
    engine = EngineSettings(64, 4, 16, 10, 1000, enable_chunked_prefill=False)
    for prompt, message in ((1000, "max_model_len"), (200, "blocks of the KV cache"), (100, "without chunked prefill")):
        with pytest.raises(InputError, match=message):
            simulate(unshared(np.zeros(1), np.array([prompt]), np.array([5])), engine, costs(64, 4))
