"""Scores of predictions: what is held out is not known, what is given back is, and repeats are one point."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.checkpoint.architecture import resolve_model
from model.learning.held_out import MeasuredPoints, held_out_folds, measured_points, predict_held_out
from model.learning.scores import Score, score, tables
from model.question import analyse
from model.surrogate import Question
from perfdb.facts.platforms import platform
from perfdb.records import Arrival, Grid, Target, Workload, canonical_json

History = dict[str, np.ndarray[Any, Any]]
MODELS = ("meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-14B")
PLATFORMS = ("h100_sxm", "a100_sxm_80gb")
SECRET = "Qwen/Qwen2.5-7B × a100_sxm_80gb × vllm × unknown"


def rows(model: str, place: str, factor: float, seed: int, **config: Any) -> History:
    """48 points of one group: the analytic answer times a smooth error, noise and a constant."""
    rng = np.random.default_rng(seed)
    parts: list[History] = []
    for concurrency in (1, 2, 4, 8, 16, 64, 128, 200):
        grid = Grid.of([{"max_num_seqs": int(2**power), **config} for power in rng.permutation(6) + 3])
        load = Workload(isl=512, osl=128, arrival=Arrival.CLOSED, concurrency=concurrency)
        asked = Question(Target(model, place, "vllm"), resolve_model(model), platform(place), load, grid)
        found = analyse(asked).serving.metrics
        n = len(grid)
        slow = factor * (1.5 + 0.1 * np.log(concurrency)) * np.exp(rng.normal(0, 0.03, n))
        texts = {"model": model, "platform": place, "engine": "vllm", "arrival": "closed", "engine_version": None}
        numbers = {"devices": 1, "isl": 512, "osl": 128, "concurrency": concurrency}
        parts.append(
            {name: np.full(n, text, object) for name, text in texts.items()}
            | {name: np.full(n, number, float) for name, number in numbers.items()}
            | {"config": np.array([canonical_json(dict(grid.config(row))) for row in range(n)], object)}
            | {name: found[name] * slow for name in ("tpot_s",)}
            | {"ttft_s": np.full(n, np.nan), "measured_at": rng.uniform(1e9, 2e9, n)}
        )
    return joined(*parts)


def joined(*parts: History) -> History:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.fixture(scope="module")
def history() -> History:
    """Six groups; one is three times slower than everything that is known would say."""
    pairs = [(model, place) for model in MODELS for place in PLATFORMS]
    factors = {pair: 3.0 if pair == (MODELS[1], PLATFORMS[1]) else 1.0 for pair in pairs}
    return joined(*(rows(*pair, factors[pair], seed) for seed, pair in enumerate(pairs)))


@pytest.fixture(scope="module")
def points(history: History) -> MeasuredPoints:
    return measured_points(history)


@pytest.fixture(scope="module")
def grouped(points: MeasuredPoints) -> dict[tuple[str, str, int], dict[str, Any]]:
    """(group, metric, shots) -> scores, with whole groups held out."""
    found = tables(points, predict_held_out(points, "group", (0, 10), 30), 30)
    return {(row["group"], row["metric"], row["shots"]): row for row in found.rows}


def test_a_secret_of_a_group_is_not_known_until_rows_of_it_are(grouped: Any) -> None:
    """Three times slower than all others: held out, two thirds of it are missed; ten of its points tell."""
    none, ten = grouped[SECRET, "tpot_s", 0], grouped[SECRET, "tpot_s", 10]
    assert none["bias"] == pytest.approx(1 / 3 - 1, abs=0.1)
    assert none["coverage90"] < 0.2
    assert ten["mape"] < 0.15
    assert (none["n"], ten["n"]) == (48, 38)


def test_groups_like_the_others_are_predicted_from_them(grouped: Any) -> None:
    rest = [row for (group, metric, shots), row in grouped.items() if group != SECRET and metric == "tpot_s"]
    assert np.median([row["mape"] for row in rest if row["shots"] == 0]) < 0.2
    assert np.median([row["mape"] for row in rest if row["shots"] == 10]) < 0.06
    assert np.mean([row["coverage90"] for row in rest]) > 0.85


def test_random_folds_leak_the_group(points: MeasuredPoints, grouped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.learning.held_out.FOLDS", 2)
    found = tables(points, predict_held_out(points, "random", (0,), 30), 30)
    leaked = next(row for row in found.rows if (row["group"], row["metric"]) == (SECRET, "tpot_s"))
    assert leaked["mape"] < 0.3 * grouped[SECRET, "tpot_s", 0]["mape"]


def test_without_folds_the_analytic_model_answers(history: History, points: MeasuredPoints) -> None:
    """Every row is 1.5 times slower and more: a third is missed, whatever the others say."""
    found = tables(points, predict_held_out(points, "none", (0,), 30), 30)
    overall = next(row for row in found.overall if row["metric"] == "tpot_s")
    assert overall["bias"] < -1 / 3
    assert overall["n"] == len(history["model"])
    assert overall["groups"] == 6
    assert [row["n"] for row in found.compared if row["metric"] == "tpot_s"] == [288]


def test_folds_hold_out_whole_groups_and_every_point_once(points: MeasuredPoints) -> None:
    for kind in ("group", "random"):
        masks = [(held, known) for held, known in held_out_folds(points, kind)]
        assert (np.sum([held for held, _ in masks], axis=0) == 1).all()
        for held, known in masks:
            assert len(known["model"]) == (~held).sum()
            if kind == "group":
                assert not set(points.group[held]) & set(points.group[~held])


def test_small_groups_get_no_shots(points: MeasuredPoints) -> None:
    answer = predict_held_out(points, "none", (0, 5), least=49)
    assert np.isfinite(answer[0].error["tpot_s"]).all()
    assert np.isnan(answer[5].error["tpot_s"]).all()


def test_repeats_are_one_point_with_their_median_and_told_apart_where_they_disagree() -> None:
    once = rows(MODELS[0], PLATFORMS[0], 1.0, 0)
    twice = joined(once, once, once)
    twice["tpot_s"][48:96] *= 1.1
    twice["tpot_s"][96:] *= 1.2
    twice["tpot_s"][96] *= 2.0
    found = measured_points(twice)
    assert len(found) == 48
    assert found.columns["tpot_s"] == pytest.approx(once["tpot_s"] * 1.1)
    assert np.flatnonzero(found.apart).tolist() == [0]
    scored = tables(found, predict_held_out(found, "none", (0,), 30), 30)
    assert {row["n"] for row in scored.overall} == {47}
    assert {row["n"] for row in scored.apart} == {1}


def test_groups_are_told_apart_by_precision_and_refused_rows_by_reason() -> None:
    parts = [rows(MODELS[0], PLATFORMS[0], 1.0, 0, **config) for config in ({}, {"quantization": "fp8"})]
    split = rows(MODELS[0], PLATFORMS[0], 1.0, 0, mode="disagg")
    nowhere = rows(MODELS[0], PLATFORMS[0], 1.0, 0) | {"platform": np.full(48, "unheard of", object)}
    found = measured_points(joined(*parts, split, nowhere))
    assert set(found.group) == {f"{MODELS[0]} × h100_sxm × vllm × {precision}" for precision in ("unknown", "fp8")}
    reasons = {reason[:40]: count for reason, count in found.refused.items()}
    assert reasons == {"prefill and decode on devices of their own"[:40]: 48, "unknown platform 'unheard of'": 48}


def test_figures_of_a_score() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    predicted = np.array([2.0, 1.0, 3.0, 4.4, 5.0])
    found = score(values, np.log(predicted / values), np.array([0.01, 1.0, 0.01, 0.01, 0.01]))
    assert found == Score(
        n=5,
        mape=pytest.approx((1 + 0.5 + 0 + 0.1 + 0) / 5),
        median=pytest.approx(0.1),
        p90=pytest.approx(0.8),
        log_median=pytest.approx(np.log(1.1)),
        log_p90=pytest.approx(np.log(2.0)),
        bias=pytest.approx((1 - 0.5 + 0.1) / 5),
        spearman=pytest.approx(0.9),
        coverage90=pytest.approx(0.6),
    )
    assert np.isnan(score(values[:2], np.zeros(2), np.ones(2)).spearman)
