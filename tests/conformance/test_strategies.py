"""What every strategy must do, whatever it is: run against each name of the registry."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import numpy as np
import pytest

from model.learning.features import encode
from perfdb.errors import UnknownNameError
from search.objective import Objective, to_loss
from search.plan import Prior, State
from search.space import ConfigSpace
from search.strategies import STRATEGIES, strategy

OBJECTIVES = (Objective.parse("output_tps"), Objective.parse("ttft_s"))
GRID = ConfigSpace.of({"tp": [1, 2, 4, 8], "engine": ["vllm", "sglang", "trtllm"], "chunked": [True, False]}).grid()
N = len(GRID)


def truth():
    """Native values of every config, `n x 2`: more devices are faster and cost throughput each; one engine fails."""
    tp, engine = GRID.columns["tp"].astype(float), GRID.columns["engine"]
    pace = np.where(engine == "vllm", 1.0, 1.2)
    values = np.column_stack([100 * pace / tp**0.3, 0.5 / (pace * tp**0.7)])
    values[(engine == "trtllm") & (tp == 1)] = np.nan
    return values


def state_of(rows, **given):
    values = truth()[np.array(rows, np.int64)].reshape(-1, 2)
    ok = np.isfinite(values).all(axis=1)
    return State(encode(GRID), OBJECTIVES, np.array(rows, np.int64), ok, values, **given)


HISTORIES = {
    "nothing": [],
    "one": [3],
    "one failure": [int(np.flatnonzero(np.isnan(truth()[:, 0]))[0])],
    "only failures": np.flatnonzero(np.isnan(truth()[:, 0])).tolist(),
    "some": [0, 5, 9, 14, 17, 20],
    "a repeat": [0, 5, 5, 9, 14, 17],
    "nearly all": list(range(N - 1)),
    "all": list(range(N)),
}
CASES = list(itertools.product(STRATEGIES, HISTORIES.values()))
NAMES = [f"{name}-{history}" for name, history in itertools.product(STRATEGIES, HISTORIES)]


@pytest.mark.parametrize(("name", "history"), CASES, ids=NAMES)
@pytest.mark.parametrize("count", [1, 4])
def test_proposes_distinct_open_rows_and_no_more_than_asked(name, history, count):
    state = state_of(history)
    choices = strategy(name).propose(state, count, np.random.default_rng(0))
    rows = [choice.row for choice in choices]
    assert len(rows) == len(set(rows)) == min(count, len(state.open_rows))
    assert set(rows) <= set(state.open_rows.tolist())
    assert all(choice.reason and choice.detail for choice in choices)


@pytest.mark.parametrize(("name", "history"), CASES, ids=NAMES)
def test_the_same_state_and_generator_give_the_same_answer(name, history):
    answers = [strategy(name).propose(state_of(history), 2, np.random.default_rng(7)) for _ in range(2)]
    assert answers[0] == answers[1]
    verdicts = [strategy(name).verdict(state_of(history), np.random.default_rng(7)) for _ in range(2)]
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_state_is_left_as_it_was(name):
    state = state_of(HISTORIES["some"], allowed=np.ones(N, bool), headroom=np.linspace(-1, 1, N))
    before = pickle.dumps(dataclasses.astuple(state))
    strategy(name).propose(state, 3, np.random.default_rng(0))
    strategy(name).verdict(state, np.random.default_rng(0))
    assert pickle.dumps(dataclasses.astuple(state)) == before


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("history", ["nothing", "some"])
def test_what_is_not_allowed_is_never_chosen(name, history):
    allowed = np.zeros(N, bool)
    allowed[[2, 5, 11]] = True
    state = state_of(HISTORIES[history], allowed=allowed)
    rows = {choice.row for choice in strategy(name).propose(state, 10, np.random.default_rng(0))}
    assert rows == set(state.open_rows.tolist()) <= {2, 5, 11}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_whole_search_runs_every_config_once_and_then_stops(name):
    rows: list[int] = []
    rng, searcher = np.random.default_rng(0), strategy(name)
    while len(rows) < N:
        rows.append(searcher.propose(state_of(rows), 1, rng)[0].row)
    assert sorted(rows) == list(range(N))
    assert searcher.propose(state_of(rows), 1, rng) == []
    verdict = searcher.verdict(state_of(rows), rng)
    assert verdict.stop
    assert verdict.reason


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("validated", [True, False])
def test_a_prior_and_headroom_are_accepted(name, validated):
    loss = np.nan_to_num(to_loss(truth(), OBJECTIVES))
    prior = Prior(loss, np.full_like(loss, 0.3), validated)
    for history in HISTORIES.values():
        state = state_of(history, prior=prior, headroom=np.linspace(-0.5, 1, N))
        assert len(strategy(name).propose(state, 2, np.random.default_rng(0))) == min(2, len(state.open_rows))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_grid_of_one_config_is_run_once(name):
    state = State(np.zeros((1, 1)), OBJECTIVES, np.zeros(0, np.int64), np.zeros(0, bool), np.zeros((0, 2)))
    assert [choice.row for choice in strategy(name).propose(state, 5, np.random.default_rng(0))] == [0]


def test_the_first_runs_are_the_same_for_active_and_tpe():
    active, tpe = (
        [c.row for c in strategy(n).propose(state_of([]), 5, np.random.default_rng(3))] for n in ("active", "tpe")
    )
    assert active == tpe
    one_by_one: list[int] = []
    rng = np.random.default_rng(3)
    for _ in range(5):
        one_by_one.append(strategy("tpe").propose(state_of(one_by_one), 1, rng)[0].row)
    assert one_by_one == tpe


def test_an_unknown_strategy_lists_the_known_ones():
    with pytest.raises(
        UnknownNameError, match=r"unknown strategy 'activ' \(did you mean active\?\); known: active, grid"
    ):
        strategy("activ")
