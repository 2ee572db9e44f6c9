"""`Store.check`: what is doubtful is found, named with its file and row, and left as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from perfdb.batch import BadRow, Batch, Source
from perfdb.metrics import Statistic
from perfdb.quality import Finding, Severity
from perfdb.records import Config, Experiment, Outcome, Target
from perfdb.store import Store

MEAN, MEDIAN, VALUE = Statistic.MEAN, Statistic.MEDIAN, Statistic.VALUE
Columns = dict[tuple[str, Statistic], Sequence[float]]


def add(store: Store, name: str, values: Columns, bad: tuple[BadRow, ...] = (), **context: Any) -> None:
    """A file of rows on one model, platform and engine in a closed loop; a context given as None is unknown."""
    n = len(next(iter(values.values())))
    known = {"model": "m", "platform": "h100_sxm", "engine": "vllm", "isl": 128.0, "osl": 64.0}
    known |= {"arrival": "closed", "concurrency": 8} | context
    columns = {key: column(value, n) for key, value in known.items() if value is not None}
    batch = Batch(np.arange(1, n + 1), columns, {k: np.array(v, dtype=float) for k, v in values.items()}, bad)
    store.ingest(Source(name, name, "csv"), [batch])


def column(value: Any, n: int) -> np.ndarray[Any, Any]:
    if isinstance(value, str):
        value = [value] * n
    return np.array(value, dtype=object) if isinstance(value, list) else np.broadcast_to(value, n).copy()


def find(store: Store, kind: str) -> Finding | None:
    return next((finding for finding in store.check() if finding.kind == kind), None)


def found(store: Store, kind: str) -> Finding:
    finding = find(store, kind)
    assert finding is not None, [finding.kind for finding in store.check()]
    return finding


def test_an_empty_or_sound_database_has_no_findings(store: Store) -> None:
    assert store.check() == []
    load = [1, 2, 4, 8, 16, 32]
    add(store, "sweep.csv", {("output_tps", VALUE): [50.0 * c**0.8 for c in load]}, concurrency=load)
    assert store.check() == []


def test_grave_findings_come_first_and_everything_is_plain_json(store: Store) -> None:
    import json

    add(store, "a.csv", {("ttft_s", MEAN): [2.0, 0.1, 0.2], ("e2e_s", MEAN): [1.0, 1.0, 1.0]}, platform=None)
    findings = store.check()
    assert [finding.severity for finding in findings] == sorted(
        [finding.severity for finding in findings], key=list(Severity).index
    )
    assert findings[0].kind == "contradictions"
    document = json.loads(json.dumps([finding.to_json() for finding in findings]))
    assert document[0]["count"] == 1
    assert document[0]["examples"][0]["reason"] == "TTFT above end-to-end latency"


def test_replicates_tell_their_spread(store: Store) -> None:
    add(store, "a.csv", {("output_tps", VALUE): [100.0, 110.0, 120.0, 55.0]}, concurrency=[8, 8, 8, 4])
    finding = found(store, "replicates")
    assert (finding.severity, finding.count) == (Severity.NOTE, 1)
    (example,) = finding.examples
    assert (example["metric"], example["keys"], example["points"]) == ("output_tps", 1, 3)
    assert example["relative_sd"] == pytest.approx(10 / 110)
    assert example["worst_ratio"] == pytest.approx(1.2)
    assert find(store, "conflicts") is None


def test_replicates_far_apart_are_a_hidden_factor_and_what_differs_is_named(store: Store) -> None:
    extra = {"a.csv": '{"driver":"550","host":"x"}', "b.csv": '{"driver":"570","host":"x"}'}
    for name, tps in (("a.csv", 100.0), ("b.csv", 161.0)):
        add(store, name, {("output_tps", VALUE): [tps], ("ttft_s", MEAN): [0.1]}, extra=extra[name])
    finding = found(store, "conflicts")
    assert "hidden factor" in finding.text
    (example,) = finding.examples
    assert (example["metric"], example["statistic"], example["points"]) == ("output_tps", "value", 2)
    assert (example["low"], example["high"]) == (100.0, 161.0)
    assert example["files"] == ["a.csv", "b.csv"]
    assert example["differs"] == ["extra.driver"]


@pytest.mark.parametrize(
    "other",
    [
        {"model": "m2"},
        {"platform": "a10"},
        {"devices": 2},
        {"engine": "sglang"},
        {"engine_version": "0.9"},
        {"config": '{"max_num_seqs":4}'},
        {"isl": 256.0},
        {"osl": 32.0},
        {"lengths": "N(128,9)/(64,9)"},
        {"arrival": "poisson"},
        {"concurrency": 16},
        {"request_rate": 2.0},
        {"batch_size": 4},
        {"client": "other"},
        {"origin": "simulated"},
    ],
)
def test_each_recorded_fact_tells_keys_apart(store: Store, other: dict[str, Any]) -> None:
    add(store, "a.csv", {("output_tps", VALUE): [100.0]})
    add(store, "b.csv", {("output_tps", VALUE): [1000.0]}, **other)
    assert find(store, "conflicts") is None
    assert find(store, "replicates") is None


def test_two_statistics_of_one_key_are_no_conflict(store: Store) -> None:
    add(store, "a.csv", {("ttft_s", MEAN): [0.1]})
    add(store, "b.csv", {("ttft_s", MEDIAN): [0.5]})
    assert find(store, "conflicts") is None


def test_failed_runs_are_counted_and_never_compared(store: Store) -> None:
    add(store, "a.csv", {("output_tps", VALUE): [100.0, 1.0, 1.0]}, outcome=["ok", "partial", "oom"])
    assert find(store, "conflicts") is None
    finding = found(store, "failures")
    assert finding.count == 2
    assert [(e["outcome"], e["file"], e["rows"]) for e in finding.examples] == [
        ("oom", "a.csv", 1),
        ("partial", "a.csv", 1),
    ]


def test_a_failed_experiment_without_points_is_counted(store: Store) -> None:
    run = store.open_run("r", "key", {})
    target = Target("m", "local", "llamacpp")
    store.record(Experiment("e-0", run, 0, Config({"n": 1}), target, Outcome.LAUNCH_FAILED, "user"))
    (example,) = found(store, "failures").examples
    assert example == {"outcome": "launch_failed", "file": "experiment e-0", "rows": 1}


LOAD = [1, 2, 4, 8, 16, 32, 64]


def sweep(factor: float, at: int) -> list[float]:
    values = [50.0 * c**0.8 for c in LOAD]
    values[at] *= factor
    return values


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_a_value_off_the_trend_of_its_neighbours_is_flagged_and_kept(store: Store, factor: float) -> None:
    add(store, "sweep.csv", {("output_tps", VALUE): sweep(factor, 3)}, concurrency=LOAD)
    finding = found(store, "outliers")
    (example,) = finding.examples
    assert (example["file"], example["row"], example["concurrency"]) == ("sweep.csv", 4, 8)
    assert example["expected"] == pytest.approx(50.0 * 8**0.8)
    assert example["low"] == pytest.approx(50.0 * 8**0.8 / 3)
    assert example["high"] == pytest.approx(50.0 * 8**0.8 * 3)
    assert len(store.results()["output_tps"]) == len(LOAD)


def test_a_bad_neighbour_accuses_nobody(store: Store) -> None:
    falling = [1000.0 / c for c in LOAD]
    falling[3] *= 1000
    add(store, "sweep.csv", {("tpot_s", MEAN): falling}, concurrency=LOAD)
    assert [example["row"] for example in found(store, "outliers").examples] == [4]


@pytest.mark.parametrize("factor", [2.9, 1 / 2.9])
def test_less_than_a_factor_of_three_is_no_outlier(store: Store, factor: float) -> None:
    add(store, "sweep.csv", {("output_tps", VALUE): sweep(factor, 3)}, concurrency=LOAD)
    assert find(store, "outliers") is None


def test_in_a_noisy_series_the_same_factor_is_no_outlier(store: Store) -> None:
    noise = np.exp(np.random.default_rng(1).normal(0, 1.0, 40 * 7))
    lengths = np.repeat(64.0 * 3.0 ** np.arange(40), 7)
    add(store, "noise.csv", {("output_tps", VALUE): noise.tolist()}, concurrency=LOAD * 40, osl=lengths)
    assert find(store, "outliers") is None


@pytest.mark.parametrize(("axis", "metric"), [("concurrency", "ttft_s"), ("isl", "ttft_s"), ("concurrency", "tpot_s")])
def test_saturation_at_the_end_of_a_sweep_is_no_outlier(store: Store, axis: str, metric: str) -> None:
    add(store, "sweep.csv", {(metric, MEAN): [0.05] * 6 + [20.0]}, **{axis: LOAD})
    assert find(store, "outliers") is None


def test_the_knee_of_a_curve_is_no_outlier(store: Store) -> None:
    add(store, "sweep.csv", {("tpot_s", MEAN): [0.01, 0.01, 0.01, 0.031, 10.0, 10.0, 10.0]}, concurrency=LOAD)
    assert find(store, "outliers") is None


def test_the_last_length_of_a_throughput_sweep_must_follow_the_others(store: Store) -> None:
    tps = [280.0, 280.0, 278.0, 276.0, 91915.0]
    add(store, "sweep.csv", {("total_tps", VALUE): tps}, isl=[128, 256, 512, 1024, 2048], osl=64.0)
    assert [example["row"] for example in found(store, "outliers").examples] == [5]


def test_a_length_far_from_the_others_need_not_follow_them(store: Store) -> None:
    lengths = [128, 256, 512, 1024, 131072]
    add(store, "sweep.csv", {("total_tps", VALUE): [280.0, 280.0, 278.0, 276.0, 50.0]}, isl=lengths, osl=64.0)
    assert find(store, "outliers") is None


def test_points_of_another_config_are_no_neighbours(store: Store) -> None:
    configs = ['{"n":1}'] * 3 + ['{"n":2}'] + ['{"n":1}'] * 3
    add(store, "sweep.csv", {("output_tps", VALUE): sweep(10, 3)}, concurrency=LOAD, config=configs)
    assert find(store, "outliers") is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({("ttft_s", MEDIAN): [2.0], ("e2e_s", MEDIAN): [1.0]}, "TTFT above end-to-end latency"),
        ({("output_tps", VALUE): [200.0], ("total_tps", VALUE): [100.0]}, "output throughput above total throughput"),
        ({("output_tps", VALUE): [1300.0], ("tpot_s", MEAN): [0.01]}, "output throughput above concurrency / TPOT"),
        ({("e2e_s", MEAN): [9.0], ("duration_s", VALUE): [5.0]}, "end-to-end latency above the duration of the run"),
        ({("ttft_s", MEDIAN): [0.3], ("ttft_s", Statistic.P99): [0.2]}, "ttft_s: p50 above p99"),
        ({("itl_s", MEAN): [0.3], ("itl_s", Statistic.MAX): [0.2]}, "itl_s: mean above max"),
        ({("success_rate", VALUE): [1.2]}, "more than all requests succeeded"),
    ],
)
def test_numbers_of_one_row_that_cannot_all_be_true(store: Store, values: Columns, reason: str) -> None:
    add(store, "a.csv", values)
    finding = found(store, "contradictions")
    assert finding.severity is Severity.PROBLEM
    (example,) = finding.examples
    assert (example["reason"], example["file"], example["row"]) == (reason, "a.csv", 1)


def test_throughput_per_device_must_fit_the_devices(store: Store) -> None:
    values: Columns = {("output_tps", VALUE): [100.0], ("output_tps_per_gpu", VALUE): [100.0]}
    add(store, "a.csv", values, devices=4)
    (example,) = found(store, "contradictions").examples
    assert (example["value"], example["bound"]) == (400.0, 100.0)


def test_different_statistics_in_different_files_are_named(store: Store) -> None:
    add(store, "a.csv", {("ttft_s", MEAN): [0.1]}, concurrency=1)
    add(store, "b.csv", {("ttft_s", MEDIAN): [0.2]}, concurrency=2)
    (example,) = found(store, "mixed_statistics").examples
    assert (example["metric"], example["model"]) == ("ttft_s", "m")
    assert example["files"] == {"mean": 1, "p50": 1}


def test_files_that_share_a_statistic_can_be_compared(store: Store) -> None:
    add(store, "a.csv", {("ttft_s", MEAN): [0.1], ("ttft_s", MEDIAN): [0.1]}, concurrency=1)
    add(store, "b.csv", {("ttft_s", MEDIAN): [0.2]}, concurrency=2)
    add(store, "c.csv", {("ttft_s", MEAN): [0.2]}, concurrency=2, model="another")
    assert find(store, "mixed_statistics") is None


def test_several_ways_of_arrival_in_a_group_are_named(store: Store) -> None:
    add(store, "a.csv", {("ttft_s", MEAN): [0.1, 0.2]}, concurrency=[1, 2])
    add(store, "b.csv", {("ttft_s", MEAN): [0.3]}, arrival="poisson", concurrency=None, request_rate=2.0)
    (example,) = found(store, "mixed_protocols").examples
    assert example["arrival"] == {"closed": 2, "poisson": 1}


def test_unknown_facts_name_the_file_and_what_would_supply_them(store: Store) -> None:
    add(store, "no platform.csv", {("ttft_s", MEAN): [0.1, 0.2]}, platform=None, isl=[128.0, np.nan])
    finding = found(store, "unknown_facts")
    (example,) = finding.examples
    assert finding.count == 2
    assert example["unknown"] == {"platform": 2, "isl": 1}
    assert example["fix"] == "servecast db quarantine retry 'no platform.csv' --set platform=PLATFORM"


def test_rows_in_quarantine_are_counted_once_each_by_their_first_reason(store: Store) -> None:
    bad = (BadRow(2, "a", "x", "text"), BadRow(2, "b", "y", "negative"), BadRow(3, "a", "z", "text"))
    add(store, "a.csv", {("ttft_s", MEAN): [0.1]}, bad)
    finding = found(store, "quarantine")
    assert finding.count == 2
    assert finding.examples == ({"reason": "text", "rows": 2, "files": 1, "first_file": "a.csv"},)
