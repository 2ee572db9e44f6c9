"""S2.35–S2.37: suggest, tell, stop, save, restore."""

from __future__ import annotations

import json

import numpy as np
import pytest

from perfdb.errors import InputError, UnknownNameError
from search.ask_tell import AskTell
from search.objective import Objective
from search.space import ConfigSpace
from search.strategies import STRATEGIES

GRID = ConfigSpace.of({"tp": [1, 2, 4, 8], "batch": [1, 8, 64], "engine": ["a", None]}).grid()
OBJECTIVES = (Objective.parse("output_tps"), Objective.parse("ttft_s"))


def measure(parameters):
    if parameters["batch"] == 64 and parameters["tp"] == 1:
        return {}
    pace = 1.0 if parameters["engine"] == "a" else 0.7
    return {
        "output_tps": pace * parameters["batch"] ** 0.6 / parameters["tp"] ** 0.2,
        "ttft_s": parameters["batch"] ** 0.4 / pace / parameters["tp"] ** 0.5,
    }


def step(search):
    parameters = search.suggest_parameters()
    search.tell_result(parameters, None, measure(parameters))
    return parameters


@pytest.mark.parametrize("name", STRATEGIES)
def test_s2_35_no_duplicates_and_a_stop_when_exhausted(name):
    search = AskTell(GRID, OBJECTIVES, name)
    seen = [json.dumps(step(search)) for _ in range(len(GRID))]
    assert len(set(seen)) == len(GRID)
    assert search.should_stop()
    with pytest.raises(InputError, match="all 24 configs were suggested"):
        search.suggest_parameters()


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("after", [0, 3, 9])
def test_s2_36_a_restored_search_goes_on_exactly(name, after):
    search = AskTell(GRID, OBJECTIVES, name, seed=5)
    for _ in range(after):
        step(search)
    search.suggest_parameters()
    saved = json.loads(json.dumps(search.get_state(), allow_nan=False))
    restored = AskTell.restore(saved, GRID, OBJECTIVES)
    assert restored.get_state() == search.get_state()
    assert [step(restored) for _ in range(4)] == [step(search) for _ in range(4)]
    assert restored.should_stop() == search.should_stop()


def test_s2_37_a_single_objective_is_told_as_a_score():
    search = AskTell(GRID, OBJECTIVES[:1], "active")
    for _ in range(14):
        parameters = search.suggest_parameters()
        search.tell_result(parameters, measure(parameters).get("output_tps"))
    told = search.get_state()["told"]
    best = max(told, key=lambda result: result["values"][0] or 0)
    assert best["parameters"] == {"tp": 2, "batch": 64, "engine": "a"}


def test_pending_suggestions_are_not_repeated():
    search = AskTell(GRID, OBJECTIVES)
    assert len({json.dumps(search.suggest_parameters()) for _ in range(24)}) == 24


def test_results_that_were_not_suggested_are_taken_too():
    search = AskTell(GRID, OBJECTIVES)
    search.tell_result({"tp": np.int64(2), "batch": 8.0}, None, {"output_tps": 1.0, "ttft_s": float("inf")})
    assert search.get_state()["told"] == [{"parameters": {"tp": 2, "batch": 8, "engine": None}, "values": [1.0, None]}]
    assert all(step(search) != {"tp": 2, "batch": 8, "engine": None} for _ in range(23))


def test_the_suggestion_comes_with_reason_and_prediction():
    search = AskTell(GRID, OBJECTIVES, n_initial=2)
    for _ in range(3):
        step(search)
    choice = search.suggest()
    assert choice.reason == "active"
    assert set(choice.predicted) == {"output_tps", "ttft_s"}


def test_wrong_configs_and_states_are_refused():
    search = AskTell(GRID, OBJECTIVES)
    with pytest.raises(UnknownNameError, match="unknown parameter 'pp'"):
        search.tell_result({"pp": 1}, None)
    with pytest.raises(InputError, match="is not a config of the grid"):
        search.tell_result({"tp": 3, "batch": 1, "engine": "a"}, None)
    with pytest.raises(InputError, match="its objectives are"):
        AskTell.restore(search.get_state(), GRID, OBJECTIVES[:1])
