"""Budgets: read in every form, charged in their own unit, hard at the end."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.errors import BudgetError
from perfdb.records import Config, Experiment, Outcome, Target
from servecast.tuning.budget import Budget, Unit


def experiment(wall_s: float = 60.0, gpu_hours: float = 0.5, cost_usd: float = 2.0, outcome: Outcome = Outcome.OK):
    return Experiment(
        "r-0", "r", 0, Config({"a": 1}), Target("m", "p", "e"), outcome, "active",
        wall_s=wall_s, gpu_hours=gpu_hours, cost_usd=cost_usd,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("12", 12, Unit.EXPERIMENTS),
        (12, 12, Unit.EXPERIMENTS),
        ("90m", 5400, Unit.SECONDS),
        ("2h", 7200, Unit.SECONDS),
        ("45s", 45, Unit.SECONDS),
        ("6gpuh", 6, Unit.GPU_HOURS),
        ("0.5 GPUh", 0.5, Unit.GPU_HOURS),
        ("$40", 40, Unit.DOLLARS),
        ("$0.50", 0.5, Unit.DOLLARS),
    ],
)
def test_every_form_is_read(text, amount, unit):
    assert Budget.parse(text) == Budget(amount, unit)


@pytest.mark.parametrize("text", ["", "0", "-3", "12.5", "12x", "$", "$4h", "nan", "inf", "1e999", "twelve", "0m"])
def test_what_is_no_budget_says_what_is(text):
    with pytest.raises(BudgetError, match=r"expected a whole number of experiments \(12\)"):
        Budget.parse(text)


@given(st.integers(1, 10_000), st.sampled_from(["", "m", "h", "s", "gpuh"]))
def test_a_budget_reads_back_as_it_is_written(amount, suffix):
    budget = Budget.parse(f"{amount}{suffix}")
    assert Budget.parse(str(budget)).unit is budget.unit
    assert Budget.parse(str(budget)).amount == pytest.approx(budget.amount, rel=1e-5)


def test_failures_are_charged_like_successes():
    spent = [experiment(), experiment(outcome=Outcome.OOM)]
    assert Budget.parse("3").left(spent) == 1
    assert Budget.parse("3m").left(spent) == 60
    assert Budget.parse("2gpuh").left(spent) == 1
    assert Budget.parse("$5").left(spent) == 1


def test_seconds_left_is_what_one_more_experiment_may_take():
    spent = [experiment()]
    assert Budget.parse("2").seconds_left(spent, 1, None) == math.inf
    assert Budget.parse("1").seconds_left(spent, 1, None) == 0
    assert Budget.parse("3m").seconds_left(spent, 8, None) == 120
    assert Budget.parse("1.5gpuh").seconds_left(spent, 4, None) == 900
    assert Budget.parse("$4").seconds_left(spent, 2, 10.0) == pytest.approx(360)


def test_dollars_without_a_price_are_refused():
    with pytest.raises(BudgetError, match="usd_per_hour"):
        Budget.parse("$4").seconds_left([], 1, None)
