import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.metrics import METRICS, Statistic
from runner.load.client import RequestRecord
from runner.load.summary import reasons, summarise, write_records


def record(index, sent, tokens, **more):
    given_ = {"done_s": tokens[-1] if tokens else sent, "input_tokens": 10, "output_tokens": len(tokens)}
    return RequestRecord(index, sent, list(tokens), **(given_ | more))


def table(records, sent=None):
    return {(m.metric, str(m.statistic)): m.value for m in summarise(records, sent)}


def test_the_formulas_by_hand():
    found = table([record(0, 0.0, [0.1, 0.2, 0.4]), record(1, 1.0, [1.3, 1.5])])
    assert found["ttft_s", "mean"] == pytest.approx(0.2)
    assert found["tpot_s", "mean"] == pytest.approx((0.15 + 0.2) / 2)
    assert found["itl_s", "p50"] == pytest.approx(0.2)
    assert found["e2e_s", "mean"] == pytest.approx(0.45)
    assert found["duration_s", "value"] == pytest.approx(1.5)
    assert found["output_tps", "value"] == pytest.approx(5 / 1.5)
    assert found["total_tps", "value"] == pytest.approx(25 / 1.5)
    assert found["request_tps", "value"] == pytest.approx(2 / 1.5)
    assert (found["input_tokens", "mean"], found["output_tokens", "mean"]) == (10, 2.5)


def test_percentiles_interpolate():
    found = table([record(i, 0.0, [float(i + 1)]) for i in range(11)])
    assert [found["ttft_s", f"p{p}"] for p in (50, 90, 95, 99)] == pytest.approx([6.0, 10.0, 10.5, 10.9])
    assert ("tpot_s", "mean") not in found


def test_failed_requests_lower_the_rate_and_lend_no_times():
    bad = record(1, 0.0, [9.0], error="lost", done_s=9.5)
    found = table([record(0, 0.0, [1.0, 2.0]), bad], sent=4)
    assert found["success_rate", "value"] == 0.25
    assert found["ttft_s", "mean"] == 1.0
    assert found["duration_s", "value"] == 9.5
    assert reasons([bad, bad, record(2, 0.0, [1.0])]) == {"lost": 2}
    assert table([bad]) == table([], sent=3) == {("success_rate", "value"): 0.0}


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.lists(st.floats(0.001, 5), min_size=1, max_size=8)), min_size=1, max_size=20
    )
)
def test_measures_are_consistent(drawn):
    """Every name is a known metric; e2e = ttft + sum of gaps; percentiles are ordered."""
    records = []
    for index, (sent, gaps) in enumerate(drawn):
        stamps = [sent + sum(gaps[: i + 1]) for i in range(len(gaps))]
        records.append(record(index, sent, stamps))
    found = table(records)
    assert {name for name, _ in found} <= set(METRICS)
    for name in ("ttft_s", "e2e_s"):
        levels = [found[name, str(s)] for s in (Statistic.MEDIAN, Statistic.P90, Statistic.P95, Statistic.P99)]
        assert levels == sorted(levels)
    assert found["ttft_s", "mean"] <= found["e2e_s", "mean"] + 1e-9
    assert found["output_tps", "value"] * found["duration_s", "value"] == pytest.approx(sum(len(g) for _, g in drawn))


def test_records_are_written_as_json_lines(tmp_path):
    path = tmp_path / "requests.jsonl"
    write_records(path, [record(1, 5.0, [5.5, 6.0]), record(0, 4.0, [], error="lost")])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["index"] for row in rows] == [0, 1]
    assert rows[0]["error"] == "lost"
    assert rows[0]["ttft_s"] is None
    assert (rows[1]["sent_s"], rows[1]["token_s"], rows[1]["ttft_s"]) == (1.0, [1.5, 2.0], 0.5)
