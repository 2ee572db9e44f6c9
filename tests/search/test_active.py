"""The product's strategy: where it starts, what it prefers, what it says, and when it stops."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from model.learning.features import encode
from search.belief import believe
from search.objective import Objective, to_loss, to_values
from search.plan import Prior, State, Verdict
from search.space import ConfigSpace
from search.stopping import probability_of_enough
from search.strategies import strategy

OBJECTIVES = (Objective.parse("output_tps"), Objective.parse("ttft_s"))
GRID = ConfigSpace.of({"batch": [1, 2, 4, 8, 16, 32, 64], "tp": [1, 2, 4, 8], "engine": ["a", "b"]}).grid()
N = len(GRID)


def truth():
    batch, tp = GRID.columns["batch"].astype(float), GRID.columns["tp"].astype(float)
    pace = np.where(GRID.columns["engine"] == "a", 1.0, 0.6)
    return np.column_stack([50 * pace * batch**0.7 / tp**0.2, 0.05 * batch**0.5 / (pace * tp**0.6)])


def state_of(rows, values=None, **given):
    rows = np.array(rows, np.int64)
    values = truth() if values is None else values
    ok = np.isfinite(values[rows]).all(axis=1)
    return State(encode(GRID), OBJECTIVES, rows, ok, values[rows], **given)


def prior(validated, error=0.0):
    loss = to_loss(truth(), OBJECTIVES) + error
    return Prior(loss, np.full_like(loss, 0.1), validated)


def propose(state, count=1, seed=0):
    return strategy("active").propose(state, count, np.random.default_rng(seed))


def test_it_starts_with_a_spread_design_and_says_so():
    choices = propose(state_of([]), 5)
    assert [choice.reason for choice in choices] == ["initial_design"] * 5
    assert not choices[0].predicted
    x = encode(GRID)[[choice.row for choice in choices]]
    gaps = np.linalg.norm(x[:, None] - x[None], axis=2) + np.eye(5) * 9
    assert gaps.min() > 0.5


def test_a_validated_prior_replaces_the_design_and_an_unvalidated_one_does_not():
    trusted = propose(state_of([], prior=prior(True)))[0]
    assert trusted.reason == "active"
    assert set(trusted.predicted) == {"output_tps", "ttft_s"}
    assert propose(state_of([], prior=prior(False)))[0].reason == "initial_design"


def test_the_design_prefers_what_fits_in_memory():
    headroom = np.where(GRID.columns["tp"] == 8, 0.5, -0.5)
    rows = [choice.row for choice in propose(state_of([], headroom=headroom), 5)]
    assert set(GRID.columns["tp"][rows].tolist()) == {8}


def test_after_the_design_each_choice_says_why_and_what_it_expects():
    choice = propose(state_of([0, 11, 22, 33, 44, 55]))[0]
    assert choice.reason == "active"
    assert "expected improvement" in choice.detail
    assert "works with probability" in choice.detail
    for interval in choice.predicted.values():
        assert 0 < interval.lo < interval.mean < interval.hi


def test_it_finds_the_front_in_far_fewer_runs_than_chance():
    from search.replay import replay

    shares = {}
    for name in ("active", "random"):
        result = replay(GRID, truth(), OBJECTIVES, range(N), name, 12, range(6))
        shares[name] = np.mean([run.hypervolume[-1] for run in result.runs])
    assert shares["active"] > 0.97
    assert shares["active"] > shares["random"] + 0.05


def test_failures_are_avoided_by_what_they_have_in_common():
    values = truth()
    values[GRID.columns["engine"] == "b"] = np.nan
    rows = [0, 1, 11, 22, 33, 44, 55]
    belief = believe(state_of(rows, values))
    assert belief is not None
    works = belief.feasible[[row for row in range(N) if row not in rows]]
    engine = GRID.columns["engine"][[row for row in range(N) if row not in rows]]
    assert works[engine == "b"].max() < works[engine == "a"].min()
    assert GRID.columns["engine"][propose(state_of(rows, values))[0].row] == "a"


def test_memory_headroom_lowers_the_chance_before_anything_failed():
    headroom = np.where(GRID.columns["tp"] == 1, -0.3, 0.3)
    belief = believe(state_of([1, 11, 22], headroom=headroom))
    assert belief is not None
    assert belief.feasible[GRID.columns["tp"] == 1].max() < 0.1
    assert belief.feasible[GRID.columns["tp"] == 8].min() > 0.9


def test_nothing_is_believed_without_result_or_prior():
    values = np.full_like(truth(), np.nan)
    assert believe(state_of([])) is None
    assert believe(state_of([1, 2, 3, 4, 5], values)) is None
    choice = propose(state_of([1, 2, 3, 4, 5], values))[0]
    assert "nothing has worked" in choice.detail


def test_a_batch_holds_different_configs_each_chosen_after_the_former():
    rows = [0, 11, 22, 33, 44, 55]
    batch = [choice.row for choice in propose(state_of(rows), 4)]
    assert len(set(batch)) == 4
    assert batch[0] == propose(state_of(rows))[0].row


def test_intervals_are_native_and_ordered_in_both_directions():
    belief = believe(state_of([0, 11, 22, 33, 44, 55]))
    assert belief is not None
    for row in (3, 30):
        intervals = belief.intervals(row)
        central = to_values(belief.mean[row : row + 1], OBJECTIVES)[0]
        assert [intervals[o.name].mean for o in OBJECTIVES] == pytest.approx(central.tolist())
        assert all(i.lo < i.mean < i.hi for i in intervals.values())


def test_draws_agree_with_the_marginals():
    belief = believe(state_of([0, 11, 22, 33, 44, 55]))
    assert belief is not None
    rows = np.arange(N)
    draws = belief.draw(rows, 2000, np.random.default_rng(0))
    assert draws.shape == (2000, N, 2)
    assert draws.mean(axis=0) == pytest.approx(belief.mean, abs=0.1)
    only_prior = believe(state_of([], prior=prior(True)))
    assert only_prior is not None
    assert only_prior.draw(rows, 3, np.random.default_rng(0)).shape == (3, N, 2)


def test_the_stop_waits_for_the_design_and_is_sure_once_the_front_is_measured():
    rng = np.random.default_rng(0)
    active = strategy("active")
    early = active.verdict(state_of([0, 1]), rng)
    assert not early.stop
    first = active.verdict(state_of([0, 11, 22, 33, 44]), rng)
    assert not first.stop
    assert "short of 0.90" in first.reason
    rows: list[int] = []
    while not active.verdict(state_of(rows), rng).stop:
        rows.append(propose(state_of(rows), seed=len(rows))[0].row)
    assert 6 <= len(rows) < N / 2
    assert "which reaches 0.90" in active.verdict(state_of(rows), np.random.default_rng(0)).reason


def test_no_stop_from_two_runs_however_sure_the_prior_is():
    """A checked prior replaces the initial design, but not the evidence that a stop needs."""
    exact = dataclasses.replace(prior(True), loss=to_loss(truth(), OBJECTIVES), sd=np.full((N, 2), 1e-3))
    best = np.argsort(exact.loss.sum(axis=1))
    active = strategy("active")
    assert active.verdict(state_of(best[:4], prior=exact), np.random.default_rng(0)) == Verdict(False)
    assert "probability" in active.verdict(state_of(best[:5], prior=exact), np.random.default_rng(0)).reason


def test_the_chance_of_enough_rises_with_what_is_measured():
    order = np.argsort(truth()[:, 1])[::-1]
    chances = []
    for rows in (order[:8], np.random.default_rng(0).permutation(N)[:40]):
        state = state_of(rows)
        belief = believe(state)
        assert belief is not None
        chances.append(probability_of_enough(belief, state.open_rows, 0.1, np.random.default_rng(0)))
    assert chances[0] <= chances[1]
    assert chances[1] > 0.9
