"""Fitted traffic: what was drawn from known numbers gives those numbers back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.load import variety
from model.simulate.blocks import NONE
from model.simulate.fit import added_tokens, arrivals_of, fit
from model.simulate.fit_lengths import fit_lengths, quantile_nodes
from model.simulate.reuse import opening, reuse_of, with_conversations
from model.simulate.trace import Trace, unshared
from model.simulate.traffic import Conversations, Prefixes, Traffic, sampled
from perfdb.lengths import Lengths

FIXED = Lengths.parse("D(512,128)")


def refitted(traffic: Traffic, requests: int = 4000, seed: int = 0) -> Traffic:
    return fit(sampled(traffic, requests, seed))


@pytest.mark.parametrize(
    "text", ["D(96,24)", "U(10,800)/(5,300)", "N(480,120)/(300,50)", "0.25 D(96,24) + 0.75 D(4000,200)"]
)
def test_a_known_form_is_found_again(text: str) -> None:
    wanted = Lengths.parse(text)
    found = refitted(Traffic(wanted, rate=1.0)).lengths
    assert [shape.kind for _, shape in found.parts] == [shape.kind for _, shape in wanted.parts]
    assert (found.isl, found.osl) == (pytest.approx(wanted.isl, rel=0.02), pytest.approx(wanted.osl, rel=0.02))
    for (weight, shape), (weight_too, wanted_shape) in zip(found.parts, wanted.parts, strict=True):
        assert weight == pytest.approx(weight_too, abs=0.03)
        assert shape.prompt == pytest.approx(wanted_shape.prompt, rel=0.05)


@settings(max_examples=25, deadline=None)
@given(st.floats(2, 9), st.floats(0.1, 1.5), st.integers(0, 10**6))
def test_quantiles_keep_the_mean_of_any_sample_and_never_fall(middle: float, spread: float, seed: int) -> None:
    values = np.rint(np.exp(np.random.default_rng(seed).normal(middle, spread, 3000))).astype(np.int64) + 1
    nodes = quantile_nodes(values, 25)
    mean = (sum(nodes) - (nodes[0] + nodes[-1]) / 2) / 24
    assert mean == pytest.approx(values.mean(), rel=0.01, abs=0.5)
    assert list(nodes) == sorted(nodes)
    assert values.min() <= nodes[0] <= nodes[-1] <= values.max()
    found = fit_lengths(values, values)
    assert found.isl == pytest.approx(values.mean(), rel=0.05, abs=1.0)


@pytest.mark.parametrize("burstiness", [0.2, 0.5, 1.0, 4.0, np.inf])
def test_rate_and_burstiness_are_found_again(burstiness: float) -> None:
    found = refitted(Traffic(FIXED, rate=7.0, burstiness=burstiness), 20_000)
    assert found.rate == pytest.approx(7.0, rel=0.05)
    assert found.burstiness == pytest.approx(burstiness, rel=0.12)
    assert found.rates == ()


def test_a_few_requests_tell_no_bursts() -> None:
    found = fit(unshared(np.array([0.0, 1.5, 2.0]), np.full(3, 9), np.full(3, 3)))
    assert (found.burstiness, found.rate) == (1.0, 1.0)


@pytest.mark.parametrize(("count", "kind"), [(2, "too few to say"), (4, "too few to say"), (5, "constant")])
def test_too_few_gaps_are_not_named(count: int, kind: str) -> None:
    found = arrivals_of(np.arange(count) / 4)
    assert found is not None
    assert (found.kind, found.rate) == (kind, 4.0)
    assert found.burstiness == (np.inf if kind == "constant" else 1.0)


def test_a_changing_rate_is_told_from_bursts() -> None:
    wanted = Traffic(FIXED, rate=10.0, rates=(1.0, 4.0), window_s=1000.0)
    found = refitted(wanted, 20_000)
    assert found.burstiness == 1.0
    rates = np.array(found.rates)
    assert rates[:8].mean() == pytest.approx(4.0, rel=0.1)
    assert rates[-8:].mean() == pytest.approx(16.0, rel=0.1)
    again = arrivals_of(sampled(found, 20_000, 1).arrival_s)
    assert again is not None
    assert again.even_cv == pytest.approx(1.0, abs=0.1)
    assert np.array(again.rates) == pytest.approx(rates, rel=0.25)


@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_prefixes_are_found_again(skew: float) -> None:
    wanted = Prefixes(0.6, 12, (300.0, 300.0), skew)
    found = refitted(Traffic(FIXED, rate=1.0, prefixes=wanted)).prefixes
    assert found is not None
    assert found.share == pytest.approx(0.6, abs=0.03)
    assert found.count == 12
    assert found.tokens == (300.0, 300.0)
    assert found.skew == pytest.approx(skew, abs=0.15)


def test_conversations_are_found_again() -> None:
    wanted = Traffic(Lengths.parse("U(10,200)/(20,80)"), rate=2.0, conversations=Conversations((1, 3, 8), (5.0, 45.0)))
    found = refitted(wanted, 6000)
    assert found.conversations is not None
    assert found.conversations.mean_turns == pytest.approx(3.75, rel=0.06)
    assert np.mean(found.conversations.think_s) == pytest.approx(25.0, rel=0.06)
    assert found.rate == pytest.approx(2.0, rel=0.08)
    assert found.lengths.isl == pytest.approx(105, rel=0.03)


def test_first_and_later_turns_have_lengths_of_their_own() -> None:
    """What a later turn adds must not blur into the system prompt and document that opened the conversation."""
    later = Lengths.parse("U(20,60)/(5,45)")
    wanted = Traffic(
        Lengths.parse("N(3000,300)/(200,40)"), rate=2.0, conversations=Conversations((2, 6), (5.0, 5.0), later)
    )
    trace = sampled(wanted, 6000)
    opens, added = opening(trace), added_tokens(trace)
    assert added[opens].mean() == pytest.approx(3000, rel=0.02)
    assert (added[~opens].min(), added[~opens].max()) == (20, 60)
    assert (trace.output[~opens].min(), trace.output[~opens].max()) == (5, 45)
    found = fit(trace)
    assert found.lengths.isl == pytest.approx(3000, rel=0.02)
    assert found.lengths.osl == pytest.approx(200, rel=0.02)
    assert found.conversations is not None
    assert found.conversations.later_lengths == later


def test_turns_that_are_all_alike_are_told_once() -> None:
    found = refitted(Traffic(FIXED, rate=2.0, conversations=Conversations((1, 4), (5.0, 5.0))), 500)
    assert found.conversations is not None
    assert (str(found.lengths), found.conversations.later_lengths) == (str(FIXED), None)


def test_later_lengths_of_conversations_of_one_turn_are_never_drawn() -> None:
    talk = Conversations((1.0, 1.0), (0.0, 0.0), Lengths.parse("D(7,7)"))
    trace = sampled(Traffic(FIXED, rate=1.0, conversations=talk), 50)
    assert set(trace.prompt.tolist()) == {512}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(0, 10**6), st.booleans(), st.booleans())
def test_what_is_drawn_holds_together(requests: int, seed: int, talks: bool, shares: bool) -> None:
    traffic = Traffic(
        Lengths.parse("U(5,90)/(1,30)"),
        rate=3.0,
        prefixes=Prefixes(0.5, 3, (10.0, 200.0)) if shares else None,
        conversations=Conversations((1.0, 5.0), (0.0, 9.0)) if talks else None,
    )
    trace = sampled(traffic, requests, seed)
    assert len(trace) == requests
    assert (trace.shared < trace.prompt).all()
    added = added_tokens(trace)
    assert ((added >= 5) & (added <= 90)).all()
    if trace.turns is not None:
        later = trace.turns.previous != NONE
        assert (trace.turns.previous[later] == np.flatnonzero(later) - 1).all()
        owner = trace.turns.owners()
        np.testing.assert_array_equal(trace.shared, trace.shared[owner])
    same = sampled(traffic, requests, seed)
    np.testing.assert_array_equal(trace.prompt, same.prompt)
    np.testing.assert_array_equal(trace.arrival_s, same.arrival_s)


def test_a_prefix_never_lengthens_a_prompt_it_is_cut() -> None:
    plain = sampled(Traffic(FIXED, rate=1.0), 50)
    long = sampled(Traffic(FIXED, rate=1.0, prefixes=Prefixes(1.0, 2, (900.0, 900.0))), 50)
    np.testing.assert_array_equal(plain.prompt, long.prompt)
    assert (long.shared == 511).all()


def test_chunks_count_as_far_as_an_earlier_request_had_them() -> None:
    zeros = np.zeros(3, dtype=np.int64)
    plain = unshared(np.arange(3.0), np.array([40, 40, 45]), np.array([1, 1, 1]))
    chained = replace(
        plain, shared=np.array([40, 40, 45]), first_chunk=np.array([0, 3, 6]),
        chunks=np.array([7, 8, 9, 7, 8, 5, 7, 8, 5]), chunk_tokens=16,
    )  # fmt: skip
    assert reuse_of(chained).tokens.tolist() == [0, 32, 44]
    assert reuse_of(chained).end.tolist() == [NONE, 8, 5]
    named = Trace(plain.arrival_s, plain.prompt, plain.output, np.array([20, 0, 30]), zeros, zeros[:1])
    assert reuse_of(named).tokens.tolist() == [0, 0, 30]


def test_chunks_tell_conversations() -> None:
    """Two conversations under one common chunk: 0 -> 2 -> 3 and 1; 4 repeats a beginning that has gone on."""
    told = [[7, 1, 2], [7, 9], [7, 1, 3, 4], [7, 1, 3, 5, 6], [7, 1, 8]]
    first = np.cumsum([0, *(len(each) for each in told)])[:-1]
    names = np.array([name for each in told for name in each])
    prompt = np.array([40, 30, 60, 78, 44])
    plain = unshared(np.arange(5.0), prompt, np.array([3, 3, 3, 3, 3]))
    chained = replace(plain, shared=prompt, first_chunk=first, chunks=names, chunk_tokens=16)
    turns = with_conversations(chained).turns
    assert turns is not None
    assert turns.previous.tolist() == [NONE, NONE, 0, 2, NONE]
    assert turns.think_s.tolist() == [0, 0, 2, 1, 0]
    assert reuse_of(with_conversations(chained)).tokens.tolist() == [0, 16, 42, 62, 32]
    assert with_conversations(plain) is plain


@pytest.mark.parametrize(("rate", "burstiness"), [(20.0, 1.0), (3.0, 1.0), (8.0, 0.3)])
def test_whole_seconds_are_no_bursts(rate: float, burstiness: float) -> None:
    exact = sampled(Traffic(FIXED, rate=rate, burstiness=burstiness), 40_000)
    found = fit(replace(exact, arrival_s=np.floor(exact.arrival_s)))
    assert found.rate == pytest.approx(rate, rel=0.05)
    assert found.burstiness == pytest.approx(burstiness, rel=0.25)


def test_requests_sent_at_once_are_a_closed_loop() -> None:
    found = fit(unshared(np.zeros(20), np.full(20, 9), np.full(20, 3)))
    assert (found.rate, found.concurrency) == (None, 20)
    alone = fit(unshared(np.zeros(1), np.full(1, 9), np.full(1, 3)))
    assert (alone.concurrency, str(alone.lengths)) == (1, "D(9,3)")


def test_the_closed_form_is_told_what_it_does_not_see() -> None:
    plain, left_out = Traffic(FIXED, rate=2.0).plain()
    assert (plain.isl, plain.request_rate, plain.lengths, left_out) == (512, 2.0, "D(512,128)", ())
    talk = Traffic(FIXED, rate=2.0, burstiness=0.5, conversations=Conversations((2.0, 2.0), (0.0, 0.0)))
    plain, left_out = talk.plain()
    assert left_out == ("conversations", "burstiness")
    assert plain.isl == 512 + (512 + 128) / 2


@pytest.mark.parametrize("lengths", ["U(400,600)/(100,300)", "N(500,200)/(200,50)", "0.5 D(90,10) + 0.5 D(900,20)"])
def test_shared_prefixes_leave_lengths_as_varied_as_they_are(lengths: str) -> None:
    plain, _ = Traffic(Lengths.parse(lengths), concurrency=8, prefixes=Prefixes(0.01, 1, (16.0, 16.0))).plain()
    assert plain.lengths == str(Lengths.parse(lengths))
    assert variety(plain.lengths)[0] == 0


def test_what_prefixes_leave_of_equal_prompts_varies_if_only_some_have_them() -> None:
    found = []
    for share in (1.0, 0.01, 0.5):
        traffic = Traffic(FIXED, concurrency=8, prefixes=Prefixes(share, 1, (400.0, 400.0)))
        found.append(variety(traffic.plain()[0].lengths))
    assert found == [(1.0, 0.0), (1.0, 0.0), (0.0, 0.0)]


def test_conversations_tell_how_far_answers_differ() -> None:
    talk = Conversations((3.0, 3.0), (0.0, 0.0))
    for lengths, deviation in (("U(400,600)/(100,300)", 200 / 12**0.5), ("D(500,200)", 0.0)):
        plain, _ = Traffic(Lengths.parse(lengths), concurrency=8, conversations=talk).plain()
        assert variety(plain.lengths) == (0.0, pytest.approx(deviation, rel=0.05, abs=1e-6))
