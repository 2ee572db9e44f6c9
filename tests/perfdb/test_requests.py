"""Requests to one record, against plain loops."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.importers.requests import Requests, distribution, per_output_token, summary, window_s

NAN = float("nan")
seconds = st.floats(1e-6, 1e3)


@st.composite
def runs(draw: st.DrawFn) -> Requests:
    n = draw(st.integers(1, 30))
    sent = draw(st.lists(st.floats(0, 1e4), min_size=n, max_size=n))
    ttft = draw(st.lists(seconds, min_size=n, max_size=n))
    rest = draw(st.lists(seconds, min_size=n, max_size=n))
    tokens = draw(st.lists(st.tuples(st.integers(1, 9000), st.integers(1, 900)), min_size=n, max_size=n))
    ok = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return Requests(
        np.array(ok),
        np.array(sent),
        np.array(ttft),
        np.array(ttft) + np.array(rest),
        np.array([prompt for prompt, _ in tokens], dtype=float),
        np.array([answer for _, answer in tokens], dtype=float),
    )


def percentile(values: list[float], percent: float) -> float:
    """Linear between the two nearest ranks, as numpy's default, written out."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low, share = int(place), place - int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * share


@given(runs())
def test_summary_equals_plain_loops(run: Requests) -> None:
    rows = list(zip(run.is_ok, run.sent, run.ttft, run.e2e, run.input_tokens, run.output_tokens, strict=True))
    done = [row for row in rows if row[0]]
    record = summary(run)
    assert record["requests"] == len(rows)
    assert record["success_rate"] == pytest.approx(len(done) / len(rows))
    window = max(sent + e2e for _, sent, _, e2e, _, _ in rows) - min(row[1] for row in rows)
    assert record["duration_s"] == pytest.approx(window)
    if not done:
        assert set(record) == {"requests", "success_rate", "duration_s"}
        return
    assert record["request_tps"] == pytest.approx(len(done) / window)
    assert record["output_tps"] == pytest.approx(sum(row[5] for row in done) / window)
    assert record["total_tps"] == pytest.approx(sum(row[4] + row[5] for row in done) / window)
    assert record["input_tokens:mean"] == pytest.approx(statistics.fmean(row[4] for row in done))
    per_token = [(e2e - ttft) / (n - 1) for _, _, ttft, e2e, _, n in done if n >= 2]
    for name, values in (("ttft_s", [row[2] for row in done]), ("e2e_s", [row[3] for row in done]),
                         ("tpot_s", per_token)):  # fmt: skip
        check(record, name, values)


def check(record: dict[str, float], name: str, values: list[float]) -> None:
    if not values:
        assert not any(key.startswith(f"{name}:") for key in record)
        return
    assert record[f"{name}:mean"] == pytest.approx(statistics.fmean(values))
    assert record[f"{name}:min"] == pytest.approx(min(values))
    assert record[f"{name}:max"] == pytest.approx(max(values))
    assert record[f"{name}:std"] == pytest.approx(statistics.pstdev(values), abs=1e-6)
    for percent in (50, 75, 90, 95, 99):
        assert record[f"{name}:p{percent}"] == pytest.approx(percentile(values, percent))


@given(st.lists(st.one_of(seconds, st.just(NAN)), max_size=40))
def test_unknown_values_are_no_part_of_a_distribution(values: list[float]) -> None:
    check(distribution("itl_s", np.array(values)), "itl_s", [value for value in values if not math.isnan(value)])


def test_a_time_of_zero_was_not_measured() -> None:
    found = distribution("itl_s", np.array([0.0, 0.0, 0.0, 0.4]))
    assert "itl_s:min" not in found
    assert "itl_s:p50" not in found
    assert found["itl_s:mean"] == pytest.approx(0.1)


def test_one_token_has_no_time_per_output_token() -> None:
    run = Requests(
        *(np.array(each) for each in ([True] * 3, [0.0] * 3, [1.0] * 3, [2.0] * 3, [5.0] * 3, [1.0, 2.0, NAN]))
    )
    assert per_output_token(run).tolist() == pytest.approx([NAN, 1.0, NAN], nan_ok=True)


def test_the_window_ends_with_the_last_request_that_failed_or_not() -> None:
    sent, e2e = np.array([10.0, 12.0, 30.0]), np.array([4.0, 5.0, NAN])
    run = Requests(np.array([True, True, False]), sent, e2e / 2, e2e, e2e, e2e)
    assert window_s(run) == 20.0


def test_without_a_clock_or_an_end_there_is_no_window_and_no_throughput() -> None:
    ok, one = np.array([True, True]), np.array([1.0, 1.0])
    for sent, e2e in ((np.array([NAN, NAN]), one), (one, np.array([1.0, NAN])), (np.array([1.0, NAN]), one)):
        record = summary(Requests(ok, sent, one, e2e, one, one))
        assert not {"duration_s", "output_tps", "request_tps"} & set(record)


def test_a_request_without_tokens_leaves_the_token_rates_unknown() -> None:
    ok, one = np.array([True, True]), np.array([1.0, 1.0])
    record = summary(Requests(ok, one, one, one, one, np.array([5.0, NAN])))
    assert "output_tps" not in record
    assert record["request_tps"] == 2.0
    assert record["output_tokens:mean"] == 5.0


def test_taking_some_takes_all_of_theirs() -> None:
    two = np.array([1.0, 2.0])
    part = Requests(np.array([True, False]), two, two, two, two, two, decode=two).take(np.array([False, True]))
    assert not part.is_ok[0]
    assert part.decode is not None
    assert part.decode.tolist() == part.e2e.tolist() == [2.0]


def test_absurd_numbers_overflow_in_silence() -> None:
    """They are set aside later, with their reason."""
    huge = np.array([1e308, 1e308])
    record = summary(Requests(np.array([True, True]), np.array([0.0, 0.0]), huge, huge, huge, huge))
    assert math.isinf(record["ttft_s:std"])
    assert "total_tps" not in record
