"""Overheads fitted to runs: what a made-up engine adds is found again, and few or wrong runs move little."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surrogate_world import GRID, MODELS, History, joined, question, rows

import model.points
from model.learning.fitted_overheads import FittedOverheads, fitted_overheads
from model.learning.history import training
from model.question import analyse
from model.steps.overheads import Overheads, overheads
from perfdb.records import Arrival, Grid, Workload

PRIOR = overheads("vllm")
SLOW = replace(PRIOR, step_s=2.5e-3, sequence_s=25e-6, request_s=40e-3)
LENGTHS = "D(512,128)"
LOADS = [Workload(512, 128, Arrival.CLOSED, c, requests=10 * c, lengths=LENGTHS) for c in (1, 4, 16, 64)]
ONE = Grid({"max_num_seqs": np.array([64])})


def served_with(
    added: Overheads, models: tuple[str, ...] = MODELS, place: str = "h100_sxm", version: str = "0.9.1"
) -> History:
    """What runs of an engine with such overheads would have measured."""
    with mock.patch.object(model.points, "overheads", return_value=added):
        parts = []
        for name in models:
            for load in LOADS:
                asked = question(name, place, ONE, load)
                asked = replace(asked, target=replace(asked.target, engine_version=version))
                told = rows(asked, engine_version=version, lengths=LENGTHS) | {
                    metric: values
                    for metric, values in analyse(asked).serving.metrics.items()
                    if metric in {"ttft_s", "tpot_s", "e2e_s", "output_tps"}
                }
                parts.append(told)
    return joined(*parts)


def fit(
    history: History, version: str | None = "0.9.1", on: str = "h100_sxm", *, kernels_measured: bool = True
) -> FittedOverheads:
    taught = training(history)
    taught = replace(taught, of_tables=np.full(len(taught.rows), kernels_measured))
    found = fitted_overheads(history, taught, "vllm", version, on)
    assert found is not None
    return found


def test_what_an_engine_adds_is_found_in_its_runs() -> None:
    """S1.20: the engine's share of a step, beside its operations."""
    found = fit(served_with(SLOW))
    assert (found.runs, found.groups) == (len(MODELS) * len(LOADS), len(MODELS))
    # the rest may be the kernels' error, which four models share with a prior of 0.126 ms
    assert 0.6 * SLOW.step_s < found.overheads.step_s <= SLOW.step_s
    assert 0.6 * SLOW.request_s < found.overheads.request_s <= SLOW.request_s
    assert 1.3 * PRIOR.sequence_s < found.overheads.sequence_s < 1.5 * SLOW.sequence_s
    assert (found.overheads.token_s, found.overheads.layer_s) == (PRIOR.token_s, PRIOR.layer_s)


def test_runs_that_the_priors_explain_leave_them() -> None:
    found = fit(served_with(PRIOR)).overheads
    assert (found.step_s, found.sequence_s, found.request_s) == (
        pytest.approx(PRIOR.step_s, rel=0.01),
        pytest.approx(PRIOR.sequence_s, rel=0.01),
        pytest.approx(PRIOR.request_s, rel=0.01),
    )


def test_one_group_says_less_than_several_however_many_runs_it_has() -> None:
    several = fit(served_with(SLOW)).overheads
    once = fit(served_with(SLOW, MODELS[:1])).overheads
    often = fit(joined(*[served_with(SLOW, MODELS[:1])] * 5)).overheads
    assert abs(once.step_s - often.step_s) < 0.15 * once.step_s
    assert PRIOR.step_s < once.step_s <= often.step_s < several.step_s


def test_runs_on_a_platform_without_measured_kernels_say_less() -> None:
    history = served_with(SLOW)
    assert not training(history).of_tables.any()
    steps = [fit(history, kernels_measured=measured).overheads.step_s for measured in (False, True)]
    assert PRIOR.step_s < steps[0] < steps[1]


def test_nothing_is_fitted_without_a_run_of_the_engine_that_says_a_latency() -> None:
    history = served_with(SLOW, MODELS[:1])
    taught = training(history)
    assert fitted_overheads(history, taught, "sglang", None, "h100_sxm") is None
    silent = history | {name: np.full(len(LOADS), np.nan) for name in ("ttft_s", "tpot_s", "e2e_s")}
    assert fitted_overheads(silent, training(silent), "vllm", None, "h100_sxm") is None
    assert fitted_overheads({}, training({}), "vllm", None, "h100_sxm") is None


def test_a_version_and_a_platform_have_overheads_of_their_own() -> None:
    slow, plain = served_with(SLOW), served_with(PRIOR, version="0.20.0")
    elsewhere = served_with(SLOW, place="a100_sxm_80gb", version="0.20.0")
    both = joined(slow, plain, elsewhere)
    old, new, any_ = (fit(both, version).overheads.step_s for version in ("0.9.1", "0.20.0", None))
    assert new < any_ < old
    assert new < fit(both, "0.20.0", "a100_sxm_80gb").overheads.step_s
    # nobody ran it there: what others of the engine tell
    assert fit(both, "0.20.0", "b200_sxm") == fit(both, "0.20.0", "l40s")
    assert fit(both, "7.7.7", "l40s") == fit(both, None, "l40s")


def test_a_run_that_is_far_off_moves_little() -> None:
    history = served_with(PRIOR)
    wrong = history | {"tpot_s": history["tpot_s"] * np.where(np.arange(len(history["tpot_s"])) == 3, 30.0, 1.0)}
    assert fit(wrong).overheads.step_s == pytest.approx(PRIOR.step_s, rel=0.3)


def test_runs_told_to_take_a_tenth_of_the_time_move_little() -> None:
    history = served_with(SLOW)
    good = fit(history).overheads
    wrong = history | {
        name: history[name] * np.where(np.arange(16) % 3 == 2, 0.1, 1.0) for name in ("tpot_s", "ttft_s")
    }
    found = fit(wrong).overheads
    assert found.step_s > 0.5 * good.step_s
    assert found.request_s > 0.5 * good.request_s


def test_runs_of_the_version_on_the_platform_are_told_apart() -> None:
    both = joined(served_with(SLOW, MODELS[:1]), served_with(SLOW, MODELS[1:2], "a100_sxm_80gb"))
    assert [fit(both, on=place).own for place in ("h100_sxm", "a100_sxm_80gb", "l40s")] == [4, 4, 0]
    assert fit(both, "7.7.7").own == 0


def test_drafted_tokens_tell_nothing_of_steps() -> None:
    history = served_with(SLOW)
    drafted = dict(history)
    drafted["config"] = np.full(len(history["config"]), '{"num_speculative_tokens":3}', object)
    found = fit(drafted).overheads
    assert (found.step_s, found.sequence_s) == (PRIOR.step_s, PRIOR.sequence_s)
    assert training(drafted).sequences.shape == training(history).sequences.shape
    assert np.isnan(training(drafted).sequences).all()


@settings(max_examples=8, deadline=None)
@given(st.floats(0.0, 8e-3), st.floats(0.0, 0.1), st.lists(st.floats(0.2, 5.0), min_size=16, max_size=16))
def test_overheads_are_finite_and_never_nothing(step_s: float, request_s: float, noise: list[float]) -> None:
    history = served_with(replace(PRIOR, step_s=step_s, request_s=request_s))
    history |= {name: history[name] * np.array(noise) for name in ("ttft_s", "tpot_s")}
    found = fit(history).overheads
    values = np.array([found.step_s, found.sequence_s, found.request_s])
    assert np.isfinite(values).all()
    assert (values >= 0.249 * np.array([PRIOR.step_s, PRIOR.sequence_s, PRIOR.request_s])).all()


def test_steps_take_the_fitted_overheads() -> None:
    points = analyse(question(grid=GRID)).points
    assert points.overheads == PRIOR
    assert replace(points, fitted_overheads=SLOW).overheads == SLOW
