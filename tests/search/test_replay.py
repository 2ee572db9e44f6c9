"""`servecast replay`: its document, its ratios, and grids that are small, constant or broken."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfdb.errors import InputError, UnknownNameError
from search.frontier import reference_point
from search.hypervolume import hypervolume
from search.objective import Objective, to_loss
from search.replay import grid_of_text, replay
from search.strategies import STRATEGIES

OBJECTIVES = (Objective.parse("x:max"), Objective.parse("y:min"))


def recorded(n, seed=0):
    rng = np.random.default_rng(seed)
    grid = grid_of_text({"size": [str(2**i) for i in range(n)], "kind": ["ab"[i % 2] for i in range(n)]})
    return grid, rng.uniform(0.5, 2, (n, 2))


def test_the_document_has_the_agreed_fields_and_is_json():
    grid, values = recorded(8)
    document = replay(grid, values, OBJECTIVES, range(100, 108), "active", 3, [0, 1]).to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["strategy"], document["grid"], [run["seed"] for run in document["runs"]]) == ("active", 8, [0, 1])
    for run in document["runs"]:
        assert len(run["order"]) == len(run["hypervolume"]) == 3
        assert set(run["order"]) <= set(range(100, 108))


@pytest.mark.parametrize("name", STRATEGIES)
def test_ratios_are_those_of_the_whole_grid_and_end_at_one(name):
    grid, values = recorded(9)
    values[4] = [np.nan, 1.0]
    losses = to_loss(values, OBJECTIVES)
    reference = reference_point(losses, OBJECTIVES)
    for run in replay(grid, values, OBJECTIVES, range(9), name, 50, range(2)).runs:
        assert sorted(run.order) == list(range(9))
        whole = hypervolume(losses, reference)
        expected = [hypervolume(losses[list(run.order[: i + 1])], reference) / whole for i in range(9)]
        assert list(run.hypervolume) == pytest.approx(expected)
        assert run.hypervolume[-1] == pytest.approx(1)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([None, 1.0, 2.0, 0.0])), min_size=1, max_size=12),
    st.integers(1, 15),
    st.sampled_from(["active", "random", "grid"]),
)
@settings(max_examples=40, deadline=None)
def test_min_of_budget_and_configs_are_run_and_none_twice(rows, budget, name):
    grid = grid_of_text({"p": [str(p) for p, _ in rows]})
    values = np.array([[np.nan if x is None else x, 1.0] for _, x in rows])
    result = replay(grid, values, OBJECTIVES, range(len(rows)), name, budget, [0])
    firsts = {p: i for i, (p, _) in reversed(list(enumerate(rows)))}
    assert result.size == len(firsts)
    assert len(result.runs[0].order) == len(set(result.runs[0].order)) == min(budget, len(firsts))
    assert set(result.runs[0].order) <= set(firsts.values()), "the first of equal rows answers"
    trace = result.runs[0].hypervolume
    assert list(trace) == sorted(trace)
    assert 0 <= trace[-1] <= 1 + 1e-12


def test_where_nothing_works_the_share_is_zero():
    grid, values = recorded(5)
    result = replay(grid, values * np.nan, OBJECTIVES, range(5), "active", 9, [0])
    assert result.runs[0].hypervolume == (0.0,) * 5


@pytest.mark.parametrize("name", STRATEGIES)
def test_one_config_and_constant_objectives(name):
    grid, values = recorded(1)
    assert (
        replay(grid, values, OBJECTIVES, [7], name, 3, [0]).runs[0]
        == replay(grid, values, OBJECTIVES, [7], name, 3, [0]).runs[0]
    )
    grid, values = recorded(12)
    values[:, 1] = 2.0
    run = replay(grid, values, OBJECTIVES, range(12), name, 12, [0]).runs[0]
    assert run.hypervolume[-1] == pytest.approx(1)
    constant = replay(grid, np.ones((12, 2)), OBJECTIVES, range(12), name, 8, [0]).runs[0]
    assert constant.hypervolume == pytest.approx([1.0] * 8)


def test_three_objectives_with_failures():
    rng = np.random.default_rng(0)
    grid = grid_of_text({"tp": [str(2 ** (i % 4)) for i in range(40)], "conc": [str(i // 4) for i in range(40)]})
    values = rng.uniform(1, 2, (40, 3))
    values[::7] = np.nan
    objectives = (*OBJECTIVES, Objective.parse("z:min"))
    for name in STRATEGIES:
        run = replay(grid, values, objectives, range(40), name, 40, [0]).runs[0]
        assert run.hypervolume[-1] == pytest.approx(1)


def test_seeds_differ_and_repeat():
    grid, values = recorded(20)
    first = replay(grid, values, OBJECTIVES, range(20), "active", 8, range(3))
    assert first == replay(grid, values, OBJECTIVES, range(20), "active", 8, range(3))
    assert len({run.order for run in first.runs}) == 3


def test_columns_are_numbers_only_if_all_their_values_are():
    grid = grid_of_text({"a": ["1", " 2.5", ""], "b": ["1", "2", "x"], "c": ["", None, "y"], "d": ["1", "nan", "inf"]})
    assert [column.dtype for column in grid.columns.values()] == [np.float64, object, object, object]
    assert grid.columns["c"].tolist() == [None, None, "y"]


def test_a_grid_that_does_not_fit_the_budget_is_swept_in_a_fixed_shuffle():
    grid, values = recorded(20)
    whole = replay(grid, values, OBJECTIVES, range(20), "grid", 20, [0, 1])
    assert [run.order for run in whole.runs] == [tuple(range(20))] * 2
    cut = replay(grid, values, OBJECTIVES, range(20), "grid", 5, [0, 1])
    assert cut.runs[0].order == cut.runs[1].order != tuple(range(5))


def test_what_cannot_be_replayed_is_said():
    grid, values = recorded(3)
    with pytest.raises(InputError, match="no rows"):
        replay(grid.take(np.zeros(0, np.int64)), values[:0], OBJECTIVES, [], "active", 3, [0])
    with pytest.raises(InputError, match="a budget of 0"):
        replay(grid, values, OBJECTIVES, range(3), "active", 0, [0])
    with pytest.raises(InputError, match="one row of values per config"):
        replay(grid, values[:, :1], OBJECTIVES, range(3), "active", 3, [0])
    with pytest.raises(UnknownNameError, match="unknown strategy 'x'"):
        replay(grid, values, OBJECTIVES, range(3), "x", 3, [0])
