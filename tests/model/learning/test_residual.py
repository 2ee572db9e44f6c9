"""Learning corrections: trees as arrays, folds that keep groups together, intervals that hold what they promise."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.learning.crossfit import ENOUGH, FOLDS, fit_bag, trust
from model.learning.descriptors import LENGTHS, PROMPT, WAITING
from model.learning.intervals import balanced_weights, conformal_sd, folds
from model.learning.residual import PRIOR_SD, Residual
from model.learning.trees import fit_trees
from model.prediction import Z90


def toy(groups: int, rows: int, seed: int = 0, offset: float = 0.5) -> Residual:
    """A residual that is a function of the features, a constant per group, and a little noise."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rows)
    features = rng.normal(size=(len(group), len(LENGTHS) + 5))
    features[:, -1] = rng.normal(size=groups)[group]  # what tells groups apart
    shift = rng.normal(0, 0.2, groups)[group] + offset
    target = np.sin(2 * features[:, -2]) + np.abs(features[:, -3]) + shift + rng.normal(0, 0.05, len(group))
    return Residual("e2e_s", features, target, group)


def test_trees_as_arrays_answer_like_the_library() -> None:
    xgboost = pytest.importorskip("xgboost")
    import model.learning.trees as module

    rng = np.random.default_rng(1)
    # a discrete feature puts many rows exactly on a threshold
    features = np.column_stack([rng.integers(0, 5, 400) * 0.1, rng.normal(size=400)])
    target = features[:, 0] * 3 + features[:, 1] ** 2
    ours = fit_trees(features, target, np.ones(400))
    base = float(target.mean())
    rows = xgboost.DMatrix(features, target - base, weight=np.ones(400))
    theirs = xgboost.train(module._SETTINGS, rows, num_boost_round=module.ROUNDS)
    assert ours.predict(features) == pytest.approx(base + theirs.predict(rows), abs=1e-4)


def test_fitting_twice_gives_the_same_trees() -> None:
    data = toy(4, 60)
    first, second = (fit_trees(data.features, data.residual, np.ones(240)).predict(data.features) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_group_that_is_far_off_tells_others_little() -> None:
    group = np.repeat(np.arange(6), 10)
    errors = np.repeat([0.1, -0.2, 0.15, -0.1, 0.05, 3.0], 10)
    credit = trust(errors, group)
    assert (credit[:50] > 0.5).all()
    assert (credit[50:] < 0.05).all()
    assert trust(np.zeros(60), group).tolist() == [1.0] * 60


def test_one_broken_group_does_not_spoil_a_new_one() -> None:
    clean = toy(8, 40, seed=3)
    broken = np.where(clean.group == 7, clean.residual + 4.0, clean.residual)
    fits = [fit_bag(clean.features, target, clean.group, None) for target in (clean.residual, broken)]
    rows = toy(8, 40, seed=3).features[clean.group == 6]
    apart = np.abs(fits[0].predict(rows, 6) - fits[1].predict(rows, 6))
    assert np.median(apart) < 0.35


@given(st.lists(st.integers(0, 12), min_size=1, max_size=200), st.integers(1, 8))
@settings(deadline=None)
def test_folds_cover_every_row_once_and_never_split_a_group(labels: list[int], count: int) -> None:
    names = np.array(labels)
    masks = list(folds(names, count))
    assert (np.sum(masks, axis=0) == 1).all()
    for label in set(labels):
        assert sum(bool(mask[names == label].any()) for mask in masks) == 1
    assert balanced_weights(names).mean() == pytest.approx(1.0)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_conformal_sd_covers_ninety_percent_of_what_it_saw(seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors, labels = rng.standard_t(3, 500), np.repeat(np.arange(50), 10)
    held = np.abs(errors) <= Z90 * conformal_sd(errors, labels) + 1e-12
    assert 0.88 <= held.mean() <= 0.96


def test_without_history_nothing_is_corrected_and_the_interval_is_wide() -> None:
    empty = Residual("ttft_s", np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64))
    shift, sd = empty.predict(np.zeros((4, 3)), None)
    assert (shift.tolist(), sd.tolist()) == ([0.0] * 4, [PRIOR_SD["ttft_s"]] * 4)
    assert not empty.validated


def test_a_known_group_takes_its_own_offset_a_new_one_the_mean() -> None:
    residual, group = np.array([0.6, 0.7, 0.65, -0.4, -0.5, -0.45]), np.array([0, 0, 0, 1, 1, 1])
    found = Residual("tpot_s", np.zeros((6, len(LENGTHS))), residual, group)
    ((first, narrow), (second, _), (new, wide)) = (
        [part[0] for part in found.predict(found.features[:1], name)] for name in (0, 1, None)
    )
    assert 0.4 < first < 0.65
    assert -0.45 < second < -0.2
    assert abs(new) < 0.1
    assert narrow < 0.6 * wide


def test_trees_only_with_enough_rows_and_groups_and_only_if_they_win() -> None:
    assert not toy(2, ENOUGH).validated
    assert not toy(8, ENOUGH // 8 - 1).validated
    good = toy(8, 60)
    assert good.validated
    rng = np.random.default_rng(0)
    noise = Residual("e2e_s", good.features, rng.normal(0, 0.3, len(good.group)), good.group)
    assert not noise.validated


def test_coverage_on_groups_never_seen() -> None:
    """S0.8: nine of ten intervals hold, on groups that the fit had not met."""
    seen, unseen = toy(12, 40, seed=1), toy(12, 40, seed=2)
    shift, sd = seen.predict(unseen.features, None)
    held = np.abs(unseen.residual - shift) <= Z90 * sd
    assert 0.85 <= held.mean() <= 0.99
    assert np.abs(unseen.residual - shift).mean() < 0.4 * np.abs(unseen.residual).mean()


def test_rows_can_be_left_out() -> None:
    data = toy(8, 60)
    data.residual[data.group == 3] += 5.0
    features = data.features[data.group == 3]
    with_own, _ = data.predict(features, 3)
    without, _ = data.predict(features, 3, without=np.flatnonzero(data.group == 3))
    assert with_own.mean() > without.mean() + 1.0


def test_a_known_group_is_narrower_than_a_new_one() -> None:
    data = toy(10, 60)
    features = data.features[:5]
    assert (data.predict(features, 0)[1] < data.predict(features, None)[1]).all()


def test_trees_never_saw_the_group_that_they_predict() -> None:
    """A secret of one group moves what is expected of new ones, never what is expected of itself."""
    data = toy(8, 60)
    told = data.residual + 5.0 * (data.group == 3)
    honest, secret = (fit_bag(data.features, residual, data.group, None) for residual in (data.residual, told))
    assert secret.predict(data.features, 3) == pytest.approx(honest.predict(data.features, 3))
    assert np.abs(secret.predict(data.features, None) - honest.predict(data.features, None)).max() > 0.01


def test_every_group_is_unseen_by_one_member() -> None:
    data = toy(20, 15)
    bag = fit_bag(data.features, data.residual, data.group, None)
    assert sorted(bag.member_of) == list(range(20))
    assert set(bag.member_of.values()) == set(range(FOLDS)) == set(range(len(bag.members)))
    mean = np.mean([trees.predict(data.features) for trees in bag.members], axis=0)
    assert bag.predict(data.features, None) == pytest.approx(mean)


def test_rows_that_are_taught_tell_of_their_own_group_alone() -> None:
    data, new = toy(8, 60), toy(1, 40, seed=5)
    taught = data.taught(new.features[:10], new.residual[:10] + 2.0, np.full(10, 8))
    rest = new.features[10:]
    before, wide = data.predict(rest, None)
    after, narrow = taught.predict(rest, 8)
    truth = new.residual[10:] + 2.0
    assert np.abs(after - truth).mean() < 0.3 * np.abs(before - truth).mean()
    assert (narrow <= wide).all()
    assert taught.predict(rest, None)[0] == pytest.approx(before)
    assert taught.predict(data.features, 2)[0] == pytest.approx(data.predict(data.features, 2)[0])


def test_rows_may_be_taught_where_nothing_was_known() -> None:
    nothing = Residual("tpot_s", np.zeros((0, len(LENGTHS))), np.zeros(0), np.zeros(0, np.int64))
    taught = nothing.taught(np.zeros((4, len(LENGTHS))), np.full(4, 0.5), np.zeros(4, np.int64))
    assert 0.3 < taught.predict(np.zeros((1, len(LENGTHS))), 0)[0][0] < 0.5


def test_a_first_token_is_corrected_from_the_prompt_alone_where_that_is_smoother() -> None:
    """The analytic wait is wild, what is measured follows the prompt: trees must not chase the wait."""
    data = toy(8, 60)
    data.features[:, WAITING] = np.random.default_rng(0).normal(0, 3, len(data.group))
    wild = data.residual - data.features[:, WAITING]
    found = Residual("ttft_s", data.features, wild, data.group)
    left = found.common.errors
    assert np.abs(left).mean() < 1.3 * np.abs(data.common.errors).mean()


def test_trees_are_fitted_without_importing_scikit_learn() -> None:
    """xgboost's estimators take most of its import time, on the way to the first answer of every process."""
    code = (
        "import sys, numpy as np; from model.learning.trees import fit_trees; x = np.arange(40.0)[:, None]; "
        "fit_trees(x, x[:, 0], np.ones(40)); print([m for m in ('sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("metric", "share"), [("ttft_s", 0.25), ("tpot_s", 1.0)])
@pytest.mark.parametrize("group", [0, None])
def test_what_first_tokens_were_corrected_by_fades_beyond_the_longest_prompt(metric, share, group) -> None:
    known = toy(6, 20)
    known.features[:, PROMPT] = 7.0
    taught = Residual(metric, known.features, np.full(len(known.group), 0.5), known.group)
    longest = np.full((1, known.features.shape[1]), known.features[:, PROMPT].max())
    further = longest + np.where(np.arange(longest.shape[1]) == PROMPT, np.log(4.0), 0.0)
    if group is not None:  # what another group knows of longer prompts says nothing of this one
        row = np.where(np.arange(longest.shape[1]) == PROMPT, 30.0, known.features[-1:])
        taught = Residual(
            metric, np.vstack([taught.features, row]), np.append(taught.residual, 0.5), np.append(taught.group, 5)
        )
    (near,), (near_sd,) = taught.predict(longest, group)
    (far,), (far_sd,) = taught.predict(further, group)
    at_far = Residual("tpot_s", taught.features, taught.residual, taught.group).predict(further, group)[0].item()
    assert near == pytest.approx(0.5, abs=0.1)
    assert far == pytest.approx(share * at_far, rel=1e-3)
    # what was taken back may have been right
    assert far_sd >= max(abs(at_far - far), 0.99 * near_sd)
