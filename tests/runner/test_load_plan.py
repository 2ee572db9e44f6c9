from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.errors import InputError
from perfdb.records import Arrival, Workload
from runner.load.plan import Tokenizer, complete, draw
from runner.vocabulary import BYTES, PROMPT_WORDS, word, word_tokens, words


def test_a_bare_workload_becomes_a_closed_loop():
    whole = complete(Workload(isl=96, osl=24, concurrency=8))
    assert (whole.arrival, whole.requests, whole.warmup_requests) == (Arrival.CLOSED, 32, 4)
    assert (whole.lengths, whole.client) == ("D(96,24)", "servecast")
    assert complete(whole) == whole


def test_lengths_say_their_means():
    whole = complete(Workload(lengths="U(1,9)/(1,5)", isl=700))
    assert (whole.isl, whole.osl) == (5, 3)


def test_a_rate_means_poisson_and_a_batch_size_static_batches():
    rate = complete(Workload(isl=1, osl=1, request_rate=5.0))
    assert (rate.arrival, rate.concurrency, rate.requests) == (Arrival.POISSON, None, 16)
    batch = complete(Workload(isl=1, osl=1, batch_size=32))
    assert (batch.arrival, batch.concurrency, batch.requests) == (Arrival.BATCH, None, 128)


@pytest.mark.parametrize(
    "more",
    [
        {"concurrency": 0},
        {"requests": 0},
        {"warmup_requests": -1},
        {"arrival": Arrival.POISSON},
        {"arrival": Arrival.CONSTANT, "request_rate": 0.0},
        {"arrival": Arrival.BATCH},
    ],
)
def test_a_load_that_cannot_be_is_refused(more):
    with pytest.raises(InputError, match="workload"):
        complete(Workload(isl=1, osl=1, **more))


def test_prompts_are_distinct_deterministic_and_of_the_asked_length():
    whole = complete(Workload(lengths="U(5,40)/(1,9)", concurrency=8))
    requests = draw(whole, 3, Tokenizer())
    assert requests == draw(whole, 3, Tokenizer())
    assert requests != draw(whole, 4, Tokenizer())
    warm = draw(whole, 3, Tokenizer(), 8)
    texts = [request.prompt for request in (*requests, *warm)]
    assert len(set(texts)) == len(texts) == 40
    assert all(5 <= len(text.split()) <= 40 for text in texts)


def test_a_mix_is_sent_with_its_weights():
    whole = complete(Workload(lengths="0.7 D(51,12) + 0.3 D(409,25)", concurrency=4, requests=30))
    assert (whole.isl, whole.osl) == (pytest.approx(158.4), pytest.approx(15.9))
    sent = [(len(request.prompt.split()), request.max_tokens) for request in draw(whole, 3, Tokenizer())]
    assert sorted(sent) == [(51, 12)] * 21 + [(409, 25)] * 9
    assert sent != sorted(sent)


def test_a_tokenizer_that_splits_words_gets_fewer():
    assert Tokenizer(base=1.0, per_word=2.5).words_for(101) == 40
    assert Tokenizer(base=9.0, per_word=2.0).words_for(3) == 1


@given(rate=st.floats(0.1, 1000), seed=st.integers(0, 1000))
def test_arrivals_never_go_back_and_constant_ones_are_even(rate, seed):
    for arrival in (Arrival.POISSON, Arrival.CONSTANT):
        whole = complete(Workload(isl=1, osl=1, arrival=arrival, request_rate=rate, requests=30))
        due = [request.due_s for request in draw(whole, seed, Tokenizer())]
        assert due[0] == 0
        gaps = [b - a for a, b in pairwise(due)]
        assert min(gaps) >= 0
        if arrival is Arrival.CONSTANT:
            assert gaps == pytest.approx([1 / rate] * 29)


def test_poisson_arrivals_have_their_rate_and_spread():
    whole = complete(Workload(isl=1, osl=1, request_rate=50.0, requests=4001))
    due = [request.due_s for request in draw(whole, 0, Tokenizer())]
    gaps = [b - a for a, b in pairwise(due)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert mean == pytest.approx(0.02, rel=0.05)
    assert variance**0.5 / mean == pytest.approx(1.0, rel=0.05)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_two_words_are_alike(one, other):
    assert (word(one) == word(other)) == (one == other)


def test_a_text_of_n_words_is_n_tokens_of_the_vocabulary():
    known = set(word_tokens(PROMPT_WORDS))
    for n in (1, 7, 96):
        text = words(n, 5)
        assert text == words(n, 5)
        assert len(text.split()) == n
        assert all(BYTES[32] + each in known for each in text.split())
        assert text.startswith(" ")
